# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write pciback's parameter `hide=`, as the kernel reads it.

The grammar is that of pcistub_init (Linux, drivers/xen/xen-pciback/pci_stub.c). If it does not understand one entry,
pciback does not start at all and takes no device.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..values.errors import XenPciError
from .address import Sbdf

#: The kernel keeps no text of a module parameter beyond this (param_set_charp in kernel/params.c).
LONGEST = 1024

# sscanf's %x: white space and 0x are allowed before the digits; its ' ' is any white space, or none.
_NUMBER = r"\s*((?:0[xX])?[0-9a-fA-F]+)"
#: Forms of an entry, in the order in which the kernel tries them: with a segment, then without.
_FORMS = tuple(
    (re.compile(rf"\s*\({form}\)\s*".replace("X", _NUMBER), re.ASCII), with_segment)
    for form, with_segment in (
        (r"X:X:X\.X", True),
        (r"X:X:X\.\*", True),
        (r"X:X:\*\.\*", True),
        (r"X:X\.X", False),
        (r"X:X\.\*", False),
        (r"X:\*\.\*", False),
    )
)
_MOST = (0xFFFF, 0xFF, 0x1F, 0x7)


class HideError(XenPciError, ValueError):
    """The kernel does not understand the text; the message says from which point on."""


@dataclass(frozen=True)
class Hidden:
    """One entry: a function, all functions of a slot, or all functions of a bus (None means all)."""

    segment: int
    bus: int
    slot: int | None = None
    function: int | None = None
    #: As it was written.
    text: str = field(default="", compare=False)

    def covers(self, sbdf: Sbdf) -> bool:
        """Whether pciback takes this function because of the entry."""
        return (
            (self.segment, self.bus) == (sbdf.segment, sbdf.bus)
            and self.slot in (None, sbdf.slot)
            and self.function in (None, sbdf.function)
        )


def parse_hide(text: str) -> tuple[Hidden, ...]:
    """Read `hide=` as the kernel does. Raises HideError where pciback would refuse to start."""
    if len(text) > LONGEST:
        raise HideError(f"it has {len(text)} characters, and the kernel takes {LONGEST} at most")
    found, position = [], 0
    while position < len(text):
        attempts = ((form.match(text, position), with_segment) for form, with_segment in _FORMS)
        match, with_segment = next((attempt for attempt in attempts if attempt[0]), (None, False))
        if match is None:
            raise HideError(f"pciback does not understand it from {text[position:]!r} on")
        numbers = [0] * (not with_segment) + [int(number, 16) for number in match.groups()]
        # Since 5.x the kernel checks this itself and gives up (pcistub_device_id_add); before, it took other devices.
        if any(number > most for number, most in zip(numbers, _MOST)):
            raise HideError(f"{match.group().strip()} is not a PCI address: its numbers are too large")
        found.append(_entry(numbers, match.group().strip()))
        position = match.end()
    return tuple(found)


def _entry(numbers: Sequence[int], text: str) -> Hidden:
    segment, bus, *rest = numbers
    slot, function = [*rest, None, None][:2]
    return Hidden(segment, bus, slot, function, text)


def format_hide(devices: Iterable[Sbdf]) -> str:
    """Write the text that hides exactly these functions, and check it by reading it with the kernel's grammar.

    Raises HideError if it is longer than the kernel takes.
    """
    wanted = sorted(set(devices))
    text = "".join(f"({sbdf})" for sbdf in wanted)
    entries = parse_hide(text)
    if [Sbdf(entry.segment, entry.bus, entry.slot or 0, entry.function or 0) for entry in entries] != wanted:
        raise HideError(f"{text!r} would not hide exactly the wanted devices")
    return text
