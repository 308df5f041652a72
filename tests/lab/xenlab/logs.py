# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel logs (Linux's and Xen's) as lines that a test can compare across time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

WARNING = 4  # syslog's level; smaller is worse
#: A timer was served late (hrtimer_interrupt), as under emulation on a busy machine.
SLOW = re.compile("hrtimer: interrupt took [0-9]+ ns")

_LINUX = re.compile(r"<(?P<level>\d+)>\[ *(?P<time>[0-9.]+)\] ?(?P<text>.*)")
# dom0 writes to the same wire, so a line of Xen may start within one of dom0's.
_XEN = re.compile(r"\(XEN\) \[ *(?P<time>[0-9.]+)\] ?(?P<text>.*)")
_XEN_WARNING = re.compile(
    r"WARN|BUG|FATAL|[Ff]ault|[Ee]rror|[Ff]ail|[Aa]ssert|panic|[Cc]annot|[Dd]enied|[Ii]llegal|[Ii]nvalid|unexpected"
    r"|Forcing write|Unsupported|mask out|crash|Oops",
)


@dataclass(frozen=True)
class Line:
    """A line of a log: seconds since the start of that kernel, syslog level, text."""

    time: float
    level: int
    text: str

    def __str__(self) -> str:
        return f"[{self.time:12.6f}] {self.text}"


@dataclass(frozen=True)
class Log:
    """A log as it was when it was read."""

    lines: tuple[Line, ...]

    @property
    def mark(self) -> Line | None:
        """The place where the log ended; give it to since() of a later reading."""
        return self.lines[-1] if self.lines else None

    def since(self, mark: Line | None) -> Log:
        """What came after the mark; everything if the mark has scrolled out."""
        if mark is not None:
            for index in range(len(self.lines) - 1, -1, -1):
                if self.lines[index] == mark:
                    return Log(self.lines[index + 1 :])
        return self

    def warnings(self) -> list[Line]:
        """Lines of level warning or worse, but for what Linux says of a machine that is slow."""
        return [line for line in self.lines if line.level <= WARNING and not SLOW.match(line.text)]

    def matching(self, pattern: str) -> list[Line]:
        """Lines in which the regular expression is found."""
        return [line for line in self.lines if re.search(pattern, line.text)]


def linux(raw: Sequence[str]) -> Log:
    """Lines of `dmesg -r`."""
    found = (_LINUX.match(line) for line in raw)
    return Log(tuple(Line(float(m["time"]), int(m["level"]) & 7, m["text"]) for m in found if m))


def xen(raw: Sequence[str]) -> Log:
    """Xen's lines on the serial line. Xen does not print its levels: what reads as trouble counts as a warning."""
    found = (_XEN.search(line) for line in raw)
    return Log(
        tuple(Line(float(m["time"]), WARNING if _XEN_WARNING.search(m["text"]) else 6, m["text"]) for m in found if m)
    )
