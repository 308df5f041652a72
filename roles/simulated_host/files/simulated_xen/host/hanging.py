# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes to sysfs that do not return: a driver waits for something that does not come."""

from __future__ import annotations

import asyncio


class HangingWrites:
    """Which writes hang, by the name of the file and the device: its address is the text, or in the path."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, str], asyncio.Event] = {}

    def begin(self, name: str, device: str) -> None:
        """Have writes of a device to files of this name hang from now on."""
        self._ends.setdefault((name, device), asyncio.Event())

    def end(self, name: str, device: str) -> None:
        """Let those that hang go on, and those to come pass."""
        event = self._ends.pop((name, device), None)
        if event is not None:
            event.set()

    def of(self, file: str, text: str) -> asyncio.Event | None:
        """What a write waits for that hangs; None if it does not."""
        directory, _slash, name = file.rpartition("/")
        own = directory.rpartition("/")[2]
        return next(
            (end for (hangs, device), end in self._ends.items() if name == hangs and device in (text, own)), None
        )
