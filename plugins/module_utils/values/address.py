# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PCI addresses in all the spellings that Xen, Linux and their tools use.

Two kinds exist and are never mixed: `Sbdf` is the address of a function on the host, `GuestAddress` the one at which
pciback shows it to a guest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import XenPciError
from .unquoted import advice_if_unquoted

_SBDF = re.compile(
    r"(?:([0-9a-fA-F]{1,8})[:-])?"  # segment
    r"([0-9a-fA-F]{1,2})[:-]([0-9a-fA-F]{1,2})[.-]([0-7])",  # bus, slot, function
    re.ASCII,
)
_GUEST = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-9a-f]{2})", re.ASCII)
_LAST_SLOT = 0x1F
#: Xen keeps a segment in 16 bits (pci_sbdf_t in xen/include/xen/pci.h).
_LAST_SEGMENT_OF_XEN = 0xFFFF


class AddressError(XenPciError, ValueError):
    """The text is not a PCI address; the message names it and shows the form expected."""


@dataclass(frozen=True, order=True)
class Sbdf:
    """Segment (PCI domain), bus (8 bits), slot (5) and function (3) of one host function.

    A segment that a PCI bus has by itself has 16 bits. Linux gives larger ones to the buses behind an Intel VMD
    (vmd_find_free_domain in drivers/pci/controller/vmd.c).
    """

    segment: int
    bus: int
    slot: int
    function: int

    @classmethod
    def parse(cls, text: str) -> Sbdf:
        """Read `[DDDD:]BB:SS.F` (Linux, xl) or `DDDD-BB-SS-F` (libxl's xenstore keys), hexadecimal.

        Raises AddressError for anything else.
        """
        match = _SBDF.fullmatch(text) if isinstance(text, str) else None
        if match is None or ("-" in text and (":" in text or "." in text)):
            advice = advice_if_unquoted(text) or "write it as DDDD:BB:SS.F, for example 0000:03:00.0"
            raise AddressError(f"{text!r} is not a PCI address; {advice}")
        segment, bus, slot, function = (int(part or "0", 16) for part in match.groups())
        if slot > _LAST_SLOT:
            raise AddressError(f"{text!r} is not a PCI address: a bus has slots 00 to 1f only")
        return cls(segment, bus, slot, function)

    @classmethod
    def from_int(cls, value: int) -> Sbdf:
        """Read Xen's machine form: segment<<16 | bus<<8 | slot<<3 | function."""
        return cls(value >> 16, value >> 8 & 0xFF, value >> 3 & 0x1F, value & 7)

    def __int__(self) -> int:
        return self.segment << 16 | self.bus << 8 | self.devfn

    def __str__(self) -> str:
        return f"{self.segment:04x}:{self.bus:02x}:{self.slot:02x}.{self.function:x}"

    @property
    def has_xen_number(self) -> bool:
        """Whether Xen can name this function: it has no number for larger segments, and dom0 reports no such device."""
        return self.segment <= _LAST_SEGMENT_OF_XEN

    @property
    def devfn(self) -> int:
        """Slot and function in the byte that PCI's configuration cycles carry."""
        return self.slot << 3 | self.function

    @property
    def libxl_key(self) -> str:
        """The name below /libxl/pci in xenstore, whose paths take neither ':' nor '.'."""
        return f"{self.segment:04x}-{self.bus:02x}-{self.slot:02x}-{self.function:x}"

    @property
    def host_slot(self) -> tuple[int, int, int]:
        """Segment, bus and slot, which all functions of one physical device share."""
        return self.segment, self.bus, self.slot


@dataclass(frozen=True, order=True)
class GuestAddress:
    """Where a guest sees a device, as pciback publishes it in `vdev-N`."""

    segment: int
    bus: int
    slot: int
    function: int

    @classmethod
    def parse(cls, text: str) -> GuestAddress:
        """Read `DDDD:BB:SS.FF`; the function has two digits in the PV protocol.

        Raises AddressError for anything else.
        """
        match = _GUEST.fullmatch(text)
        if match is None:
            raise AddressError(f"{text!r} is not a guest address as pciback writes it")
        segment, bus, slot, function = (int(part, 16) for part in match.groups())
        if slot > _LAST_SLOT or function > 7:
            raise AddressError(f"{text!r} is not a guest address: slot or function is out of range")
        return cls(segment, bus, slot, function)

    def __str__(self) -> str:
        return f"{self.segment:04x}:{self.bus:02x}:{self.slot:02x}.{self.function:02x}"
