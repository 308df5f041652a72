# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What functions of a host share besides a bus: pages of memory, interrupt lines, a reset, a path past the IOMMU.

The owner of one function can affect the others through it (XSA-461; SUPPORT.md says it of pages and lines).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from ..values.address import Sbdf
from .device import PciDevice

_PAGE = 4096
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Topology:
    """The functions of one host, and what each shares with which others; each view is made in one pass."""

    devices: Mapping[Sbdf, PciDevice]

    def sharing_page(self, sbdf: Sbdf) -> dict[int, frozenset[Sbdf]]:
        """Find pages (by their first address) that hold a part of this function and of others, with those others."""
        pages = ((page, self._pages.get(page, frozenset())) for page in _partly_used(self.devices[sbdf]))
        return {page: users - {sbdf} for page, users in pages if users - {sbdf}}

    def on_line(self, sbdf: Sbdf) -> tuple[Sbdf, ...]:
        """Find all functions wired to this one's interrupt line, itself included, in order; empty if it has none.

        Bridges are left out. What Linux does not show is not found.
        """
        return self._lines.get(_line(self.devices[sbdf]), ())

    def beside_on_bus(self, sbdf: Sbdf) -> frozenset[Sbdf]:
        """Find other functions below the same bridge, which a reset of that bus would reset, too."""
        parent = self.devices[sbdf].parent
        return self._below[parent] - {sbdf} if parent is not None else frozenset()

    def past_iommu(self, sbdf: Sbdf) -> dict[Sbdf, tuple[Sbdf, ...]]:
        """Find ports of switches without ACS, with the functions that they let this one reach, or that reach it.

        A switch sends an access from one of its ports to another by itself, unless ACS redirects it to the root port,
        where the IOMMU is. Xen switches ACS on wherever it is (pci_enable_acs); its groups do not show where it is not.
        """
        found: dict[Sbdf, tuple[Sbdf, ...]] = {}
        for port in self._switch_ports_above(self.devices[sbdf]):
            found.update(self._past_port[port])
        return found

    def of_one_card(self, sbdf: Sbdf) -> frozenset[Sbdf]:
        """Find other functions of its slot that the card itself could connect with it, since one of the two lacks ACS.

        Only functions of PCI Express count, without virtual functions, which must not reach each other by themselves
        (PCI Express base specification, SR-IOV).
        """
        device = self.devices[sbdf]
        if device.physfn is not None or device.is_bridge or device.port_type is None:
            return frozenset()
        others = {function: self.devices[function] for function in self._slots[sbdf.host_slot] - {sbdf}}
        return frozenset(function for function, other in others.items() if device.acs.missing or other.acs.missing)

    def _switch_ports_above(self, device: PciDevice) -> Iterator[Sbdf]:
        above = self.devices.get(device.parent) if device.parent is not None else None
        while above is not None:
            if above.is_switch_port:
                yield above.sbdf
            above = self.devices.get(above.parent) if above.parent is not None else None

    @cached_property
    def _ports_of_switch(self) -> dict[Sbdf | None, list[Sbdf]]:
        """The ports of each switch, by the switch's upstream port."""
        found: dict[Sbdf | None, list[Sbdf]] = defaultdict(list)
        for sbdf, device in self.devices.items():
            if device.is_switch_port:
                found[device.parent].append(sbdf)
        return dict(found)

    @cached_property
    def _past_port(self) -> dict[Sbdf, dict[Sbdf, tuple[Sbdf, ...]]]:
        """For each port of a switch: ports without ACS, and the functions behind other ports that they let it reach."""
        found: dict[Sbdf, dict[Sbdf, tuple[Sbdf, ...]]] = {}
        for ports in self._ports_of_switch.values():
            for port in ports:
                reached: dict[Sbdf, list[Sbdf]] = defaultdict(list)
                for other in ports:
                    lacking = next((end for end in (port, other) if self.devices[end].acs.missing), None)
                    if lacking is not None and other != port:
                        reached[lacking] += self._behind.get(other, ())
                found[port] = {lacking: tuple(sorted(functions)) for lacking, functions in reached.items()}
        return found

    @cached_property
    def _behind(self) -> dict[Sbdf, frozenset[Sbdf]]:
        """The functions, without bridges, below each port of a switch."""
        return _by_key(
            (port, sbdf)
            for sbdf, device in self.devices.items()
            if self._ports_of_switch and not device.is_bridge
            for port in self._switch_ports_above(device)
        )

    @cached_property
    def _of_xen(self) -> list[tuple[Sbdf, PciDevice]]:
        """Those that Xen can name; the others go wherever the VMD above them goes."""
        return [(sbdf, device) for sbdf, device in self.devices.items() if sbdf.has_xen_number]

    @cached_property
    def _slots(self) -> dict[tuple[int, int, int], frozenset[Sbdf]]:
        return _by_key((sbdf.host_slot, sbdf) for sbdf, device in self.devices.items() if device.physfn is None)

    @cached_property
    def _pages(self) -> dict[int, frozenset[Sbdf]]:
        return _by_key((page, sbdf) for sbdf, device in self._of_xen for page in _partly_used(device))

    @cached_property
    def _lines(self) -> dict[int, tuple[Sbdf, ...]]:
        lines = _by_key((line, sbdf) for sbdf, device in self._of_xen if (line := _line(device)))
        return {line: tuple(sorted(users)) for line, users in lines.items()}

    @cached_property
    def _below(self) -> dict[Sbdf, frozenset[Sbdf]]:
        return _by_key((device.parent, sbdf) for sbdf, device in self.devices.items() if device.parent is not None)


def _partly_used(device: PciDevice) -> Iterator[int]:
    """Yield pages at the ends of a function's windows that a window does not fill."""
    for window in device.resources:
        if window.is_io_ports:
            continue
        if window.start % _PAGE:
            yield window.start - window.start % _PAGE
        if (window.end + 1) % _PAGE:
            yield window.end - window.end % _PAGE


def _line(device: PciDevice) -> int:
    """Return the function's interrupt line; 0 if it has none or Linux shows its message interrupt instead."""
    wired = device.interrupt_pin and not device.is_bridge and not device.config.msi
    return device.line if wired else 0


def _by_key(pairs: Iterable[tuple[_Key, Sbdf]]) -> dict[_Key, frozenset[Sbdf]]:
    found: dict[_Key, set[Sbdf]] = defaultdict(set)
    for key, sbdf in pairs:
        found[key].add(sbdf)
    return {key: frozenset(users) for key, users in found.items()}
