# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PCI addresses: every spelling comes back, nothing else gets in."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.values.address import AddressError, GuestAddress, Sbdf

SEGMENTS, BUSES, SLOTS, FUNCTIONS = (st.integers(0, last) for last in (0xFFFF, 0xFF, 0x1F, 7))
SBDFS = st.builds(Sbdf, SEGMENTS, BUSES, SLOTS, FUNCTIONS)
GUEST_ADDRESSES = st.builds(GuestAddress, SEGMENTS, BUSES, SLOTS, FUNCTIONS)
# Text of the characters that addresses are made of gets further than any text.
NEARLY = st.text("0123456789abcdefABCDEF:.-x*@ \n\0", max_size=16)
GARBAGE = NEARLY | st.text(max_size=16)


@given(SBDFS)
def test_every_spelling_of_an_address_reads_as_the_same_address(address: Sbdf) -> None:
    text = str(address)
    assert re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", text)
    assert Sbdf.parse(text) == address
    assert Sbdf.parse(text.upper()) == address
    assert Sbdf.parse(address.libxl_key) == address
    assert Sbdf.parse(f"{address.segment:x}:{address.bus:x}:{address.slot:x}.{address.function:x}") == address


@given(SBDFS)
def test_without_a_segment_it_is_segment_0(address: Sbdf) -> None:
    short = str(address).split(":", 1)[1]
    assert Sbdf.parse(short) == Sbdf(0, address.bus, address.slot, address.function)


@given(SBDFS)
def test_xens_number_of_an_address_reads_back(address: Sbdf) -> None:
    assert Sbdf.from_int(int(address)) == address
    assert int(address) & 0xFF == address.devfn


def test_xens_number_is_what_xen_expects() -> None:
    assert int(Sbdf(0, 3, 0x1F, 7)) == 0x3FF
    assert int(Sbdf(1, 0, 0, 0)) == 0x10000
    assert Sbdf(0x2, 0xAB, 0x1C, 5).libxl_key == "0002-ab-1c-5"


@given(SBDFS, SBDFS)
def test_addresses_sort_by_their_numbers(one: Sbdf, other: Sbdf) -> None:
    assert (one < other) == (int(one) < int(other))


@given(SBDFS)
def test_a_libxl_key_has_no_character_that_xenstore_refuses(address: Sbdf) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_@-]+", address.libxl_key)


@given(SBDFS, FUNCTIONS)
def test_functions_of_one_slot_share_it(address: Sbdf, function: int) -> None:
    other = Sbdf(address.segment, address.bus, address.slot, function)
    assert other.host_slot == address.host_slot


@given(GARBAGE)
@example("0000:03:00.0\n")
@example("0000:03:00.\u0663")
def test_whatever_the_text_it_is_an_address_or_an_error_that_names_it(text: str) -> None:
    try:
        address = Sbdf.parse(text)
    except AddressError as error:
        assert repr(text) in str(error)
    else:
        assert text.isascii() and text == text.strip()
        assert Sbdf.parse(str(address)) == address
        # Nothing was read but what stands there.
        numbers = [int(part, 16) for part in re.split("[:.-]", text)]
        assert numbers == [address.segment, address.bus, address.slot, address.function][-len(numbers) :]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "03:00",
        "0000:03:00",
        "0000:03:00.8",
        "0000:03:20.0",
        "100000000:03:00.0",
        "0000:100:00.0",
        "0000:03:00.0 ",
        " 0000:03:00.0",
        "0000:03:00.00",
        "0000:03:00.*",
        "0x0000:03:00.0",
        "0000-03-00.0",
        "0000:03-00.0",
        "0000:03:00-0",
        "0000:0000:03:00.0",
    ],
)
def test_near_misses_are_no_addresses(text: str) -> None:
    with pytest.raises(AddressError, match=re.escape(repr(text))):
        Sbdf.parse(text)


@pytest.mark.parametrize("thing", [None, 3, 3.0, b"0000:03:00.0", ["0000:03:00.0"]])
def test_what_is_no_text_is_no_address(thing: object) -> None:
    with pytest.raises(AddressError):
        Sbdf.parse(thing)  # type: ignore[arg-type]


def test_the_message_shows_how_an_address_is_written() -> None:
    with pytest.raises(AddressError, match=re.escape("DDDD:BB:SS.F")):
        Sbdf.parse("eth0")


@given(GUEST_ADDRESSES)
def test_a_guest_address_reads_back_and_has_two_digits_of_function(address: GuestAddress) -> None:
    text = str(address)
    assert re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.0[0-7]", text)
    assert GuestAddress.parse(text) == address


@given(GARBAGE)
def test_whatever_the_text_it_is_a_guest_address_or_an_error_that_names_it(text: str) -> None:
    try:
        address = GuestAddress.parse(text)
    except AddressError as error:
        assert repr(text) in str(error)
    else:
        assert str(address) == text


@pytest.mark.parametrize("text", ["0000:00:00.0", "0000:00:20.00", "0000:00:00.08", "00:00.00", "0000:00:0A.00"])
def test_what_pciback_would_not_write_is_no_guest_address(text: str) -> None:
    with pytest.raises(AddressError, match=re.escape(text)):
        GuestAddress.parse(text)


@given(SBDFS, GUEST_ADDRESSES)
def test_the_two_kinds_are_never_mixed(host: Sbdf, guest: GuestAddress) -> None:
    assert host != guest
    with contextlib.suppress(AddressError):
        pytest.fail(f"read as a guest address: {GuestAddress.parse(str(host))}")
    with contextlib.suppress(AddressError):
        pytest.fail(f"read as a host address: {Sbdf.parse(str(guest))}")
