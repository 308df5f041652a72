# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan that a person reads: one line for each device that changes, sorted and aligned.

`plan_lines.py` makes the lines; those of several parts can be put into one text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ..values.address import Sbdf

#: How a line shows what happens: comes to the subject, leaves it, or changes where it is.
GAINS, LOSES, CHANGES = "+", "-", "~"
#: Those that leave come first, as in any diff.
_ORDER_OF_SIGNS = (LOSES, GAINS, CHANGES)
_NUMBERS = re.compile("([0-9]+)")


class Part(IntEnum):
    """The parts of a plan, in the order of the text."""

    REPAIRS = 0
    KERNEL = 1
    FUNCTIONS = 2
    ASSIGNMENT = 3
    BOOT = 4
    DOMAINS = 5


@dataclass(frozen=True)
class PlanLine:
    """What changes with one device; such as `web01  + scratch  0000:03:00.0 (nvme S4EV0A1)  from web02`."""

    part: Part
    #: What gains or loses the device, or where it changes: a domain, `pciback`, `host`, `boot`.
    subject: str
    sign: str
    #: Name in the inventory, empty if it has none.
    name: str = ""
    address: Sbdf | None = None
    #: Which device it is, in the words of the device: `nvme S4EV0A1`.
    what: str = ""
    #: What else a person wants to know of the change: `from web02`.
    change: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns of the line; a device can say anything of itself, so what ends a line is not printed."""
        device = str(self.address or "") + (f" ({self.what})" if self.what else "")
        return tuple(map(printable, (self.subject, f"{self.sign} {self.name}".rstrip(), device, self.change)))


def plan_text(lines: Iterable[PlanLine]) -> str:
    """Write the lines as a text; empty if there are none. The same lines make the same text in whatever order."""
    rows = [line.cells for line in sorted(dict.fromkeys(lines), key=_order)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    used = [at for at, width in enumerate(widths) if width]
    return "".join(f"{'  '.join(row[at].ljust(widths[at]) for at in used).rstrip()}\n" for row in rows)


def plan_diff(lines: Iterable[PlanLine], files: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Make Ansible's diff of these lines and of files; empty if nothing changes.

    Ansible prints what is `prepared` as it is.
    """
    text = plan_text(lines)
    return [*([{"prepared": text}] if text else []), *files]


def printable(text: str) -> str:
    """Replace what would end a line, control a terminal or change the direction of the text."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _order(line: PlanLine) -> tuple[Any, ...]:
    named = _natural(line.name)
    return line.part, _natural(line.subject), _ORDER_OF_SIGNS.index(line.sign), named, line.cells


def _natural(text: str) -> list[str | int]:
    """Order numbers in names by their value: web2 before web10."""
    return [int(part) if at % 2 else part for at, part in enumerate(_NUMBERS.split(text))]
