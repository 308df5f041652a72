# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's kernel of any type, as far as all are alike: it ends, in good order or not.

After Linux drivers/xen/manage.c, and as seen on real Xen: whether dom0 asks (control/shutdown) or somebody inside, the
kernel shuts its devices down before it ends. So it does for `reboot -f`, which spares user space only. What ends
without a word is a reset (sysrq-b, a triple fault).
"""

from __future__ import annotations

import asyncio
from typing import Callable

from ..store.store import Store
from .xenwatch import Kernel

#: What control/shutdown may say, and what the guest then does. A halted guest is off, too.
REQUESTS = {"poweroff": "poweroff", "halt": "poweroff", "reboot": "reboot"}
#: How somebody inside can end it.
ENDS = ("poweroff", "reboot", "reset")


class DomuKernel(Kernel):
    """`on_end`: Xen tells the toolstack why the domain has shut down (poweroff, reboot)."""

    def __init__(self, store: Store, domid: int) -> None:
        super().__init__(store, domid)
        self.home = f"/local/domain/{domid}"
        self.shutting_down = False
        self.ended = False
        self.on_end: Callable[[str], None] = lambda _reason: None
        self._ending: asyncio.Task[None] | None = None

    def boot(self) -> None:
        """Start, and listen to requests."""
        self.start()
        self.watch(f"{self.home}/control/shutdown", self._asked)

    async def stop(self) -> None:
        ending, self._ending = self._ending, None
        if ending is not None and ending is not asyncio.current_task():
            ending.cancel()
        await super().stop()

    @property
    def at_rest(self) -> bool:
        held = self.steps.holding or not self._running.is_set()
        return super().at_rest and (self._ending is None or self._ending.done() or held)

    async def _asked(self, path: str) -> None:
        """Take the request away, which is the answer to it, and follow."""
        how = REQUESTS.get(self.xs.read(path) or "")
        if how is not None:
            self.xs.write(path, "")
            self.shut_down(how)

    async def obey(self, how: str) -> None:
        """Somebody inside ends it, in one of the ways of ENDS."""
        if how == "reset":
            await self.end("reboot")
        elif not self.ended:
            self.shut_down(REQUESTS[how])

    def shut_down(self, how: str) -> None:
        """Begin to end in good order, beside xenwatch, which must still hear the backends."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._shut_down(how))

    async def _shut_down(self, how: str) -> None:
        await self.step("guest:shutdown")
        self.shutting_down = True
        await self.shut_devices_down()
        await self._running.wait()
        await self.end(how)

    async def shut_devices_down(self) -> None:
        """What the kernel has to say to backends before it ends."""

    async def end(self, reason: str) -> None:
        """Run no more, from one moment to the next."""
        if self.ended:
            return
        self.ended = True
        self.log.note(f"D{self.domid}", "shutdown", "", reason)
        await self.stop()
        self.on_end(reason)
