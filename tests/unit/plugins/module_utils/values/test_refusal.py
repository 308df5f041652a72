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

from ansible_collections.xen.pci.plugins.module_utils.values.alike import merged
from ansible_collections.xen.pci.plugins.module_utils.values.errors import XenPciError
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import (
    Refusal,
    Refused,
    refused,
    shown,
)

HELD = Refusal("held", "0000:03:00.0", "0000:03:00.0 is attached to web01", "detach it from there first")
DISK = Refusal("disk", "0000:04:00.0", "0000:04:00.0 carries disk sda", waivable=True)
TEN = [
    Refusal("held", str(number), f"device {number} is in use by {number * 'x'}", "detach it") for number in range(10)
]
FUNCTIONS = [f"0000:03:00.{number}" for number in range(8)]


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
def test_no_refusal_is_left_out_and_none_said_twice(refusals: list[Refusal]) -> None:
    once = dict.fromkeys(refusals)
    lines = shown(refusals).splitlines()[1:] if len(once) > 1 else [f"- {shown(refusals).partition(': ')[2]}"]
    assert sorted(lines) == sorted(f"- {one}" for one in once)


def bound(function: str, domain: str = "web01") -> Refusal:
    return Refusal("not-assignable", function, f"{function} (for {domain}) is bound to e1000e", "take it first")


def test_what_is_the_same_for_many_devices_is_one_reason_with_their_list() -> None:
    text = shown([bound(function) for function in FUNCTIONS])
    assert text.count("is bound to") == 1 and text.count("Take it first") == 1 and "reasons" not in text
    assert f"The same goes for {', '.join(FUNCTIONS[1:])}." in text


def test_each_owner_has_a_reason_of_its_own() -> None:
    mixed = [bound(function, f"web0{number % 2}") for number, function in enumerate(FUNCTIONS)]
    first, *lines = shown(mixed).splitlines()
    assert first.endswith("for 2 reasons:") and ["web00" in line for line in lines] == [True, False]


def test_what_devices_are_refused_for_each_other_is_one_reason() -> None:
    a, b, c = FUNCTIONS[:3]
    group = [
        Refusal("group", one, f"{one} is in the same IOMMU group as {', '.join(others)}", "assign them together", True)
        for one, others in ((a, (b, c)), (b, (a, c)), (c, (a, b)))
    ]
    text = shown(group)
    assert f"as {b}, {c}. The same goes for {b}, {c}. Assign them together. (Check group: can be waived.)" in text
    apart = [*group[:1], Refusal("group", b, f"{b} is in the same IOMMU group as {a}, {FUNCTIONS[3]}", "", True)]
    assert "2 reasons" in shown(apart)


def test_names_that_differ_in_what_they_are_said_to_be_are_one_reason() -> None:
    absent = [
        Refusal("absent", f"vf{n}", f"No device fits 'vf{n}' (pf uplink, vf {n})", "correct it") for n in range(13)
    ]
    text = shown(absent)
    assert "reasons" not in text and "vf1, vf2" in text and "vf12" in text


def test_a_long_list_is_cut_and_those_of_one_code_stand_together() -> None:
    many = [bound(f"0000:03:{slot:02x}.0") for slot in range(32)]
    assert "and 15 more" in shown(many)
    apart = [bound(FUNCTIONS[0]), DISK, bound(FUNCTIONS[1], "web02")]
    assert ["e1000e" in line for line in shown(apart).splitlines()[1:]] == [True, True, False]


def test_warnings_that_say_the_same_of_devices_are_one() -> None:
    a, b = FUNCTIONS[:2]
    assert merged([f"{a} has no link", "web01 does not run", f"{b} has no link", f"{a} has no link"]) == [
        f"{a} has no link. The same goes for {b}",
        "web01 does not run",
    ]
    assert merged(["web01 does not run", "web02 does not run"]) == ["web01 does not run", "web02 does not run"]


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
