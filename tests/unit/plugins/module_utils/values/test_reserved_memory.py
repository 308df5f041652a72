# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ACPI's table DMAR, as firmware writes it and as nobody should."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.values.reserved_memory import ReservedMemory, parse_dmar
from simulated_xen.host.firmware import Reserved, table

#: What QEMU's firmware says, as dom0 of a host in the lab sees it: one IOMMU, with endpoints and bridges.
QEMU = bytes.fromhex(
    "524d4144 d8000000 012f424f4348532042585043 2020202001000000 42585043 01000000 2601 00000000000000000000"
    "0000a80000000000 0000d9fe00000000 0308000000 00ff00 0108000000000000 0108000000000200 0108000000000300"
    "0108000000000800 0108000000000801 0108000000000900 0108000000000a00 0108000000000b00 0108000000000c00"
    "0208000000001000 0208000000001100 0208000000001200 0208000000001300 0208000000001400 0208000000001500"
    "0108000000001f00 0108000000001f02 0108000000001f03"
)
USB = (0, [(0x14, 0)])
BEHIND_A_BRIDGE = (0, [(0x1C, 4), (0, 1)])
HEADER = 48


def test_the_table_of_qemu_reserves_nothing() -> None:
    assert len(QEMU) == int.from_bytes(QEMU[4:8], "little")
    assert parse_dmar(QEMU) == ()


def test_regions_with_their_users_beside_structures_of_other_kinds() -> None:
    regions = [Reserved(0x7B800000, 0x7BFFFFFF, [USB]), Reserved(0xE0000, 0xEFFFF, [USB, BEHIND_A_BRIDGE], segment=1)]
    assert parse_dmar(QEMU + table(regions)[HEADER:]) == (
        ReservedMemory(0x7B800000, 0x7BFFFFFF, ("0000:00/14.0",)),
        ReservedMemory(0xE0000, 0xEFFFF, ("0001:00/14.0", "0001:00/1c.4/00.1")),
    )


def test_a_bridge_stands_for_all_behind_it() -> None:
    region = ReservedMemory(0, 0xFFF, ("0000:00/1c.0", "0000:00/14.0"))
    assert region.concerns("0000:00/1c.0/00.0") and region.concerns("0000:00/14.0")
    assert not region.concerns("0000:00/1c.1") and not region.concerns("0000:00")
    assert region.others_than("0000:00/1c.0/00.0") == ("0000:00/14.0",)


@given(st.binary(max_size=200))
def test_nothing_breaks_it(rest: bytes) -> None:
    parse_dmar(rest)
    for region in parse_dmar(table([])[:HEADER] + rest):
        assert not region.concerns("0000:00")


@given(st.integers(0, 200))
def test_what_is_whole_before_a_cut_is_told(length: int) -> None:
    content = table([Reserved(0, 0xFFF, [USB]), Reserved(0x1000, 0x1FFF, [BEHIND_A_BRIDGE])])
    whole = parse_dmar(content)
    assert parse_dmar(content[:length]) == whole[: len(parse_dmar(content[:length]))]


STEPS = st.lists(st.tuples(st.integers(0, 31), st.integers(0, 7)), min_size=1, max_size=9)


@given(st.lists(st.tuples(st.integers(0, 0xFF), STEPS)))
def test_every_user_is_found_again(users: list[tuple[int, list[tuple[int, int]]]]) -> None:
    (region,) = parse_dmar(table([Reserved(0, 0xFFF, users)]))
    for bus, steps in users:
        way = "/".join(f"{slot:02x}.{function}" for slot, function in steps)
        assert region.concerns(f"0000:{bus:02x}/{way}")
