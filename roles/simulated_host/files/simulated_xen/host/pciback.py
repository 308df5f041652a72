# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pciback as a PCI driver (Linux drivers/xen/xen-pciback/pci_stub.c): its list of slots, what it holds
and for whom. Its xenbus half is kernel/pciback.py."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from dataclasses import dataclass

from .bus import PCIBACK, PciBus, refuse
from .device import Address, Device

_SLOT = re.compile(r"(?:([0-9a-fA-F]{1,4}):)?([0-9a-fA-F]{1,2}):(\*|[0-9a-fA-F]{1,2})\.(\*|[0-7])\Z")


@dataclass
class Held:
    """One device bound to pciback. `owner` is the domain id whose backend has it exported."""

    device: Device
    owner: int | None = None
    permissive: bool = False


class PcibackDriver:
    """The driver's state. `poisoned` are devices that an export must refuse (a fault to inject)."""

    def __init__(self, bus: PciBus, overrides_known: bool = True) -> None:
        self._bus = bus
        self._overrides_known = overrides_known
        self.slots: list[Address] = []
        self.held: dict[Address, Held] = {}
        self.poisoned: set[Address] = set()
        self.on_taken: Callable[[int, Device], None] = lambda domid, device: None
        bus.stub = self

    # -- driver core ---------------------------------------------------------------------------------

    def takes(self, device: Device) -> bool:
        """Its probe: overridden to pciback, or on the list; walking up, as a listed bridge covers what
        is below it."""
        if self._overrides_known and device.override == PCIBACK:
            return True
        above: Device | None = device
        while above is not None:
            if above.address in self.slots:
                return True
            above = above.parent
        return False

    def probe(self, device: Device) -> None:
        """Seize a device: saved, reset if it can be, left disabled."""
        self.held[device.address] = Held(device)
        device.driver_left_it()
        self._quiet_reset(device)

    def remove(self, device: Device) -> None:
        """Let go of a device: reset. A domain that still has it loses it; the kernel only prints a warning."""
        held = self.held.pop(device.address, None)
        if held is not None and held.owner is not None:
            self.on_taken(held.owner, device)
        self._quiet_reset(device)

    def holds(self, device: Device) -> bool:
        """Whether a device is bound."""
        return device.address in self.held

    def _quiet_reset(self, device: Device) -> None:
        try:
            self._bus.reset(device, "D0")
        except OSError:
            # The kernel carries on without a reset, too.
            return

    # -- its files -----------------------------------------------------------------------------------

    def new_slot(self, text: str) -> None:
        """A write to ``new_slot``: one address, or all functions or devices with ``*``."""
        for address in self._expand(text):
            if address not in self.slots:
                self.slots.append(address)

    def remove_slot(self, text: str) -> None:
        """A write to ``remove_slot``; ENOENT if it is not listed."""
        addresses = [address for address in self._expand(text) if address in self.slots]
        if not addresses:
            raise refuse(errno.ENOENT)
        for address in addresses:
            self.slots.remove(address)

    def set_permissive(self, text: str) -> None:
        """A write to ``permissive``: set for as long as the device stays bound."""
        addresses = self._expand(text)
        held = self.held.get(addresses[0])
        if held is None:
            raise refuse(errno.ENODEV)
        held.permissive = True

    @staticmethod
    def _expand(text: str) -> list[Address]:
        match = _SLOT.match(text.strip())
        if match is None or (match.group(3) == "*" and match.group(4) != "*"):
            raise refuse(errno.EINVAL)
        segment, bus = int(match.group(1) or "0", 16), int(match.group(2), 16)
        slots = range(32) if match.group(3) == "*" else [int(match.group(3), 16)]
        functions = range(8) if match.group(4) == "*" else [int(match.group(4))]
        if max(slots) > 31:
            raise refuse(errno.EINVAL)
        return [Address(segment, bus, slot, function) for slot in slots for function in functions]

    # -- for the xenbus half -------------------------------------------------------------------------

    def take_for(self, address: Address, domid: int) -> Device | None:
        """Hand a held device to a domain's backend; None if it is not held or not free."""
        held = self.held.get(address)
        if held is None or held.owner is not None or address in self.poisoned:
            return None
        held.owner = domid
        return held.device

    def put_back(self, device: Device) -> None:
        """A domain's backend is done with a device: it is reset and keeps its permissive flag."""
        held = self.held.get(device.address)
        if held is not None:
            held.owner = None
        device.driver_left_it()
        self._quiet_reset(device)
        self._bus.touched(device)
