# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time in a process that runs a module on a simulated host: where nothing can happen any more, it is over at once.

The simulator knows when all kernels wait for somebody else. If the module is the only client of xenstored then, what
it waits for does not come, however long it waits: its clock goes forward to the end of the wait. In all other cases
(a side that is late, another toolstack, a store that does not answer) it waits like everybody.

A machine that is busy with other things must not let a limit pass that the simulator had no chance to keep. So each
look at the simulator counts as the time that it takes on an idle machine, and whatever else happens between two
questions for the time as one slice of a wait at most.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from ansible_collections.xen.pci.plugins.module_utils.apply import loop
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore import XenStore
from simulated_xen.interpreter.xen.lowlevel._simulator import Refused, request

_real_monotonic, _real_sleep, _real_next_event = time.monotonic, time.sleep, XenStore.next_event
#: Seconds between two questions to the simulator while something is under way.
_ASK_AGAIN = 0.01
#: Seconds of a wait that asks again and again whether another process has let go of a lock: the simulator does not
#: know of that process, which works.
_POLL = 0.05
#: The most that such a question counts as, with the wait behind it.
_MOST_FOR_A_LOOK = 0.02
#: The most that counts otherwise: the product waits in slices of 0.25 s where it waits for xenstored.
_MOST_AT_ONCE = 0.3


class Clock:
    """What time.monotonic and time.sleep are in this process."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._now = self._seen = _real_monotonic()
        self._reading = threading.Lock()
        self._loop: loop._Loop | None = None

    def install(self) -> None:
        """Put it in the place of the real one, for all that the product waits with."""
        clock, construct = self, loop._Loop.__init__

        def constructed(self: Any, *arguments: Any) -> None:
            construct(self, *arguments)
            clock._loop = self

        loop._Loop.__init__ = constructed  # type: ignore[method-assign]

        def next_event(store: XenStore, timeout: float) -> Any:
            return clock.next_event(store, timeout)

        XenStore.next_event = next_event  # type: ignore[method-assign]
        time.monotonic, time.sleep = self.monotonic, self.sleep

    def monotonic(self) -> float:
        """Real seconds as far as they count, and those that nobody had to wait for."""
        with self._reading:
            real = _real_monotonic()
            self._now += min(real - self._seen, _MOST_AT_ONCE)
            self._seen = real
            return self._now

    def sleep(self, seconds: float) -> None:
        """Wait, or be done with it."""
        until = self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0:
            if seconds > _POLL and self._at_rest():
                self._set(max(until, self.monotonic()))
            else:
                _real_sleep(min(left, _ASK_AGAIN))
                self._set(min(until - left + _MOST_FOR_A_LOOK, self.monotonic()))

    def next_event(self, store: XenStore, timeout: float) -> Any:
        """XenStore.next_event, but nobody waits for an event that cannot come."""
        until = self.monotonic() + timeout
        event = _real_next_event(store, 0)
        while event is None and (left := until - self.monotonic()) > 0:
            if self._works() or not self._at_rest():
                event = _real_next_event(store, min(left, _ASK_AGAIN))
                self._set(min(until - left + _MOST_FOR_A_LOOK, self.monotonic()))
                continue
            store.read("/")  # its answer comes after all events that were on their way
            event = _real_next_event(store, 0)
            if event is None:
                self._set(max(until, self.monotonic()))
        return event

    def _set(self, now: float) -> None:
        with self._reading:
            self._now, self._seen = now, _real_monotonic()

    def _works(self) -> bool:
        """Whether a flow waits for a call that is under way in another thread."""
        running = self._loop._running.values() if self._loop is not None else ()
        return any(isinstance(one.request, (loop.Work, loop.Join)) for one in running)

    def _at_rest(self) -> bool:
        try:
            return bool(request(self._directory, "at-rest", clients=1))
        except (Refused, OSError):
            return False
