# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of a xenbus connection and of each device inside it.

Source of the numbers: Xen's public header io/xenbus.h; of the sub-states: Linux'
drivers/xen/xen-pciback/xenbus.c, which knows 1, 3 and 5 and ignores the rest.
"""

from __future__ import annotations

from enum import IntEnum


class XenbusState(IntEnum):
    """State of one end (backend or frontend) of the connection."""

    UNKNOWN = 0
    INITIALISING = 1
    INIT_WAIT = 2
    INITIALISED = 3
    CONNECTED = 4
    CLOSING = 5
    CLOSED = 6
    RECONFIGURING = 7
    RECONFIGURED = 8

    def __str__(self) -> str:
        return f"{self.value} ({self.name.capitalize().replace('_', '')})"

    @property
    def is_ending(self) -> bool:
        """Whether this end closes or has closed, by itself or because the other end does."""
        return self in (XenbusState.CLOSING, XenbusState.CLOSED)


class SubState(IntEnum):
    """State of one device inside the connection (`state-N`)."""

    TO_ADD = 1
    EXPORTED = 3
    TO_REMOVE = 5


def parse_state(text: str | None) -> XenbusState:
    """Read a state node; a guest may write anything there, and what is not a state counts as UNKNOWN."""
    if text is not None and len(text) == 1 and text in "012345678":
        return XenbusState(int(text))
    return XenbusState.UNKNOWN


def parse_sub_state(text: str | None) -> SubState | None:
    """Read a `state-N` node; None if it is none of the three states, in which case pciback ignores the entry."""
    return {"1": SubState.TO_ADD, "3": SubState.EXPORTED, "5": SubState.TO_REMOVE}.get(text or "")
