# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's kernel: its device bus, pcifront, the PCI devices that it sees and the drivers that take them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from ..host.device import Address, Device
from ..store.store import Store
from ..store.wire import StoreError
from .domu import DomuKernel
from .pcifront import Pcifront
from .xenbus import State
from .xenwatch import Oops


class Platform(Protocol):
    """What the guest reaches outside of itself."""

    def seen_by(self, domid: int) -> dict[Address, Device]:
        """Devices that answer to configuration accesses."""

    def may_touch(self, domid: int, device: Device) -> bool:
        """Whether the device's registers can be mapped."""

    def may_interrupt(self, domid: int, device: Device) -> bool:
        """Whether MSI-X can be set up."""

    def config_changed(self, device: Device) -> None:
        """The guest's driver wrote to configuration space."""


class Manner(enum.Enum):
    """How a guest's driver behaves."""

    BIND = "bind"
    REFUSE = "refuse"
    HANG = "hang"
    KEEP = "keep"
    CRASH = "crash"


@dataclass
class Seen:
    """One device in the guest."""

    device: Device
    driver: str | None = None


class GuestKernel(DomuKernel):
    """The kernel of a PV guest. `manners` is by host address, with "*" for all others."""

    def __init__(self, store: Store, domid: int, platform: Platform, linux: tuple[int, int], pcifront: bool) -> None:
        super().__init__(store, domid)
        self.linux = linux
        self.pcifront = pcifront
        self.manners: dict[str, Manner] = {}
        self.devices: dict[Address, Seen] = {}
        self.frontends: dict[str, Pcifront | None] = {}
        self._platform = platform

    def boot(self) -> None:
        """Start, with the watch by which the bus finds its devices."""
        super().boot()
        self.watch(f"{self.home}/device", self._bus_changed)

    def load_pcifront(self) -> None:
        """modprobe xen-pcifront: devices that were waiting for a driver get it."""
        self.pcifront = True
        for node, frontend in list(self.frontends.items()):
            if frontend is None:
                self._events.put_nowait((self._attach, node))

    async def shut_devices_down(self) -> None:
        """The bus does it for one device after the other."""
        for frontend in list(self.frontends.values()):
            if frontend is not None:
                await frontend.shut_down()

    # -- the device bus ------------------------------------------------------------------------------

    async def _bus_changed(self, path: str) -> None:
        """Linux' xenbus_dev_changed on the frontend bus."""
        if not self.xs.exists(path):
            for node in [node for node in self.frontends if node == path or node.startswith(f"{path}/")]:
                frontend = self.frontends.pop(node)
                if frontend is not None:
                    await self.step("frontend:unregister")
                    await frontend.remove()
            return
        parts = path[len(self.home) + 1 :].split("/")
        if len(parts) < 3 or parts[1] != "pci":
            return
        node = f"{self.home}/{'/'.join(parts[:3])}"
        if node in self.frontends or self.xs.number(f"{node}/state") != State.INITIALISING:
            return
        self.frontends[node] = None
        if self.pcifront:
            await self._attach(node)

    async def _attach(self, node: str) -> None:
        if node not in self.frontends or self.frontends[node] is not None:
            return
        otherend = self.xs.read(f"{node}/backend")
        if not otherend or not self.xs.exists(otherend):
            return
        frontend = Pcifront(self, node, otherend)
        self.frontends[node] = frontend
        try:
            await frontend.probe()
        except StoreError as refused:
            # xenbus_dev_probe: the device stays on the bus, without a driver.
            frontend.error(refused.number, f"xenbus_dev_probe on {node[len(self.home) + 1 :]}")
            self.frontends[node] = None
        else:
            frontend.watch_otherend()

    # -- its devices ---------------------------------------------------------------------------------

    async def rescan(self) -> None:
        """Read configuration space of all addresses of all roots and take what is new."""
        for where, device in sorted(self._platform.seen_by(self.domid).items()):
            if where in self.devices and self.devices[where].device is device:
                continue
            if not self._platform.may_touch(self.domid, device):
                raise Oops(f"no right to the memory of {device} at {where}")
            seen = Seen(device)
            self.devices[where] = seen
            await self._bind(seen)

    def _manner(self, device: Device) -> Manner:
        return self.manners.get(str(device), self.manners.get("*", Manner.BIND))

    async def _bind(self, seen: Seen) -> None:
        device = seen.device
        await self.step("guest:bind")
        manner = self._manner(device)
        if manner is Manner.CRASH:
            raise Oops(f"the driver of {device} crashed")
        if manner is Manner.HANG:
            self.steps.hang(f"guest:{device}")
            await self.step(f"guest:{device}")
        if device.model.driver is None or manner is Manner.REFUSE:
            return
        seen.driver = device.model.driver
        device.driver_took_it(self._platform.may_interrupt(self.domid, device))
        self._platform.config_changed(device)

    async def remove(self, where: Address) -> None:
        """pci_stop_and_remove_bus_device; nothing happens if there is no such device."""
        seen = self.devices.get(where)
        if seen is None:
            return
        await self.step("guest:remove")
        if self._manner(seen.device) is Manner.KEEP:
            self.steps.hang(f"guest:{seen.device}")
            await self.step(f"guest:{seen.device}")
        self.devices.pop(where, None)
        if seen.driver is not None:
            seen.device.driver_left_it()
            self._platform.config_changed(seen.device)

    async def remove_all(self) -> None:
        """All devices go."""
        for where in list(self.devices):
            await self.remove(where)
