# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One running domain of a host as observed, as data. What the guest can write is only in `PciConnection`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from ..values.address import Sbdf
from .connection import PciConnection
from .device_model import DeviceModel
from .stored_config import Creation

#: Xen's pseudo domain that holds quarantined devices (public/xen.h, DOMID_IO).
DOMID_IO = 0x7FF1


class DomainKind(Enum):
    """How a domain is virtualised, which decides how a device reaches it."""

    PV = "pv"
    HVM = "hvm"
    PVH = "pvh"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Domain:
    """A running domain and its PCI connection, if it has one.

    `creation` is what it was created with, `configured` what a reboot would give it, None where libxl stores nothing of
    it. `uses_iommu` is Xen's own answer, None where it could not be asked. An HVM guest has a `device_model`, which may
    run in a domain of its own, `stub`; `serves` is that one's guest. `frontend_alone`: the guest's end of a connection
    is there, and dom0's is not. `to_come_back`: devices of a connection that a repair has removed to make it anew.
    """

    domid: int
    name: str
    uuid: str = ""
    kind: DomainKind = DomainKind.UNKNOWN
    own_connection: PciConnection | None = None
    creation: Creation = field(default_factory=Creation)
    configured: tuple[Sbdf, ...] | None = None
    uses_iommu: bool | None = None
    device_model: DeviceModel | None = None
    stub: Domain | None = None
    serves: int | None = None
    frontend_alone: bool = False
    to_come_back: tuple[Sbdf, ...] = ()

    @property
    def connection(self) -> PciConnection | None:
        """The connection that lists its devices: its own, or that of its stub domain, which gets them first."""
        return self.stub.own_connection if self.stub else self.own_connection

    @property
    def devices(self) -> tuple[Sbdf, ...]:
        """Devices that its connection lists. What a stub domain has is its guest's."""
        return self.connection.devices if self.connection and self.serves is None else ()
