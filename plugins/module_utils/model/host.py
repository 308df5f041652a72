# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Xen host as observed: its PCI functions and its domains, as data.

Built by the I/O layers, read by the decisions. What the guest can write is only in `Backend`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from ..values.address import Sbdf
from ..values.reserved_memory import ReservedMemory
from .backend import Backend
from .device_model import DeviceModel
from .domain_config import Creation

#: Xen's pseudo domain that holds quarantined devices (public/xen.h, DOMID_IO).
DOMID_IO = 0x7FF1
#: Name of the driver in dom0 from which guests get devices.
PCIBACK = "pciback"
_BRIDGE_CLASS = "06"
_IO_SPACE = 0x1
_DOWNSTREAM_PORT = 6


@dataclass(frozen=True)
class Resource:
    """One address window of a device: first and last address (bytes or ports) and Linux' flags."""

    start: int
    end: int
    flags: int

    @property
    def is_io_ports(self) -> bool:
        """Port space; otherwise memory."""
        return bool(self.flags & _IO_SPACE)

    @property
    def size(self) -> int:
        """Number of bytes or ports."""
        return self.end - self.start + 1


@dataclass(frozen=True)
class ConfigFlags:
    """What a driver switches on in configuration space when it takes a device; from dom0's view."""

    memory: bool = False
    bus_master: bool = False
    msi: bool = False
    msix: bool = False

    @property
    def driver_is_active(self) -> bool:
        """A driver has enabled the device: it decodes and may do DMA or raise message interrupts."""
        return self.bus_master or self.msi or self.msix


@dataclass(frozen=True)
class NetInterface:
    """A network interface of the host that stands on a device."""

    name: str
    mac: str
    is_up: bool
    upper: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockUse:
    """A block device of the host that stands on a device, and what holds it (empty if nothing)."""

    name: str
    used_by: tuple[str, ...] = ()


class Acs(Enum):
    """Whether access control services (ACS) send a function's accesses to its neighbours by way of the IOMMU."""

    ON = "on"
    OFF = "off"
    ABSENT = "absent"
    UNKNOWN = "unknown"

    @property
    def missing(self) -> bool:
        """For certain: nothing is said where configuration space cannot be read that far."""
        return self in (Acs.OFF, Acs.ABSENT)


@dataclass(frozen=True)
class PciDevice:
    """One PCI function of the host. Identifiers are lower-case hexadecimal without prefix.

    `path` is the way from the root bus by slots and functions, the same whatever numbers the buses get; `slot` what
    the firmware calls the slot, `label` the device. `parent` is the bridge above. `interrupt_pin` 0: it has no line;
    `message_interrupts`: it can do without one. `consoles` says how the host's console depends on it.
    `pciback_slots` is how often pciback's list names it, None where the list is cut. `port_type` is PCI Express' own
    number for what it is, None for conventional PCI. `answers` is False for a device that is broken or without power.
    `reserved_memory` is what firmware keeps it at. `lost_hold`: what pciback said when it kept the device for nobody,
    which only a restart of dom0 ends; empty if it has not.
    """

    sbdf: Sbdf
    vendor: str
    device: str
    subsystem_vendor: str
    subsystem_device: str
    class_code: str
    revision: str
    modalias: str = ""
    driver: str | None = None
    numa_node: int = -1
    irq: int = 0
    header_type: int = 0
    serial: str | None = None
    nvme_serial: str | None = None
    reset_methods: tuple[str, ...] = ()
    resources: tuple[Resource, ...] = ()
    physfn: Sbdf | None = None
    virtfns: tuple[Sbdf, ...] = ()
    sriov_totalvfs: int = 0
    children: tuple[Sbdf, ...] = ()
    config: ConfigFlags = ConfigFlags()
    net: tuple[NetInterface, ...] = ()
    block: tuple[BlockUse, ...] = ()
    path: str = ""
    slot: str | None = None
    label: str | None = None
    vf_index: int | None = None
    parent: Sbdf | None = None
    interrupt_pin: int = 0
    message_interrupts: bool = False
    consoles: tuple[str, ...] = ()
    permissive: bool = False
    pciback_slots: int | None = 0
    port_type: int | None = None
    acs: Acs = Acs.UNKNOWN
    answers: bool = True
    reserved_memory: tuple[ReservedMemory, ...] = ()
    lost_hold: str = ""

    @property
    def is_bridge(self) -> bool:
        """A bridge by class or header; pciback's own test for it never matches, so we must refuse."""
        return self.class_code.startswith(_BRIDGE_CLASS) or self.header_type == 1 or bool(self.children)

    @property
    def is_switch_port(self) -> bool:
        """A port of a PCI Express switch that devices are plugged into (Downstream Port)."""
        return self.port_type == _DOWNSTREAM_PORT

    @property
    def in_pciback(self) -> bool:
        """Bound to pciback: can be given to a domain."""
        return self.driver == PCIBACK

    @property
    def lost_hold_in_words(self) -> str:
        """What is the matter with a device that pciback keeps for nobody; empty for all others."""
        said = f"pciback holds it for nobody since a change that it refused ({self.lost_hold[:200]!r})"
        return said if self.lost_hold else ""


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
    backend: Backend | None = None
    creation: Creation = field(default_factory=Creation)
    configured: tuple[Sbdf, ...] | None = None
    uses_iommu: bool | None = None
    device_model: DeviceModel | None = None
    stub: Domain | None = None
    serves: int | None = None
    frontend_alone: bool = False
    to_come_back: tuple[Sbdf, ...] = ()

    @property
    def connection(self) -> Backend | None:
        """The connection that lists its devices: its own, or that of its stub domain, which gets them first."""
        return self.stub.backend if self.stub else self.backend

    @property
    def devices(self) -> tuple[Sbdf, ...]:
        """Devices that its connection lists. What a stub domain has is its guest's."""
        return self.connection.devices if self.connection and self.serves is None else ()


