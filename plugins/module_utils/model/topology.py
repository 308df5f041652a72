# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What functions of a host have in common besides a bus: pages of memory, interrupt lines, a reset.

Who gets one of them gets a piece of the others (XSA-461; SUPPORT.md says it of pages and lines).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from ..values.address import Sbdf
from .host import PciDevice

_PAGE = 4096
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Topology:
    """The functions of one host, and what each shares with which others. Each view is made in one pass."""

    devices: Mapping[Sbdf, PciDevice]

    def sharing_page(self, sbdf: Sbdf) -> dict[int, frozenset[Sbdf]]:
        """Pages (by their first address) that hold a part of this function and of others, with those others."""
        pages = ((page, self._pages.get(page, frozenset())) for page in _partly_used(self.devices[sbdf]))
        return {page: users - {sbdf} for page, users in pages if users - {sbdf}}

    def on_line(self, sbdf: Sbdf) -> tuple[Sbdf, ...]:
        """All functions wired to the same interrupt line as this one, itself included, in order; empty if it has none.

        As far as Linux tells, and without bridges.
        """
        return self._lines.get(_line(self.devices[sbdf]), ())

    def beside_on_bus(self, sbdf: Sbdf) -> frozenset[Sbdf]:
        """Other functions below the same bridge, which a reset of that bus would reset, too."""
        parent = self.devices[sbdf].parent
        return self._below[parent] - {sbdf} if parent is not None else frozenset()

    @cached_property
    def _pages(self) -> dict[int, frozenset[Sbdf]]:
        return _by_key((page, sbdf) for sbdf, device in self.devices.items() for page in _partly_used(device))

    @cached_property
    def _lines(self) -> dict[int, tuple[Sbdf, ...]]:
        lines = _by_key((line, sbdf) for sbdf, device in self.devices.items() if (line := _line(device)))
        return {line: tuple(sorted(users)) for line, users in lines.items()}

    @cached_property
    def _below(self) -> dict[Sbdf, frozenset[Sbdf]]:
        return _by_key((device.parent, sbdf) for sbdf, device in self.devices.items() if device.parent is not None)


def _partly_used(device: PciDevice) -> Iterator[int]:
    """Pages at the ends of a function's windows that a window does not fill."""
    for window in device.resources:
        if window.is_io_ports:
            continue
        if window.start % _PAGE:
            yield window.start - window.start % _PAGE
        if (window.end + 1) % _PAGE:
            yield window.end - window.end % _PAGE


def _line(device: PciDevice) -> int:
    """The function's interrupt line, 0 if it has none or Linux shows that of its message interrupt instead."""
    wired = device.interrupt_pin and not device.is_bridge and not device.config.msi
    return device.irq if wired and 0 < device.irq < 255 else 0


def _by_key(pairs: Iterable[tuple[_Key, Sbdf]]) -> dict[_Key, frozenset[Sbdf]]:
    found: dict[_Key, set[Sbdf]] = defaultdict(set)
    for key, sbdf in pairs:
        found[key].add(sbdf)
    return {key: frozenset(users) for key, users in found.items()}
