# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State nodes: the numbers of the protocol, and nonsense that a guest may write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.values.states import (
    SubState,
    XenbusState,
    parse_state,
    parse_sub_state,
)

# Xen's public header io/xenbus.h.
NUMBERS = {
    "Unknown": 0,
    "Initialising": 1,
    "InitWait": 2,
    "Initialised": 3,
    "Connected": 4,
    "Closing": 5,
    "Closed": 6,
    "Reconfiguring": 7,
    "Reconfigured": 8,
}


def test_the_numbers_are_those_of_xens_header() -> None:
    assert {state.name.replace("_", "").lower(): state.value for state in XenbusState} == {
        name.lower(): number for name, number in NUMBERS.items()
    }


@pytest.mark.parametrize("number", NUMBERS.values())
def test_each_number_reads_as_its_state(number: int) -> None:
    assert parse_state(str(number)) is XenbusState(number)


@pytest.mark.parametrize(
    "text", [None, "", "9", "-1", "04", "4 ", " 4", "4\n", "+4", "0x4", "44", "four", "\u0664", "\xb2"]
)
def test_a_state_that_is_no_state_is_unknown(text: str | None) -> None:
    assert parse_state(text) is XenbusState.UNKNOWN


@given(st.text(max_size=4))
def test_any_text_reads_as_some_state(text: str) -> None:
    assert parse_state(text) is XenbusState.UNKNOWN or str(parse_state(text).value) == text


@given(st.none() | st.text(max_size=3) | st.sampled_from("0123456789"))
def test_only_1_3_and_5_are_sub_states(text: str | None) -> None:
    expected = {"1": SubState.TO_ADD, "3": SubState.EXPORTED, "5": SubState.TO_REMOVE}
    assert parse_sub_state(text) is expected.get(text or "")


def test_a_state_is_shown_with_its_number() -> None:
    assert str(XenbusState.CONNECTED) == "4 (Connected)"
    assert str(XenbusState.RECONFIGURING).startswith("7 (")
