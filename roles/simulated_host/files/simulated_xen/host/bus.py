# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Linux' PCI bus and driver core in dom0: binding, overrides, resets, virtual functions, removal.

Every method raises OSError with the errno that the write(2) to the sysfs file would return.
"""

from __future__ import annotations

import errno
import os
from typing import Callable, Protocol

from .device import Address, Device
from .machine import Machine, virtual_function
from .models import MODELS

PCIBACK = "pciback"


def refuse(number: int) -> OSError:
    """The error that a sysfs write returns."""
    return OSError(number, os.strerror(number))


class Observer(Protocol):
    """Who shows the bus to the outside (sysfs)."""

    def added(self, device: Device) -> None:
        """A device has appeared."""

    def removed(self, device: Device) -> None:
        """A device has gone."""

    def changed(self, device: Device, before: str | None) -> None:
        """A device's driver (it was `before`), override, VFs or children may have changed."""


class Stub(Protocol):
    """pciback as the driver core sees it."""

    def takes(self, device: Device) -> bool:
        """Whether its probe would succeed."""

    def probe(self, device: Device) -> None:
        """It takes a device."""

    def remove(self, device: Device) -> None:
        """A device is taken from it."""

    def holds(self, device: Device) -> bool:
        """Whether a device is bound to it."""


