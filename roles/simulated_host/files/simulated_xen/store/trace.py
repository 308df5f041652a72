# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ordered record of all changes: who wrote what where. The best evidence there is after a failure."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from .operations import Change


@dataclass(frozen=True)
class Entry:
    """One change; `writer` is D0 (dom0's kernel), D<n> (a guest) or A<n> (a client of the socket)."""

    seconds: float
    writer: str
    action: str
    path: str
    value: str

    def __str__(self) -> str:
        return f"[{self.seconds:09.4f}]  {self.writer:<8} {self.action:<9} {self.path} {self.value}".rstrip()


class Trace:
    """Entries since the start, in memory and, if asked for, in a file (one line each)."""

    def __init__(self, path: Path | None = None) -> None:
        self._start = time.monotonic()
        self._file: TextIO | None = path.open("a", buffering=1, encoding="utf-8") if path else None
        self.entries: list[Entry] = []

    def record(self, writer: str, change: Change) -> None:
        """Add one change; what a recursive removal takes along is implied by its first line."""
        if change.exact:
            return
        self.note(writer, change.action, change.path, change.value)

    def note(self, writer: str, action: str, path: str, value: str = "") -> None:
        """Add one line that is no change of the tree (a hypercall, a reset, a failed commit)."""
        entry = Entry(time.monotonic() - self._start, writer, action, path, value)
        self.entries.append(entry)
        if self._file:
            self._file.write(f"{entry}\n")

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None
