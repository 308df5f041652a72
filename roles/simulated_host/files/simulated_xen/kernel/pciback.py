# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pciback's xenbus half (Linux drivers/xen/xen-pciback/xenbus.c): one backend per guest, in dom0's kernel."""

from __future__ import annotations

import errno

from ..host.device import Address, Device
from ..host.pciback import PcibackDriver
from .vpci import HostBus, NoSpace, VirtualBus
from .xenbus import State, XenbusDevice, scan_address
from .xenwatch import Kernel

MAGIC = "7"


class PcibackDevice(XenbusDevice):
    """The backend of one guest. `bus` is what the guest's configuration accesses reach while it is `attached`."""

    def __init__(self, kernel: Kernel, node: str, otherend: str, domid: int, driver: PcibackDriver,
                 bus: VirtualBus | HostBus, follows_state_3: bool) -> None:  # fmt: skip
        super().__init__(kernel, node, otherend)
        self.domid = domid
        self.bus = bus
        self._driver = driver
        self._follows_state_3 = follows_state_3
        self._be_watch: str | None = None
        self.attached = False

    async def probe(self) -> None:
        """Take the device: state 2, then look at what the toolstack has written already."""
        self.switch_state(State.INIT_WAIT)
        self._be_watch = self.kernel.watch(self.node, self._own_directory_changed)
        await self._own_directory_changed(self.node)

    async def remove(self) -> None:
        """The xenbus device is unregistered: all devices go back, reset. If the directory is there still, it
        says Closed (xenbus_dev_remove: pciback does not allow a rebind)."""
        self.unwatch_otherend()
        if self._be_watch is not None:
            self.kernel.xs.unwatch(self.node, self._be_watch)
        self.attached = False
        for device in list(self.bus.devices().values()):
            self.bus.remove(device)
            await self.kernel.step("backend:reset")
            self._driver.put_back(device)
        self.switch_state(State.CLOSED)

    # -- reactions -----------------------------------------------------------------------------------

    async def _own_directory_changed(self, _path: str) -> None:
        if self.gone:
            return
        state = self.read_state(self.node)
        if state == State.INIT_WAIT:
            await self._setup()
        elif state == State.INITIALISED and self._follows_state_3:
            # Since 5.13: devices that are added while the backend waits for the guest.
            await self._reconfigure(State.INITIALISED)

    async def otherend_changed(self, state: State) -> None:
        if state == State.INITIALISED:
            await self.kernel.step("backend:3")
            self._attach()
        elif state == State.RECONFIGURING:
            await self.kernel.step("backend:7")
            await self._reconfigure(State.RECONFIGURING)
        elif state == State.CONNECTED:
            await self.kernel.step("backend:4")
            self.switch_state(State.CONNECTED)
        elif state == State.CLOSING:
            await self.kernel.step("backend:5")
            self.attached = False
            self.switch_state(State.CLOSING)
        elif state == State.CLOSED:
            await self.kernel.step("backend:6")
            self.attached = False
            self.switch_state(State.CLOSED)
            if self.kernel.xs.number(f"{self.node}/online") != 1:
                await self.unregister()
        elif state == State.UNKNOWN:
            await self.unregister()

    async def unregister(self) -> None:
        """Have the bus take this device away."""
        raise NotImplementedError

    # -- what it does --------------------------------------------------------------------------------

    async def _setup(self) -> None:
        if self.read_state(self.node) != State.INIT_WAIT:
            return
        await self.kernel.step("backend:2")
        count = self._count()
        if count is None:
            return
        for index in range(count):
            if not await self._export(index):
                return
            self.kernel.xs.write(f"{self.node}/state-{index}", int(State.INITIALISED))
        self._publish_roots()
        self.switch_state(State.INITIALISED)
        self._attach()

    def _attach(self) -> None:
        """Both ends at 3: map the guest's page and connect."""
        if self.read_state(self.node) != State.INITIALISED:
            return
        if self.read_state(self.otherend) != State.INITIALISED:
            return
        xs = self.kernel.xs
        reference, channel = xs.number(f"{self.otherend}/pci-op-ref"), xs.number(f"{self.otherend}/event-channel")
        if reference is None or channel is None:
            self.fatal(errno.ENOENT, "Error reading configuration from frontend")
            return
        magic = xs.read(f"{self.otherend}/magic")
        if magic != MAGIC:
            self.fatal(errno.EFAULT, f"version mismatch ({magic}/{MAGIC}) with pcifront - halting xen_pcibk")
            return
        self.attached = True
        self.switch_state(State.CONNECTED)

    async def _reconfigure(self, expected: State) -> None:
        """Walk all entries: export those at 1, remove those at 5; the first bad one ends the walk."""
        if self.read_state(self.node) != expected:
            return
        count = self._count()
        if count is None:
            return
        for index in range(count):
            state = self.kernel.xs.number(f"{self.node}/state-{index}")
            if state == State.INITIALISING:
                if not await self._export(index):
                    return
                self._publish_roots()
                self.kernel.xs.write(f"{self.node}/state-{index}", int(State.INITIALISED))
            elif state == State.CLOSING and not await self._remove(index):
                return
        if expected == State.RECONFIGURING:
            self.switch_state(State.RECONFIGURED)

    def _count(self) -> int | None:
        count = self.kernel.xs.number(f"{self.node}/num_devs")
        if count is None:
            self.fatal(errno.EINVAL, "Error reading number of devices")
        return count

    async def _export(self, index: int) -> bool:
        """Give entry `index` to the guest and publish where it is; fatal and False if that cannot be."""
        await self.kernel.step("backend:export")
        text = self.kernel.xs.read(f"{self.node}/dev-{index}")
        if text is None:
            self.fatal(errno.ENOENT, "Error reading device configuration")
            return False
        parsed = scan_address(text)
        if parsed is None:
            self.fatal(errno.EINVAL, "Error parsing pci device configuration")
            return False
        domain, bus, slot, function = parsed
        device: Device | None = None
        if slot < 32 and function < 8:
            device = self._driver.take_for(Address(domain, bus, slot, function), self.domid)
        if device is None:
            name = f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"
            self.fatal(errno.EINVAL, f"Couldn't locate PCI device ({name})! perhaps already in-use?")
            return False
        try:
            virtual = self.bus.add(device)
        except NoSpace:
            # The device is not put back: Linux leaks its hold here.
            self.fatal(errno.ENOMEM, "No more space on root virtual PCI bus")
            return False
        place = f"{virtual.segment:04x}:{virtual.bus:02x}:{virtual.slot:02x}.{virtual.function:02x}"
        self.kernel.xs.write(f"{self.node}/vdev-{index}", place)
        return True

    async def _remove(self, index: int) -> bool:
        """Take the device that vdev-N names away from the guest. Not ours: False, without a word."""
        text = self.kernel.xs.read(f"{self.node}/vdev-{index}")
        parsed = scan_address(text) if text is not None else None
        if parsed is None:
            self.fatal(errno.ENOENT if text is None else errno.EINVAL, "Error reading vdev")
            return False
        device = self.bus.find(Address(*parsed))
        if device is None:
            return False
        self.bus.remove(device)
        await self.kernel.step("backend:reset")
        self._driver.put_back(device)
        return True

    def _publish_roots(self) -> None:
        """Add roots that are not there yet; none is ever removed."""
        xs = self.kernel.xs
        count = xs.number(f"{self.node}/root_num") or 0
        known = [xs.read(f"{self.node}/root-{index}") for index in range(count)]
        for domain, bus in self.bus.roots():
            name = f"{domain:04x}:{bus:02x}"
            if name not in known:
                xs.write(f"{self.node}/root-{len(known)}", name)
                known.append(name)
                xs.write(f"{self.node}/root_num", len(known))

    def kill_domain(self) -> None:
        """An AER error that the guest cannot handle: all pciback does is to say so."""
        self.kernel.xs.write(f"{self.node}/aerState", "aerfail")
