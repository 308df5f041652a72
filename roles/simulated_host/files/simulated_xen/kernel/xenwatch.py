# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel's xenwatch thread: one event after the other, however long each takes."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable
from typing import Callable

from ..store.local import LocalClient
from ..store.store import Store

Handler = Callable[[str], Awaitable[None]]


class Oops(Exception):
    """The kernel thread dies here (a guest touches memory it has no right to)."""


class Steps:
    """Where a kernel passes on its way, and what shall happen there.

    A delay (seconds) makes it late at every step of that name, once or for good; `hang` keeps it there
    until it is released. Names: see the callers of `at`.
    """

    def __init__(self) -> None:
        self.holding = False
        self._delays: dict[str, float] = {}
        self._held: dict[str, asyncio.Event] = {}
        self._actions: dict[str, Callable[[], Awaitable[None]]] = {}

    def delay(self, step: str, seconds: float) -> None:
        """Take this long at a step from now on; 0 ends it."""
        self._delays[step] = seconds

    def hang(self, step: str) -> None:
        """Stay at a step until `release`."""
        self._held[step] = asyncio.Event()

    def release(self, step: str) -> None:
        """Go on."""
        held = self._held.pop(step, None)
        if held is not None:
            held.set()

    def once(self, step: str, action: Callable[[], Awaitable[None]] | None) -> None:
        """Run something the next time a step is reached (the guest dies, pauses, reboots there), or nothing."""
        if action is None:
            self._actions.pop(step, None)
        else:
            self._actions[step] = action

    async def at(self, step: str) -> None:
        """A kernel is at a step."""
        action = self._actions.pop(step, None)
        if action is not None:
            await action()
        held = self._held.get(step)
        if held is not None:
            self.holding = True
            try:
                await held.wait()
            finally:
                self.holding = False
        seconds = self._delays.get(step, 0.0)
        if seconds:
            await asyncio.sleep(seconds)


class Kernel:
    """A kernel as far as xenbus goes: a client of the store, a xenwatch thread, steps to disturb it at."""

    def __init__(self, store: Store, domid: int) -> None:
        self.xs = LocalClient(store, f"D{domid}", domid)
        self.domid = domid
        self.steps = Steps()
        self.oops: str | None = None
        self.deaf = False
        self.log = store.trace
        self._events: asyncio.Queue[tuple[Handler, str]] = asyncio.Queue()
        self._running = asyncio.Event()
        self._running.set()
        self._handling = False
        self._thread: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the xenwatch thread."""
        self._thread = asyncio.get_running_loop().create_task(self._xenwatch())

    async def stop(self) -> None:
        """The kernel is gone: no event is handled any more."""
        self.xs.close()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not asyncio.current_task():
            thread.cancel()

    @property
    def at_rest(self) -> bool:
        """Whether it does nothing by itself: it waits for an event, is held at a step, is paused or dead."""
        if self._thread is None or self._thread.done() or self.steps.holding or not self._running.is_set():
            return True
        return not self._handling and self._events.empty()

    def pause(self, paused: bool) -> None:
        """Stop or go on running; events wait meanwhile."""
        if paused:
            self._running.clear()
        else:
            self._running.set()

    async def step(self, name: str) -> None:
        """Pass a step: late, hanging or paused as told. The chance for everybody else to run."""
        await self.steps.at(name)
        await self._running.wait()

    def watch(self, path: str, handler: Handler) -> str:
        """Have a handler run in the xenwatch thread for every change of a path."""

        def heard(changed: str) -> None:
            if not self.deaf:
                self._events.put_nowait((handler, changed))

        return self.xs.watch(path, heard)

    async def _xenwatch(self) -> None:
        while True:
            handler, path = await self._events.get()
            self._handling = True
            await self._running.wait()
            try:
                await handler(path)
                self._handling = False
            except Oops as oops:
                self.oops = str(oops)
                self.log.note(f"D{self.domid}", "oops", "", str(oops))
                return
            except Exception:
                # A mistake of the simulator itself: say so where somebody looks, and stop as a kernel would.
                self.oops = traceback.format_exc()
                self.log.note(f"D{self.domid}", "bug", path, self.oops)
                raise
