# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the example inventory that the demo edits as a user would."""

from __future__ import annotations

import shutil
from pathlib import Path

from .hosts import CLONE

ORIGINAL = Path("inventories/example")


class Inventory:
    """The copy, below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "inventory"
        shutil.copytree(CLONE / ORIGINAL, self.path)

    def file(self, host: str) -> Path:
        """Where a host's declaration is."""
        return self.path / "host_vars" / f"{host}.yml"

    def name(self, host: str) -> str:
        """The same file's name in the project."""
        return str(ORIGINAL / "host_vars" / f"{host}.yml")

    def move_line(self, host: str, line: str, below: str) -> tuple[str, str]:
        """Move the only line that reads `line` below the only one that reads `below`; the texts before and after."""
        before = self.file(host).read_text()
        lines = before.splitlines()
        lines.insert(_only(lines, below), lines.pop(_only(lines, line)))
        return before, self._write(host, lines)

    def change_line(self, host: str, line: str, into: str) -> tuple[str, str]:
        """Change the only line that reads `line`; the texts before and after."""
        before = self.file(host).read_text()
        lines = before.splitlines()
        position = _only(lines, line)
        lines[position] = lines[position].replace(line, into)
        return before, self._write(host, lines)

    def add_line(self, host: str, line: str, below: str) -> tuple[str, str]:
        """Add a line below the only one that reads `below`, indented as that is; the texts before and after."""
        before = self.file(host).read_text()
        lines = before.splitlines()
        position = _only(lines, below)
        indentation = lines[position][: -len(below)]
        lines.insert(position + 1, indentation + line)
        return before, self._write(host, lines)

    def restore(self, host: str, text: str) -> None:
        """Take an edit back."""
        self.file(host).write_text(text)

    def _write(self, host: str, lines: list[str]) -> str:
        after = "\n".join(lines) + "\n"
        self.file(host).write_text(after)
        return after


def _only(lines: list[str], text: str) -> int:
    """Position of the only line that is `text` but for its indentation."""
    (position,) = (number for number, line in enumerate(lines) if line.strip() == text)
    return position