class XenOwner(Enum):
    """What Xen says of a device's owner; which guest it is, Xen does not tell."""

    HOST = "host"
    GUEST = "guest"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Host:
    """Everything that a decision may know of a host."""

    devices: Mapping[Sbdf, PciDevice]
    domains: Mapping[int, Domain]
    markers: Mapping[Sbdf, int] = field(default_factory=dict)
    driver_paths: Mapping[Sbdf, str] = field(default_factory=dict)
    ghosts: Mapping[int, Backend] = field(default_factory=dict)
    xen_owners: Mapping[Sbdf, XenOwner] = field(default_factory=dict)
    kernel: tuple[int, int] = (0, 0)

    @property
    def named_devices(self) -> frozenset[Sbdf]:
        """Devices that the host has, and those that a connection or a record of it still names."""
        backends = [one.backend for one in self.domains.values() if one.backend is not None]
        listed = {device for backend in (*backends, *self.ghosts.values()) for device in backend.devices}
        configured = {device for one in self.domains.values() for device in one.configured or ()}
        return frozenset({*self.devices, *self.markers, *listed, *configured})

    def domain_named(self, name: str) -> Domain | None:
        """The domain of this name, dom0 excluded (it is the host, not a receiver)."""
        return next((domain for domain in self.domains.values() if domain.name == name), None)

    def holder_of(self, device: Sbdf) -> Domain | None:
        """The domain whose connection lists the device."""
        return next((domain for domain in self.domains.values() if device in domain.devices), None)

    def assuming_bound(self, devices: Collection[Sbdf]) -> Host:
        """This host as it would be if pciback held these devices, in quarantine."""
        bound = {one: replace(self.devices[one], driver=PCIBACK) for one in devices if one in self.devices}
        bound = {one: device for one, device in bound.items() if not self.devices[one].in_pciback}
        owners = {**self.xen_owners, **dict.fromkeys(bound, XenOwner.HOST)}
        return replace(self, devices={**self.devices, **bound}, xen_owners=owners)

    def assuming_free(self, devices: Collection[Sbdf]) -> Host:
        """This host as it would be if no domain had these devices."""
        return replace(
            self,
            domains={domid: _without(domain, devices) for domid, domain in self.domains.items()},
            markers={one: domid for one, domid in self.markers.items() if one not in devices},
            xen_owners={**self.xen_owners, **{one: XenOwner.HOST for one in devices if one in self.xen_owners}},
        )


def _without(domain: Domain, devices: Collection[Sbdf]) -> Domain:
    if domain.stub is not None:
        return replace(domain, stub=_without(domain.stub, devices))
    if domain.backend is None:
        return domain
    entries = tuple(entry for entry in domain.backend.entries if entry.device not in devices)
    return replace(domain, backend=replace(domain.backend, entries=entries))
