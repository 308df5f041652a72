# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals as a person reads them, and as modules return them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.values.errors import XenPciError
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import (
    Refusal,
    Refused,
    refused,
    shown,
)

HELD = Refusal("held", "0000:03:00.0", "0000:03:00.0 is attached to web01", "detach it from there first")
DISK = Refusal("disk", "0000:04:00.0", "0000:04:00.0 carries disk sda", waivable=True)
TEN = [Refusal("held", str(number), f"device {number} is in use", "detach it") for number in range(10)]


def test_the_reason_and_the_advice_are_sentences() -> None:
    assert str(HELD) == "0000:03:00.0 is attached to web01. Detach it from there first."


def test_a_refusal_without_advice_is_its_reason() -> None:
    assert str(Refusal("held", "a", "a is in use")) == "a is in use."


def test_the_first_letter_of_the_advice_alone_is_made_a_capital() -> None:
    assert str(Refusal("x", "a", "a", 'set type="pv" in Xen\'s file')).endswith('Set type="pv" in Xen\'s file.')


def test_what_can_be_waived_names_its_check() -> None:
    assert str(DISK).startswith("0000:04:00.0 carries disk sda.")
    assert "disk" in str(DISK).partition("sda.")[2] and "waived" in str(DISK)
    assert "waived" not in str(HELD)


def test_one_refusal_is_one_sentence_after_the_lead() -> None:
    assert shown([HELD]) == f"Nothing was changed: {HELD}"
    assert shown([HELD], "Nothing was written").startswith("Nothing was written: ")
    assert "\n" not in shown([HELD])


def test_several_refusals_are_a_list_with_a_line_each() -> None:
    first, *lines = shown(TEN).splitlines()
    assert first == "Nothing was changed, for 10 reasons:"
    assert lines == [f"- {one}" for one in TEN]


@given(st.lists(st.sampled_from([HELD, DISK, *TEN]), min_size=2))
def test_no_refusal_is_left_out(refusals: list[Refusal]) -> None:
    assert shown(refusals).splitlines()[1:] == [f"- {one}" for one in refusals]


def test_a_refusal_as_a_result_is_plain_json() -> None:
    result = DISK.as_result()
    assert json.loads(json.dumps(result)) == result
    assert result == {
        "code": "disk",
        "subject": "0000:04:00.0",
        "reason": "0000:04:00.0 carries disk sda",
        "advice": "",
        "waivable": True,
    }


def test_the_exception_has_every_refusal_once_and_shows_them() -> None:
    with pytest.raises(XenPciError) as caught:
        raise Refused([HELD, DISK, HELD])
    assert isinstance(caught.value, Refused)
    assert caught.value.refusals == (HELD, DISK)
    assert str(caught.value) == shown([HELD, DISK])


def test_a_single_refusal_may_be_about_anything_that_has_a_text() -> None:
    assert codes(refused("device-request", 7, "7 is not a device").refusals) == [("device-request", "7")]
    assert refused("held", "a", "a is in use", "detach it").refusals[0].advice == "detach it"
