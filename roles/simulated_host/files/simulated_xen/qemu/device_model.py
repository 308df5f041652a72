# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What QEMU has on the guest's PCI bus, and how the guest's kernel takes it and lets it go (ACPI hot-plug)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Callable

from ..host.device import Address, Device

#: Slots 0 to 2 are the host bridge, the south bridge and the Xen platform device.
FIRST_FREE_SLOT = 3
SLOTS = 32
#: Where Intel's integrated GPUs are.
IGD = Address(0, 0, 2, 0)
UNSET = 0xFFFF_FFFF_FFFF_FFFF
#: Where the guest maps the first region; real guests start there too.
_APERTURE = 0xF104_0000


class Refused(Exception):
    """QEMU's answer to a command that it does not carry out."""


@dataclass
class Plugged:
    """One passed-through device. `taken`: the guest has mapped it and its driver works."""

    name: str
    device: Device
    slot: int
    function: int
    taken: bool = False
    leaving: bool = False

    @property
    def devfn(self) -> int:
        """Device and function number in one byte."""
        return self.slot << 3 | self.function


class DeviceModel:
    """One QEMU. `find`: a host device; `assigned`: whether the guest owns it in Xen by now."""

    def __init__(
        self, find: Callable[[Address], Device | None], assigned: Callable[[Device], bool],
        changed: Callable[[Device], None],
    ) -> None:  # fmt: skip
        self._find = find
        self._assigned = assigned
        self._changed = changed
        self.plugged: dict[str, Plugged] = {}
        self.on_deleted: Callable[[str], None] | None = None
        self.paused = False
        self.keeps = False
        self.eject_delay = 0.0

    @property
    def at_rest(self) -> bool:
        """Whether the guest is not about to eject a device."""
        return self.paused or self.keeps or not any(one.leaving for one in self.plugged.values())

    def plug(self, name: str, address: Address, slot: int | None = None, function: int = 0) -> Plugged:
        """device_add: the device is on the bus at once, the guest takes it when it comes to it."""
        if name in self.plugged:
            raise Refused(f"Duplicate device ID '{name}'")
        device = self._find(address)
        if device is None:
            raise Refused(f'Failed to open "/sys/bus/pci/devices/{address}/config": No such file or directory')
        if device.qemu_refusal:
            raise Refused(device.qemu_refusal)
        if address == IGD:  # xen_pt_realize in hw/xen/xen_pt.c, whatever device that is
            raise Refused("Need to enable igd-passthru if you're trying to passthrough IGD GFX")
        if any(one.device is device for one in self.plugged.values()):
            raise Refused(f"Device {address} is in use already")
        used = {one.slot for one in self.plugged.values()} | set(range(FIRST_FREE_SLOT))
        if slot is None:
            slot = next((free for free in range(FIRST_FREE_SLOT, SLOTS) if free not in used), None)
        if slot is None or slot in used:
            raise Refused("PCI: no slot/function available for xen-pci-passthrough, all in use or reserved")
        plugged = self.plugged[name] = Plugged(name, device, slot, function)
        self.go_on()
        return plugged

    def unplug(self, name: str) -> None:
        """device_del: ask the guest; it is over only when the guest has ejected the device."""
        if name not in self.plugged:
            raise Refused(f"Device '{name}' not found")
        # QEMU refuses to repeat this for 5 s; libxl waits longer than that before it does.
        self.plugged[name].leaving = True
        self.go_on()

    def go_on(self) -> None:
        """Let the guest look at its hot-plug controller soon."""
        asyncio.get_running_loop().call_soon(self._guest_looks)

    def _guest_looks(self) -> None:
        if self.paused:
            return
        for name, one in list(self.plugged.items()):
            if one.leaving and not self.keeps:
                asyncio.get_running_loop().call_later(self.eject_delay, self._eject, name)
            elif not one.taken and not one.leaving and one.device.model.driver and self._assigned(one.device):
                one.taken = True
                one.device.driver_took_it()
                self._changed(one.device)

    def _eject(self, name: str) -> None:
        if self.paused or name not in self.plugged:
            return
        one = self.plugged.pop(name)
        if one.taken:
            one.device.driver_left_it()
            self._changed(one.device)
        if self.on_deleted is not None:
            self.on_deleted(name)

    def query_pci(self) -> list[dict[str, object]]:
        """query-pci: a region that the guest has not mapped has all bits set."""
        found: list[dict[str, object]] = [
            _entry(0, 0, "", 0x8086, 0x1237, 0x0600, []),
            _entry(1, 0, "", 0x8086, 0x7000, 0x0601, []),
            _entry(2, 0, "", 0x5853, 0x0001, 0xFF80, []),
        ]
        for one in self.plugged.values():
            identity = one.device.model.identity
            regions = []
            for number, region in enumerate(one.device.regions[:6]):
                if region.start:
                    address = _APERTURE + (one.devfn << 16) + (number << 12) if one.taken else UNSET
                    kind = "io" if region.io else "memory"
                    size = region.end - region.start + 1
                    regions.append({"bar": number, "type": kind, "address": address, "size": size})
            numbers = (identity.vendor, identity.device, identity.class_code >> 8)
            found.append(_entry(one.slot, one.function, one.name, *numbers, regions))
        return [{"bus": 0, "devices": found}]


def _entry(
    slot: int, function: int, name: str, vendor: int, device: int, kind: int, regions: list[dict[str, object]]
) -> dict[str, object]:
    return {
        "bus": 0,
        "slot": slot,
        "function": function,
        "qdev_id": name,
        "id": {"vendor": vendor, "device": device},
        "class_info": {"class": kind},
        "irq_pin": 0,
        "regions": regions,
    }
