# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device on xenbus: its own state with the kernel's cache of it, and the watch on the other end.

After Linux drivers/xen/xenbus: `__xenbus_switch_state`, `xenbus_otherend_changed`, `xenbus_dev_fatal`.
"""

from __future__ import annotations

import contextlib
import enum
import re

from ..store.wire import StoreError
from .xenwatch import Kernel

_SBDF = re.compile(r"\s*([0-9a-fA-F]+):([0-9a-fA-F]+):([0-9a-fA-F]+)\.([0-9a-fA-F]+)")


class State(enum.IntEnum):
    """XenbusState, for both ends and for each device's sub-state."""

    UNKNOWN = 0
    INITIALISING = 1
    INIT_WAIT = 2
    INITIALISED = 3
    CONNECTED = 4
    CLOSING = 5
    CLOSED = 6
    RECONFIGURING = 7
    RECONFIGURED = 8


def scan_address(text: str) -> tuple[int, int, int, int] | None:
    """``sscanf("%x:%x:%x.%x")``: domain, bus, slot, function; None unless all four are there."""
    match = _SBDF.match(text)
    if match is None:
        return None
    domain, bus, slot, function = (int(part, 16) for part in match.groups())
    return domain, bus, slot, function


class XenbusDevice:
    """One end. Subclasses have `otherend_changed`."""

    def __init__(self, kernel: Kernel, node: str, otherend: str) -> None:
        self.kernel = kernel
        self.node = node
        self.otherend = otherend
        self.cached = State.INITIALISING
        self.gone = False
        self._token: str | None = None

    def watch_otherend(self) -> None:
        """From here on, react to the other end."""
        self._token = self.kernel.watch(f"{self.otherend}/state", self._otherend_event)

    def unwatch_otherend(self) -> None:
        """Stop reacting."""
        self.gone = True
        if self._token is not None:
            self.kernel.xs.unwatch(f"{self.otherend}/state", self._token)

    async def _otherend_event(self, _path: str) -> None:
        # No comparison with an earlier state: writing the same value again makes us look again.
        if not self.gone:
            await self.otherend_changed(self.read_state(self.otherend))

    async def otherend_changed(self, state: State) -> None:
        """React to the other end's state."""
        raise NotImplementedError

    def read_state(self, node: str) -> State:
        """A state node; UNKNOWN if it is absent or nonsense."""
        value = self.kernel.xs.number(f"{node}/state")
        try:
            return State(value if value is not None else 0)
        except ValueError:
            return State.UNKNOWN

    def switch_state(self, state: State) -> None:
        """Write the own state, but only if the *cached* one differs (what others wrote does not count),
        and only if the node is still there."""
        if state == self.cached:
            return
        if self.kernel.xs.number(f"{self.node}/state") is None:
            return
        self.kernel.xs.write(f"{self.node}/state", int(state))
        self.cached = state

    def error(self, number: int, message: str) -> None:
        """Leave a message under the domain's error directory, if that can be written."""
        home = f"/local/domain/{self.kernel.domid}"
        relative = self.node[len(home) + 1 :]
        with contextlib.suppress(StoreError):
            self.kernel.xs.write(f"{home}/error/{relative}/error", f"{number} {message}")

    def fatal(self, number: int, message: str) -> None:
        """Leave a message and give up: Closing."""
        self.error(number, message)
        self.switch_state(State.CLOSING)
