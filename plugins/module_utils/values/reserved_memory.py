# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read from ACPI's table DMAR which memory the firmware reserves for devices (RMRR).

RMRR stands for reserved memory region reporting: the device can reach that memory whichever domain owns the device.

The layout is that of Intel's Virtualization Technology for Directed I/O, chapter "BIOS considerations".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_TABLE_HEADER = 48
_STRUCTURE = struct.Struct("<HH")
_RMRR = struct.Struct("<HHHHQQ")
_RMRR_TYPE = 1
_SCOPE = struct.Struct("<BBHBB")
#: An endpoint, and a bridge with all that is behind it.
_PCI_SCOPES = (1, 2)


@dataclass(frozen=True)
class ReservedMemory:
    """A region: its first and last byte, and the paths of the devices that use it (as in `PciDevice.path`).

    A path that ends at a bridge means all devices behind it.
    """

    first: int
    last: int
    users: tuple[str, ...]

    def __str__(self) -> str:
        return f"0x{self.first:x}-0x{self.last:x}"

    def concerns(self, path: str) -> bool:
        """Whether the function at this path uses the region."""
        return len(self.others_than(path)) < len(self.users)

    def others_than(self, path: str) -> tuple[str, ...]:
        """Paths of the other users of the region."""
        return tuple(user for user in self.users if path != user and not path.startswith(f"{user}/"))


def parse_dmar(table: bytes) -> tuple[ReservedMemory, ...]:
    """Read all regions of the table; parts that are cut off or broken are ignored."""
    found = []
    for content in _pieces(table, _TABLE_HEADER):
        if _STRUCTURE.unpack_from(content)[0] == _RMRR_TYPE and len(content) >= _RMRR.size:
            _type, _length, _reserved, segment, first, last = _RMRR.unpack_from(content)
            found.append(ReservedMemory(first, last, tuple(_users(content[_RMRR.size :], segment))))
    return tuple(found)


def _pieces(table: bytes, position: int) -> Iterator[bytes]:
    while position + _STRUCTURE.size <= len(table):
        length = _STRUCTURE.unpack_from(table, position)[1]
        if length < _STRUCTURE.size or position + length > len(table):
            return
        yield table[position : position + length]
        position += length


def _users(scopes: bytes, segment: int) -> Iterator[str]:
    """Read the users of a region as paths: the bus where each begins, then slot and function of every step."""
    position = 0
    while position + _SCOPE.size <= len(scopes):
        kind, length, _reserved, _id, bus = _SCOPE.unpack_from(scopes, position)
        if length < _SCOPE.size or position + length > len(scopes):
            return
        steps = scopes[position + _SCOPE.size : position + length]
        if kind in _PCI_SCOPES:
            places = (f"{slot:02x}.{function:x}" for slot, function in zip(steps[::2], steps[1::2]))
            yield "/".join([f"{segment:04x}:{bus:02x}", *places])
        position += length
