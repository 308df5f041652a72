# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What manages a host and its domains: who else gives devices to domains, and which ones, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..values.address import Sbdf


class Manager(Enum):
    """What builds domains and decides which devices they get."""

    XL = "xl"
    LIBVIRT = "libvirt"
    QUBES = "qubes"
    XAPI = "xapi"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class LibvirtClaim:
    """A device that libvirt may give to a domain, since a definition of libvirt names it."""

    #: The definition: the name of a domain, or of a network whose interfaces are virtual functions.
    owner: str
    #: UUID of that domain or network.
    uuid: str
    #: The device, None if any virtual function of `interface` is meant.
    device: Sbdf | None = None
    #: Name of the network interface of a physical function, empty if a device is meant.
    interface: str = ""
    #: libvirt itself takes the device from its driver, and gives it back (managed='yes').
    managed: bool = False
    #: libvirt starts the domain with it, not only the domain that runs now has it.
    persistent: bool = True


@dataclass(frozen=True)
class Management:
    """What manages a host."""

    manager: Manager = Manager.UNKNOWN
    #: The file that shows it, empty if none does.
    evidence: str = ""
    claims: tuple[LibvirtClaim, ...] = ()
    #: UUIDs of the domains that libvirt has a lasting definition of.
    defined: frozenset[str] = frozenset()
    #: UUIDs of the domains that libvirt runs.
    running: frozenset[str] = frozenset()
    #: Definitions of libvirt that cannot be read, each with the reason.
    unreadable: tuple[str, ...] = ()
