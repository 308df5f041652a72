# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which network interfaces the host needs, and which disks it serves to guests, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .device import NetInterface


@dataclass(frozen=True)
class NetworkUse:
    """Names of the interfaces that carry the default route, and of those that carry Ansible's connection.

    `networks` are the networks in which each interface has an address, by its name. `routed` are the interfaces that
    any route leads through. `connection_ends` say where the way of the connection ends without a card, so that each
    card that could carry it may do so; empty if all of the way is known. `connection_guests` are the guests at these
    ends, by domid: a card of theirs may carry it, too.
    """

    default_route: frozenset[str] = frozenset()
    connection: frozenset[str] = frozenset()
    networks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    routed: frozenset[str] = frozenset()
    connection_ends: tuple[str, ...] = ()
    connection_guests: frozenset[int] = frozenset()

    def is_used(self, interface: NetInterface) -> bool:
        """Whether anything shows that frames go through an interface: an address, a route, what is above it."""
        known = interface.name in self.networks or interface.name in self.routed | self.default_route
        return known or bool(interface.upper) or interface.promiscuous


@dataclass(frozen=True)
class OtherUse:
    """What the host may need a function for besides mounted disks, interfaces and consoles, in words.

    `inputs` are keyboards and mice. `peripherals` are other things on its USB bus that the host may need at any time,
    `thunderbolt` the devices that are connected to its Thunderbolt bus. `claims` name disks that are in use although
    nothing shows what for; `data` says what disks hold that nothing uses now. `processes` are programs that have its
    device nodes open. `tunneled`: it was plugged in from outside.
    """

    inputs: tuple[str, ...] = ()
    peripherals: tuple[str, ...] = ()
    thunderbolt: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    tunneled: bool = False


@dataclass(frozen=True)
class GuestDisk:
    """A disk that dom0 serves to a guest, as the toolstack records it.

    `words` say which disk of which domain it is. `source` is libxl's text for what is behind it: a format, a colon and
    a path. `number` is the block device as hexadecimal MAJOR:MINOR. None if not known.
    """

    domid: int
    words: str
    source: str | None = None
    number: str | None = None
