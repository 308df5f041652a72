# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the device model (QEMU) of an HVM guest says is on the guest's PCI bus, as data.

For such a guest this is what counts: pciback and pcifront take no part, so the states in xenstore say nothing.
The answer comes from a process that the guest may have taken over, so it is read strictly.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..values.address import GuestAddress, Sbdf
from ..values.errors import HostError

#: Slots of the bus that a guest has from QEMU.
SLOTS = 32
_PASSED_THROUGH = "pci-pt-"
_NAME = re.compile(rf"{_PASSED_THROUGH}[0-9a-f]{{2}}_[0-9a-f]{{2}}\.[0-7]")
_BUSES, _FUNCTIONS = range(256), range(8)
#: PCI_BAR_UNMAPPED: a window that the guest has not enabled; older QEMUs cut it to the width of the window.
_NOT_MAPPED = (2**64 - 1, 2**32 - 1)


class DeviceModelError(HostError):
    """The device model is not there, does not answer, or answers nonsense; the text is a sentence without full stop."""


def qemu_name(device: Sbdf) -> str:
    """Return the name that libxl has QEMU give a device (PCI_PT_QDEV_ID), which leaves out the segment."""
    return f"{_PASSED_THROUGH}{device.bus:02x}_{device.slot:02x}.{device.function}"


@dataclass(frozen=True)
class Plugged:
    """A host's device on a guest's bus; `enabled` if the guest has mapped a window of it, as a driver does."""

    address: GuestAddress
    enabled: bool


@dataclass(frozen=True)
class DeviceModel:
    """The device model of one guest.

    `plugged` has the host's devices on the guest's bus by QEMU's names. It is None if the device model did not answer,
    and `problem` says why. `free_slots` is how many more devices the bus takes.
    """

    plugged: Mapping[str, Plugged] | None = field(default_factory=dict)
    free_slots: int = SLOTS
    problem: str = ""

    def has(self, device: Sbdf) -> Plugged | None:
        """Find a device on the guest's bus; None if it is not there (or nothing is known)."""
        return (self.plugged or {}).get(qemu_name(device))

    def lacks(self, devices: Iterable[Sbdf]) -> tuple[Sbdf, ...]:
        """Find those of the devices that are certainly not on the bus."""
        return () if self.plugged is None else tuple(device for device in devices if self.has(device) is None)

    def unexpected(self, devices: Collection[Sbdf]) -> tuple[str, ...]:
        """Return the names of what is on the bus besides these devices."""
        known = {qemu_name(device) for device in devices}
        return tuple(sorted(name for name in self.plugged or () if name not in known))


def read_bus(answer: Any) -> DeviceModel:
    """Read what `query-pci` returned. Raises DeviceModelError if it is not an answer that QEMU would give."""
    plugged: dict[str, Plugged] = {}
    used: set[int] = set()
    places: set[tuple[int, int]] = set()  # libxl plugs into the first bus only
    try:
        for device in [device for bus in answer for device in bus["devices"]]:
            name, slot, function = device["qdev_id"], device["slot"], device["function"]
            place = device["bus"] in _BUSES and slot in range(SLOTS) and function in _FUNCTIONS
            if not (isinstance(name, str) and place and {type(slot), type(function), type(device["bus"])} == {int}):
                raise ValueError(name)
            used.add(slot)
            if name.startswith(_PASSED_THROUGH):
                if not _NAME.fullmatch(name) or device["bus"] != 0 or (slot, function) in places:
                    raise ValueError(name)
                places.add((slot, function))
                mapped = any(region["address"] not in _NOT_MAPPED for region in device["regions"])
                plugged[name] = Plugged(GuestAddress(0, device["bus"], slot, function), mapped)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DeviceModelError(
            "its device model (QEMU) returned a description of its PCI bus that is not valid"
        ) from error
    return DeviceModel(plugged, SLOTS - len(used))
