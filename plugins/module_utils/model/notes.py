# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What we note about a device that pciback holds, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..values.identity import Remembered
from .device import PciDevice


@dataclass(frozen=True)
class Note:
    """What is noted about one device; `product` (vendor:device) shows whether it is still the same device.

    `guest` is the last domain that had it, empty if none is known. `given_to` is the domid that a run of ours gave it
    to and from which none has taken it back; `given_line` is the interrupt line that went with it, 0 for none. `name`
    is the name that it was declared under. `reasons` has the reason for each check that was overruled.
    """

    quarantined: bool = False
    product: str = ""
    identity: Remembered = field(default_factory=Remembered)
    guest: str = ""
    given_to: int | None = None
    given_line: int = 0
    name: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, device: PciDevice) -> Note:
        """Note all that can be read of a device now."""
        macs = tuple(interface.mac for interface in device.net if interface.mac)
        return cls(False, f"{device.vendor}:{device.device}", Remembered(device.nvme_serial, macs))


@dataclass(frozen=True)
class GoneDevice:
    """What is left of a device that the host does not have: our note, and how often pciback's list names it."""

    note: Note = field(default_factory=Note)
    pciback_slots: int = 0
