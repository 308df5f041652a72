# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pcifront (Linux drivers/pci/xen-pcifront.c): the frontend in a PV guest."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from typing import TYPE_CHECKING

from ..host.device import Address
from ..store.wire import StoreError
from .pciback import MAGIC
from .xenbus import State, XenbusDevice, scan_address

if TYPE_CHECKING:
    from .guest import GuestKernel

GRANT, CHANNEL = 8, 8
#: How long a guest that shuts down waits for a backend (xenbus_dev_shutdown).
SHUTDOWN_SECONDS = 5.0


class Pcifront(XenbusDevice):
    """The frontend of one guest."""

    kernel: GuestKernel

    def __init__(self, kernel: GuestKernel, node: str, otherend: str) -> None:
        super().__init__(kernel, node, otherend)
        self._down = asyncio.Event()

    async def probe(self) -> None:
        """Publish the shared page and go to 3 at once; StoreError if the directory has gone meanwhile."""
        await self.kernel.step("frontend:1")
        values = {"pci-op-ref": GRANT, "event-channel": CHANNEL, "magic": MAGIC}
        try:
            self.kernel.xs.write_all({f"{self.node}/{name}": value for name, value in values.items()})
        except StoreError as refused:
            self.fatal(refused.number, "Error writing configuration for backend")
            raise
        self.switch_state(State.INITIALISED)

    async def remove(self) -> None:
        """The xenbus device has gone: all devices go, and Linux complains about its event channel.

        It ends as Closed (xenbus_dev_remove), which shows if there is a new directory by then, as recorded on real Xen.
        """
        self.unwatch_otherend()
        await self.kernel.remove_all()
        self.error(errno.EINVAL, f"freeing event channel {CHANNEL}")
        self.switch_state(State.CLOSED)

    async def shut_down(self) -> None:
        """The guest shuts down (xenbus_dev_shutdown): only what is connected is closed, and its devices stay."""
        if self.cached != State.CONNECTED:
            return
        self.switch_state(State.CLOSING)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._down.wait(), SHUTDOWN_SECONDS)

    async def otherend_changed(self, state: State) -> None:
        if self.kernel.shutting_down:
            # Nothing of the backend counts any more but its own Closing (xenbus_otherend_changed).
            if state == State.CLOSING:
                self.switch_state(State.CLOSED)
                self._down.set()
        elif state == State.CONNECTED:
            await self.kernel.step("frontend:4")
            await self._connect(State.INITIALISED)
        elif state == State.RECONFIGURING:
            await self.kernel.step("frontend:7")
            await self._detach()
        elif state == State.RECONFIGURED:
            await self.kernel.step("frontend:8")
            await self._connect(State.RECONFIGURING)
        elif state == State.CLOSING or (state == State.CLOSED and self.cached != State.CLOSED):
            await self.kernel.step("frontend:5")
            await self._disconnect()

    async def _connect(self, expected: State) -> None:
        """Scan all roots and take what is new; only from the state that belongs to it."""
        if self.read_state(self.node) != expected:
            return
        if self.kernel.xs.number(f"{self.otherend}/root_num") is None:
            self.error(errno.ENOENT, "No PCI Roots found, trying 0000:00")
        await self.kernel.rescan()
        self.switch_state(State.CONNECTED)

    async def _detach(self) -> None:
        """Remove what the toolstack wants back (entries at 5), found by vdev-N."""
        own = self.read_state(self.node)
        if own == State.INITIALISED and self.kernel.linux >= (6, 1):
            # A connect that was missed (Linux 6.1, "Handle missed Connected state").
            await self.kernel.rescan()
        elif own != State.CONNECTED or not await self._remove_closing():
            return
        self.switch_state(State.RECONFIGURING)

    async def _remove_closing(self) -> bool:
        xs = self.kernel.xs
        count = xs.number(f"{self.otherend}/num_devs")
        if count is None:
            self.fatal(errno.EINVAL, "Error reading number of PCI devices")
            return False
        for index in range(count):
            if xs.number(f"{self.otherend}/state-{index}") != State.CLOSING:
                continue
            text = xs.read(f"{self.otherend}/vdev-{index}")
            parsed = scan_address(text) if text is not None else None
            if parsed is None:
                number = errno.ENOENT if text is None else errno.EINVAL
                self.fatal(number, f"Error reading PCI device {index}")
                return False
            await self.kernel.remove(Address(*parsed))
        return True

    async def _disconnect(self) -> None:
        """The backend closes: everything goes, unless we are past that (5 or more, which 7 is)."""
        own = self.read_state(self.node)
        if own >= State.CLOSING:
            return
        if own == State.CONNECTED:
            await self.kernel.remove_all()
        self.switch_state(State.CLOSED)
