# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One domain that lives on a host as observed, as data.

What the guest itself can write is only in `PciConnection`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from ..values.address import Sbdf
from ..values.device_options import DeviceOptions
from .connection import PciConnection
from .device_model import DeviceModel
from .management import Manager
from .stored_config import Creation

#: Xen's pseudo domain that holds quarantined devices (public/xen.h, DOMID_IO).
DOMID_IO = 0x7FF1


class DomainKind(Enum):
    """How a domain is virtualized, which decides how a device reaches it."""

    PV = "pv"
    HVM = "hvm"
    PVH = "pvh"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Domain:
    """A running domain with its PCI connection and with what decides whether it can take devices."""

    # ---- which one it is

    #: Number, which changes at every reboot of the guest.
    domid: int
    #: Name, a label that xenstore may lack (empty then) and that another domain may have as well.
    name: str
    #: UUID as Xen has it, empty if unknown.
    uuid: str = ""
    #: How it is virtualized.
    kind: DomainKind = DomainKind.UNKNOWN

    # ---- its PCI connection

    #: Its own connection, None if there is none. Where it has a stub domain, that one's connection counts.
    own_connection: PciConnection | None = None
    #: The guest's end of a connection is there, and dom0's is not.
    frontend_alone: bool = False
    #: Devices that a repair has to attach again: it removed their connection in order to create a new one.
    to_come_back: tuple[Sbdf, ...] = ()

    # ---- what its creation decided, and what its next one will

    #: What built it, and decides which devices it has when it starts again.
    manager: Manager = Manager.UNKNOWN
    #: What it was created with.
    creation: Creation = field(default_factory=Creation)
    #: Xen's own answer whether it uses the IOMMU, None where Xen could not be asked.
    uses_iommu: bool | None = None
    #: Devices that a reboot would give it, None where libxl stores nothing of the domain.
    configured: tuple[Sbdf, ...] | None = None
    #: Why what libxl has stored of it cannot be read, empty if it can be or if libxl stores nothing of it.
    config_problem: str = ""
    #: Name that it was created with, None where libxl stores nothing of the domain.
    stored_name: str | None = None
    #: With which options a reboot would give them to it.
    configured_options: Mapping[Sbdf, DeviceOptions] = field(default_factory=dict)

    # ---- the device model of an HVM guest

    #: What its device model says; None if it has none, or one that we do not know.
    device_model: DeviceModel | None = None
    #: The domain that its device model runs in, if it runs in one of its own.
    stub: Domain | None = None
    #: Of such a stub domain: the domid of its guest.
    serves: int | None = None

    @property
    def called(self) -> str:
        """What to call it in a sentence: its name, or its number if it has no name."""
        return self.name or f"domain {self.domid}"

    @property
    def numbered(self) -> str:
        """What to call it with its number, which no other domain has."""
        return f"domain {self.name} ({self.domid})" if self.name else self.called

    @property
    def described(self) -> str:
        """The same with its UUID, which stays when the number changes."""
        return f"{self.numbered} with {f'UUID {self.uuid}' if self.uuid else 'an unknown UUID'}"

    @property
    def connection(self) -> PciConnection | None:
        """The connection that lists its devices: its own, or that of its stub domain, which gets them first."""
        return self.stub.own_connection if self.stub else self.own_connection

    @property
    def devices(self) -> tuple[Sbdf, ...]:
        """Devices that its connection lists; none of a stub domain, whose devices are its guest's."""
        return self.connection.devices if self.connection and self.serves is None else ()

    @property
    def options(self) -> Mapping[Sbdf, DeviceOptions]:
        """The options of each of its devices, as far as they can be read."""
        entries = self.connection.entries if self.connection and self.serves is None else ()
        found = {entry.device: entry.options for entry in entries if entry.device is not None}
        model = self.device_model
        places = {device: plugged for device in found if model and (plugged := model.has(device)) is not None}
        return {
            **found,
            **{device: replace(found[device], vslot=place.address.slot) for device, place in places.items()},
        }
