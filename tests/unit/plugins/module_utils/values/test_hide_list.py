# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pciback's `hide=`: read as the kernel reads it, held against a step by step port of what its parser does."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.hide_list import (
    LONGEST,
    Hidden,
    HideError,
    format_hide,
    parse_hide,
)

SPACE = " \t\n\v\f\r"
HEX = "0123456789abcdefABCDEF"


def scan(text: str, pattern: str) -> tuple[list[int], int]:
    """Linux' vsscanf for %x, %n, blanks and literals: the numbers, and what %n stored (0: never reached)."""
    numbers: list[int] = []
    at = position = 0
    while position < len(pattern):
        if pattern[position] == " ":
            position += 1
            while at < len(text) and text[at] in SPACE:
                at += 1
        elif pattern[position : position + 2] == "%n":
            return numbers, at
        elif pattern[position : position + 2] == "%x":
            position += 2
            while at < len(text) and text[at] in SPACE:
                at += 1
            if text[at : at + 2].lower() == "0x" and text[at + 2 : at + 3] in [*HEX]:
                at += 2
            start = at
            while at < len(text) and text[at] in HEX:
                at += 1
            if at == start:
                return numbers, 0
            numbers.append(int(text[start:at], 16))
        else:
            if text[at : at + 1] != pattern[position]:
                return numbers, 0
            at += 1
            position += 1
    return numbers, 0


def kernel(text: str) -> list[tuple[int, ...]] | None:
    """pcistub_init; None: it gives up."""
    found = []
    while text:
        numbers, parsed = scan(text, " (%x:%x:%x.%x) %n")
        if len(numbers) == 3:
            numbers, parsed = scan(text, " (%x:%x:%x.*) %n")
            entry = (*numbers, -1)
        elif len(numbers) == 2:
            numbers, parsed = scan(text, " (%x:%x:*.*) %n")
            entry = (*numbers, -1, -1)
        else:
            entry = tuple(numbers)
        if not parsed:
            numbers, parsed = scan(text, " (%x:%x.%x) %n")
            if len(numbers) == 2:
                numbers, parsed = scan(text, " (%x:%x.*) %n")
                entry = (0, *numbers, -1)
            elif len(numbers) == 1:
                numbers, parsed = scan(text, " (%x:*.*) %n")
                entry = (0, *numbers, -1, -1)
            else:
                entry = (0, *numbers)
        if not parsed or any(number > most for number, most in zip(entry, (0xFFFF, 0xFF, 0x1F, 7), strict=True)):
            return None
        found.append(entry)
        text = text[parsed:]
    return found


def ours(text: str) -> list[tuple[int, ...]] | None:
    try:
        entries = parse_hide(text)
    except HideError:
        return None
    return [
        (
            one.segment,
            one.bus,
            -1 if one.slot is None else one.slot,
            -1 if one.function is None else one.function,
        )
        for one in entries
    ]


pieces = st.sampled_from(
    ["(", ")", ":", ".", "*", " ", "0", "1f", "0x3", "ff", "0000", "x", ",", "(0000:03:00.0)", "(03:1f.*)", "(3b:*.*)"]
)


@given(st.lists(pieces, max_size=14).map("".join))
@example("(0000:3b:*.*)( 3b : 0.1)")
@example("(3b:*.*)(3b:1f.*)")
@example("(0000:03:00.0),(0000:04:00.0)")
@example("(0000:03:20.0)")
def test_everything_is_read_as_the_kernel_reads_it(text: str) -> None:
    assert ours(text) == kernel(text)


addresses = st.builds(Sbdf, st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7))


@given(st.sets(addresses, max_size=60))
def test_what_is_written_hides_just_that(devices: set[Sbdf]) -> None:
    entries = parse_hide(format_hide(devices))
    assert {Sbdf(*entry) for entry in kernel(format_hide(devices)) or ()} == devices
    assert all(any(one.covers(sbdf) for one in entries) for sbdf in devices)


@given(addresses, addresses)
def test_an_entry_covers_its_own_only(one: Sbdf, other: Sbdf) -> None:
    (entry,) = parse_hide(f"({one})")
    assert entry.covers(other) == (one == other)


def test_wildcards_cover_a_slot_or_a_bus() -> None:
    assert parse_hide("(3b:02.*)(0001:3c:*.*)") == (Hidden(0, 0x3B, 2), Hidden(1, 0x3C))
    slot, bus = parse_hide("(3b:02.*)(0001:3c:*.*)")
    assert slot.covers(Sbdf.parse("0000:3b:02.7"))
    assert not slot.covers(Sbdf.parse("0000:3b:03.0"))
    assert bus.covers(Sbdf.parse("0001:3c:1f.7"))
    assert not bus.covers(Sbdf.parse("0000:3c:1f.7"))


@pytest.mark.parametrize(
    "typo",
    [
        "0000:03:00.0",
        "(0000:03:00.0",
        "(0000:03:00.8)",
        "(0000:03:00.0) x",
        "(0000:03:00.0),",
        "(03:00)",
        "(*:03:00.0)",
    ],
)
def test_one_typo_is_found_and_named(typo: str) -> None:
    with pytest.raises(HideError, match=r"does not understand|numbers are too large"):
        parse_hide(f"(0000:02:00.0){typo}")


def test_more_than_the_kernel_keeps_is_refused() -> None:
    most = [Sbdf(0, bus, 0, 0) for bus in range(LONGEST // len("(0000:00:00.0)"))]
    assert len(parse_hide(format_hide(most))) == 73
    with pytest.raises(HideError, match="1024 at most"):
        format_hide([*most, Sbdf(0, 0xFF, 0, 0)])