class PciBus:
    """All functions of the machine and the drivers that dom0's kernel has."""

    def __init__(self, machine: Machine, note: Callable[[str, str, str], None]) -> None:
        self.machine = machine
        self.devices: dict[Address, Device] = {}
        self.new_ids: dict[str, list[str]] = {}
        self.observer: Observer | None = None
        self.stub: Stub | None = None
        self.on_gone: Callable[[Address], None] = lambda address: None
        self._note = note
        self._counters: dict[str, int] = {}
        self._removed: list[Device] = []
        for device in machine.devices:
            self.devices[device.address] = device

    @property
    def drivers(self) -> list[str]:
        """Names of all drivers, pciback included."""
        names = {model.driver for model in MODELS.values() if model.driver}
        return sorted(names | {PCIBACK, "pci-stub", "vfio-pci"})

    def boot(self, hidden: list[Address]) -> None:
        """What the kernel does at boot: pciback gets what is hidden, drivers get the rest."""
        for device in list(self.devices.values()):
            if device.address in hidden and self.stub is not None:
                self._attach(device, PCIBACK)
            else:
                self.probe(device)
            count = self.machine.numvfs.get(device.address, 0)
            if count and device.driver:
                self.set_numvfs(device, count)

    def find(self, name: str) -> Device:
        """The device with this full name; ENODEV if there is none."""
        for device in self.devices.values():
            if str(device) == name:
                return device
        raise refuse(errno.ENODEV)

    # -- drivers -------------------------------------------------------------------------------------

    def matches(self, device: Device, driver: str) -> bool:
        """Whether the driver core would offer the device to the driver."""
        if device.override:
            return device.override == driver
        if driver == PCIBACK:
            return True
        identity = device.model.identity
        if f"{identity.vendor:04x} {identity.device:04x}" in self.new_ids.get(driver, []):
            return True
        return device.model.driver == driver

    def bind(self, device: Device, driver: str) -> None:
        """A write to the driver's ``bind``."""
        if not self.matches(device, driver):
            raise refuse(errno.ENODEV)
        if device.driver is not None:
            raise refuse(errno.EBUSY)
        if not self._willing(device, driver):
            raise refuse(errno.ENODEV)
        self._attach(device, driver)

    def unbind(self, device: Device, driver: str | None = None) -> None:
        """A write to the driver's ``unbind``; ENODEV if it has not this device."""
        if device.driver is None or (driver is not None and device.driver != driver):
            raise refuse(errno.ENODEV)
        before = device.driver
        if device.vfs and not self._vfs_in_use(device):
            self._destroy_vfs(device)
        if before == PCIBACK and self.stub is not None:
            self.stub.remove(device)
        device.driver = None
        device.names.clear()
        device.driver_left_it()
        self._changed(device, before)

    def probe(self, device: Device) -> bool:
        """Offer a device to the drivers (boot, ``drivers_probe``); whether one took it."""
        if device.driver is not None:
            return False
        for driver in self.drivers:
            if self.matches(device, driver) and self._willing(device, driver):
                self._attach(device, driver)
                return True
        return False

    def _willing(self, device: Device, driver: str) -> bool:
        """Whether the driver's own probe accepts the device."""
        if device.physfn is not None and not device.physfn.autoprobe and not device.override:
            return False  # pci_device_can_probe: no driver at all, unless by driver_override
        if driver == PCIBACK:
            return self.stub is not None and self.stub.takes(device)
        return not (device.model_name == "nvme-vf" and driver == "nvme")

    def fitting(self, device: Device) -> str | None:
        """The driver of the host that takes the device where nothing keeps it away, such as an override."""
        kept = device.model_name == "nvme-vf" or (device.physfn is not None and not device.physfn.autoprobe)
        return None if kept else device.model.driver

    def _attach(self, device: Device, driver: str) -> None:
        device.driver = driver
        if driver == PCIBACK:
            assert self.stub is not None, "only a machine with pciback attaches to it"
            self.stub.probe(device)
        elif driver not in ("pci-stub", "vfio-pci"):
            device.driver_took_it()
            device.names = self._children(device)
        self._changed(device, None)

    def _children(self, device: Device) -> list[str]:
        """Names of what the driver creates: an interface, a controller, a disk."""
        kind = device.model.child
        if not kind:
            return []
        if device.facts.name:
            return [device.facts.name]
        prefix = {"net": "eth", "nvme": "nvme", "ata": "sd"}[kind]
        if device.physfn is not None and device.physfn.names:
            # As udev names them: the PF's interface with v and the VF's number.
            return [f"{device.physfn.names[0]}v{device.physfn.vfs.index(device)}"]
        taken = {name for other in self.devices.values() for name in [*other.names, other.facts.name]}
        if kind == "ata":
            return [next(name for name in (f"sd{c}" for c in "abcdefghijklmnopqrstuvwxyz") if name not in taken)]
        number = 0
        while f"{prefix}{number}" in taken:
            number += 1
        return [f"{prefix}{number}"]

    def set_override(self, device: Device, value: str) -> None:
        """A write to ``driver_override``; an empty value clears it."""
        device.override = value
        self._changed(device, device.driver)

    def add_new_id(self, driver: str, line: str) -> None:
        """A write to the driver's ``new_id``: remembered, then devices without a driver are offered."""
        parts = line.split()
        if len(parts) < 2:
            raise refuse(errno.EINVAL)
        entry = f"{int(parts[0], 16):04x} {int(parts[1], 16):04x}"
        if entry in self.new_ids.setdefault(driver, []):
            raise refuse(errno.EEXIST)
        self.new_ids[driver].append(entry)
        for device in list(self.devices.values()):
            if device.driver is None and self.matches(device, driver) and self._willing(device, driver):
                self._attach(device, driver)

    def remove_id(self, driver: str, line: str) -> None:
        """A write to the driver's ``remove_id``."""
        parts = line.split()
        entry = " ".join(parts[:2])
        if entry not in self.new_ids.get(driver, []):
            raise refuse(errno.ENODEV)
        self.new_ids[driver].remove(entry)

    # -- resets --------------------------------------------------------------------------------------

    def reset(self, device: Device, who: str) -> None:
        """Reset one function and restore its configuration; ENOTTY without a method."""
        if not device.resets:
            raise refuse(errno.ENOTTY)
        if device.broken_reset:
            self._note(who, "noreset", str(device))
            raise refuse(errno.ENOTTY)
        device.reset_count += 1
        self._note(who, "reset", str(device))

    def set_reset_methods(self, device: Device, value: str) -> None:
        """A write to ``reset_method``: an order, ``default``, or nothing to switch resets off."""
        wanted = value.split()
        if wanted == ["default"]:
            wanted = list(device.model.resets)
        if any(method not in device.model.resets for method in wanted):
            raise refuse(errno.EINVAL)
        device.resets = wanted
        self._changed(device, device.driver)

    # -- virtual functions ---------------------------------------------------------------------------

    def set_numvfs(self, device: Device, count: int) -> None:
        """A write to ``sriov_numvfs``."""
        if count > device.model.total_vfs:
            raise refuse(errno.ERANGE)
        if count == len(device.vfs):
            return
        if device.driver in (None, PCIBACK, "pci-stub"):
            raise refuse(errno.ENOENT)
        if not count:
            if self._vfs_in_use(device):
                raise refuse(errno.EPERM)
            self._destroy_vfs(device)
            self._changed(device, device.driver)
            return
        if device.vfs:
            raise refuse(errno.EBUSY)
        if device.numvfs_error:
            raise refuse(device.numvfs_error)
        for index in range(count):
            child = virtual_function(self.machine, device, index)
            self.devices[child.address] = child
            device.vfs.append(child)
            if self.observer:
                self.observer.added(child)
            if device.autoprobe:
                self.probe(child)
        self._changed(device, device.driver)

    def _vfs_in_use(self, device: Device) -> bool:
        """Linux' pci_vfs_assigned: pciback marks what it holds as assigned."""
        return any(child.driver == PCIBACK for child in device.vfs)

    def _destroy_vfs(self, device: Device) -> None:
        for child in list(device.vfs):
            self._forget(child)
        device.vfs.clear()

    # -- removal and rescan --------------------------------------------------------------------------

    def remove(self, device: Device) -> None:
        """A write to the device's ``remove``: it and what is behind it leave the bus until a rescan."""
        for other in list(self.devices.values()):
            if other.parent is device and other.physfn is None:
                self.remove(other)
        self._destroy_vfs(device)
        self._removed.append(device)
        self._forget(device)

    def rescan(self) -> None:
        """A write to ``rescan``: removed devices are found again."""
        for device in reversed(self._removed):
            self.devices[device.address] = device
            if self.observer:
                self.observer.added(device)
            self.probe(device)
        self._removed.clear()

    def _forget(self, device: Device) -> None:
        if device.driver is not None:
            self.unbind(device)
        self.devices.pop(device.address, None)
        self.on_gone(device.address)
        if self.observer:
            self.observer.removed(device)

    def touched(self, device: Device) -> None:
        """Something about a device changed that its files show."""
        self._changed(device, device.driver)

    def _changed(self, device: Device, before: str | None) -> None:
        if self.observer:
            self.observer.changed(device, before)
