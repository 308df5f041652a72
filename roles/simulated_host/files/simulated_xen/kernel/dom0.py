# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dom0's kernel: the xen-backend bus with its pciback devices, and their traces in sysfs."""

from __future__ import annotations

import errno

from ..host.bus import refuse
from ..host.device import Address, Device
from ..host.files import WRITE_ONLY, Files
from ..host.machine import Machine
from ..host.pciback import PcibackDriver
from ..host.sysfs import Sysfs
from ..store.store import Store
from .pciback import PcibackDevice
from .vpci import HostBus, VirtualBus
from .xenbus import State
from .xenwatch import Kernel

HOME = "/local/domain/0"
BACKEND = f"{HOME}/backend/pci"
BUS = "bus/xen-backend"
DRIVER = f"{BUS}/drivers/xen-pciback"


class _Registered(PcibackDevice):
    """A backend that can ask its bus to take it away. `bound`: to pciback; without a driver it stays on the bus."""

    owner: Dom0Kernel
    bound = True

    async def unregister(self) -> None:
        await self.owner.unregister(self.node)


class Dom0Kernel(Kernel):
    """The backend side. `backends` has what is in /sys/bus/xen-backend/devices now."""

    def __init__(self, store: Store, machine: Machine, driver: PcibackDriver, sysfs: Sysfs, files: Files) -> None:
        super().__init__(store, 0)
        self._machine = machine
        self._driver = driver
        self._files = files
        self.backends: dict[str, _Registered] = {}
        driver.on_taken = self._taken
        files.directory(f"{BUS}/devices")
        files.directory(DRIVER)
        for name in ("bind", "unbind"):
            files.attribute(f"{DRIVER}/{name}", "", WRITE_ONLY)
        sysfs.actions[f"{DRIVER}/unbind"] = self._unbind
        sysfs.actions[f"{DRIVER}/bind"] = lambda text: None

    def boot(self) -> None:
        """Start, with the watch by which the bus finds its devices."""
        self.start()
        self.watch(f"{HOME}/backend", self._bus_changed)

    async def _bus_changed(self, path: str) -> None:
        """Linux' xenbus_dev_changed on the backend bus: a path below backend changed; backend/pci is not looked at."""
        parts = path[len(HOME) + 1 :].split("/")
        if len(parts) < 3:
            return
        if not self.xs.exists(path):
            for node in [node for node in self.backends if node == path or node.startswith(f"{path}/")]:
                await self.unregister(node)
            return
        if len(parts) < 4 or parts[1] != "pci":
            return
        node = f"{HOME}/{'/'.join(parts[:4])}"
        if node not in self.backends:
            await self._probe(node)

    async def _probe(self, node: str) -> None:
        if self.xs.number(f"{node}/state") != State.INITIALISING:
            return
        domid, otherend = self.xs.number(f"{node}/frontend-id"), self.xs.read(f"{node}/frontend")
        if domid is None or not otherend or not self.xs.exists(otherend):
            return
        bus = HostBus() if self._machine.passthrough else VirtualBus(self._machine.linux)
        backend = _Registered(self, node, otherend, domid, self._driver, bus, self._machine.linux >= (5, 13))
        backend.owner = self
        self.backends[node] = backend
        self._show(node, backend)
        await self.step("backend:1")
        await backend.probe()
        if self.backends.get(node) is backend:
            backend.watch_otherend()

    def _show(self, node: str, backend: PcibackDevice) -> None:
        directory = self._directory(node)
        self._files.directory(directory)
        self._files.attribute(f"{directory}/nodename", node[len(HOME) + 1 :])
        self._files.attribute(f"{directory}/devtype", "pci")
        self._files.attribute(f"{directory}/modalias", "xen-backend:pci")
        self._files.link(f"{directory}/driver", DRIVER)
        self._files.link(f"{BUS}/devices/{self._name(node)}", directory)
        self._files.link(f"{DRIVER}/{self._name(node)}", directory)

    @staticmethod
    def _name(node: str) -> str:
        return "-".join(node.split("/")[-3:])

    def _directory(self, node: str) -> str:
        return f"devices/{self._name(node)}"

    async def unregister(self, node: str) -> None:
        """Linux' device_unregister: the driver lets go, then the device leaves sysfs."""
        backend = self.backends.get(node)
        if backend is None:
            return
        await self.step("backend:unregister")
        await self._unbind_driver(node)
        del self.backends[node]
        self._files.unlink(f"{BUS}/devices/{self._name(node)}")
        self._files.remove_tree(self._directory(node))

    async def _unbind_driver(self, node: str) -> None:
        """The driver lets go; its device stays on the bus."""
        backend = self.backends[node]
        if backend.bound:
            backend.bound = False
            await backend.remove()
            self._files.unlink(f"{DRIVER}/{self._name(node)}")
            self._files.unlink(f"{self._directory(node)}/driver")

    def _taken(self, domid: int, device: Device) -> None:
        """A device that a guest has was unbound from pciback: it leaves the guest's bus without a word."""
        backend = self.backends.get(f"{BACKEND}/{domid}/0")
        if backend is not None:
            backend.bus.remove(device)

    def _unbind(self, text: str) -> None:
        for node, backend in self.backends.items():
            if self._name(node) == text and backend.bound:
                self._events.put_nowait((self._unbind_driver, node))
                return
        raise refuse(errno.ENODEV)

    def backend_of(self, domid: int) -> PcibackDevice:
        """A guest's backend; KeyError if it has none."""
        return self.backends[f"{BACKEND}/{domid}/0"]

    def seen_by(self, domid: int) -> dict[Address, Device]:
        """What a guest finds when it scans its buses."""
        backend = self.backends.get(f"{BACKEND}/{domid}/0")
        return backend.bus.devices() if backend is not None else {}
