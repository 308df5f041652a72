# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Firmware's table of reserved memory (ACPI's DMAR), under the name that Xen gives it before dom0 sees it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .device import Address, Device

NAME = "RMAD"
_ENDPOINT = 1


@dataclass(frozen=True)
class Reserved:
    """A region of memory. Each user is the bus where its way begins, then slot and function of every step."""

    first: int
    last: int
    users: Sequence[tuple[int, Sequence[tuple[int, int]]]]
    segment: int = 0


def reserved(devices: Iterable[Device]) -> list[Reserved]:
    """The regions that devices of the description have: those with the same one share it."""
    regions: dict[tuple[int, int, int], list[tuple[int, Sequence[tuple[int, int]]]]] = {}
    for device in devices:
        for first, last in device.facts.reserved:
            way = _way(device)
            user = way[0].bus, [(address.slot, address.function) for address in way]
            regions.setdefault((device.address.segment, first, last), []).append(user)
    return [Reserved(first, last, users, segment) for (segment, first, last), users in regions.items()]


def table(regions: Iterable[Reserved]) -> bytes:
    """The table with these regions; no IOMMU is described, since nobody asks for it."""
    body = b"".join(_structure(region) for region in regions)
    header = struct.pack("<4sIBB6s8sI4sI", NAME.encode(), 48 + len(body), 1, 0, b"XENPCI", b"SIMULATE", 1, b"SIMX", 1)
    return header + struct.pack("<BB10x", 47, 1) + body


def _structure(region: Reserved) -> bytes:
    scopes = b"".join(
        struct.pack("<BBHBB", _ENDPOINT, 6 + 2 * len(steps), 0, 0, bus)
        + bytes(number for step in steps for number in step)
        for bus, steps in region.users
    )
    return struct.pack("<HHHHQQ", 1, 24 + len(scopes), 0, region.segment, region.first, region.last) + scopes


def _way(device: Device) -> list[Address]:
    return [*(_way(device.parent) if device.parent else []), device.address]
