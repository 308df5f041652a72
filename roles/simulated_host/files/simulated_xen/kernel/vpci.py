# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a device appears in the guest: pciback's vpci.c and passthrough.c."""

from __future__ import annotations

from ..host.device import Address, Device

SLOTS = 32


class NoSpace(Exception):
    """All slots of the guest's root bus are taken."""


class VirtualBus:
    """The default: one bus 0000:00 with 32 slots; the functions of one host slot stay together."""

    def __init__(self, linux: tuple[int, int]) -> None:
        self._redone = linux >= (5, 14)
        self._slots: list[list[Device]] = [[] for _slot in range(SLOTS)]

    def add(self, device: Device) -> Address:
        """Place a device and return the address to publish; NoSpace."""
        function = device.address.function
        virtual = device.physfn is not None
        # 5.14 ("redo VF placement"): a VF keeps its function number, and shares a slot unless that is 0.
        # Before, each VF had a slot of its own and function 0 was published.
        published = function if self._redone or not virtual else 0
        if not virtual or (self._redone and function):
            for slot, members in enumerate(self._slots):
                if members and self._joins(device, members[0]):
                    members.append(device)
                    return Address(0, 0, slot, published)
        for slot, members in enumerate(self._slots):
            if not members:
                members.append(device)
                return Address(0, 0, slot, published)
        raise NoSpace

    @staticmethod
    def _joins(device: Device, first: Device) -> bool:
        if first.physfn is not None and first.address.function == 0:
            return False
        a, b = device.address, first.address
        return (a.segment, a.bus, a.slot) == (b.segment, b.bus, b.slot)

    def find(self, address: Address) -> Device | None:
        """The device that answers at an address. It is the host's function number that counts: before
        5.14 a VF of function 3 was published at 0 and answered at 3."""
        if (address.segment, address.bus) != (0, 0) or address.slot >= SLOTS:
            return None
        for device in self._slots[address.slot]:
            if device.address.function == address.function:
                return device
        return None

    def remove(self, device: Device) -> None:
        """Take a device off the bus."""
        for members in self._slots:
            if device in members:
                members.remove(device)

    def devices(self) -> dict[Address, Device]:
        """All devices by the address where the guest finds them."""
        found = {}
        for slot, members in enumerate(self._slots):
            for device in members:
                found[Address(0, 0, slot, device.address.function)] = device
        return found

    def roots(self) -> list[tuple[int, int]]:
        """Domain and bus of each root."""
        return [(0, 0)]


class HostBus:
    """pciback's passthrough=1: devices appear where they are on the host."""

    def __init__(self) -> None:
        self._devices: list[Device] = []

    def add(self, device: Device) -> Address:
        """Place a device and return its address."""
        self._devices.append(device)
        return device.address

    def find(self, address: Address) -> Device | None:
        """The device that answers at an address."""
        return next((device for device in self._devices if device.address == address), None)

    def remove(self, device: Device) -> None:
        """Take a device away."""
        if device in self._devices:
            self._devices.remove(device)

    def devices(self) -> dict[Address, Device]:
        """All devices by address."""
        return {device.address: device for device in self._devices}

    def roots(self) -> list[tuple[int, int]]:
        """Domain and bus of each root: every bus that has a device."""
        return list(dict.fromkeys((device.address.segment, device.address.bus) for device in self._devices))
