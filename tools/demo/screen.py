# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo looks like: headings, differences, colours, and time to read at a terminal."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from difflib import unified_diff

WIDTH = 100
_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Screen:
    """Prints to standard output; colours and pauses only on a terminal."""

    def __init__(self) -> None:
        self._watched = sys.stdout.isatty()
        #: Whether there are colours.
        self.coloured = (self._watched or "FORCE_COLOR" in os.environ) and "NO_COLOR" not in os.environ
        self._scene = 0

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, if there are any."""
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self.coloured else text

    def heading(self, text: str) -> None:
        """The next scene."""
        self.pause(2)
        self._scene += 1
        title = f"{self._scene}. {text} "
        print(f"\n{self.paint(title + '─' * (WIDTH - len(title)), 'bold')}", flush=True)

    def say(self, text: str) -> None:
        """A remark, wrapped."""
        print(textwrap.fill(text, WIDTH), flush=True)
        self.pause(1)

    def line(self, text: str, colour: str | None = None) -> None:
        """One line as it is."""
        print(self.paint(text, colour) if colour else text, flush=True)

    def command(self, text: str) -> None:
        """A command that a user would type."""
        self.line(f"$ {text}", "cyan")

    def difference(self, name: str, before: str, after: str) -> None:
        """What git would show for a changed file."""
        lines = unified_diff(before.splitlines(), after.splitlines(), f"a/{name}", f"b/{name}", n=1, lineterm="")
        for line in lines:
            colour = {"+": "green", "-": "red"}.get(line[:1], "dim")
            self.line(f"  {line}", colour)
        self.pause(2)

    def pause(self, seconds: float) -> None:
        """Wait so that it can be read, on a terminal."""
        if self._watched:
            time.sleep(seconds)
