# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Xen host as observed at one moment: everything that a decision may depend on, as data.

`host.observe` makes it, and everything that decides or verifies reads it. It holds no connection to the host, so it
can be sent elsewhere (see `snapshot.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..values.address import Sbdf
from ..values.identity import Remembered
from .boot_facts import BootFacts
from .connection import PciConnection
from .device import PCIBACK, PciDevice, XenOwner
from .domain import Domain
from .management import LibvirtClaim, Management
from .notes import GoneDevice, Note
from .physical_function import PhysicalFunction
from .topology import Topology
from .usage import NetworkUse, OtherUse
from .xen import Xen


@dataclass(frozen=True)
class Host:
    """Everything that a decision may depend on.

    Reading each of the last seven fields takes extra time, so they are read only for what a declaration is about.
    """

    #: All PCI functions, in the order of their addresses (sysfs).
    devices: Mapping[Sbdf, PciDevice]
    #: All domains that live but dom0, by domid (Xen says which; xenstore, libxl, the guests' device models).
    domains: Mapping[int, Domain]
    #: libxl's markers in xenstore: the domid that it has given a device to.
    markers: Mapping[Sbdf, int] = field(default_factory=dict)
    #: Texts of markers that name no domain: not a number.
    unreadable_markers: Mapping[Sbdf, str] = field(default_factory=dict)
    #: Directory of the driver that each device had before pciback, as libxl and we record it.
    driver_paths: Mapping[Sbdf, str] = field(default_factory=dict)
    #: Domids of domains that are dead, but not gone: others still use memory of them.
    dying: frozenset[int] = frozenset()
    #: What manages the host, and which devices libvirt may take there.
    management: Management = field(default_factory=Management)
    #: Names in xenstore of domains that Xen does not have, by domid.
    stale_names: Mapping[int, str] = field(default_factory=dict)
    #: Connections in xenstore whose domains do not live, by domid.
    orphaned_connections: Mapping[int, PciConnection] = field(default_factory=dict)
    #: What Xen says of the owner of each device that pciback holds.
    xen_owners: Mapping[Sbdf, XenOwner] = field(default_factory=dict)
    #: What Xen says of itself and of dom0.
    xen: Xen = field(default_factory=Xen)
    #: Version of dom0's kernel.
    kernel: tuple[int, int] = (0, 0)
    #: Which network interfaces the host cannot do without.
    network: NetworkUse = field(default_factory=NetworkUse)
    #: Names of the PCI drivers that dom0's kernel has now.
    drivers: frozenset[str] = frozenset()
    #: Whether pciback was loaded with permissive=1.
    permissive_for_all: bool = False
    #: Notes about devices that pciback still holds, completed by what is known from earlier boots.
    notes: Mapping[Sbdf, Note] = field(default_factory=dict)
    #: What is left of devices that the host does not have any more.
    gone: Mapping[Sbdf, GoneDevice] = field(default_factory=dict)
    #: Devices that pciback keeps for an HVM guest that had them, by the guest's domid: noted when they left it.
    kept_holds: Mapping[Sbdf, int] = field(default_factory=dict)
    #: Devices known to be in Xen's quarantine when no guest has them: noted by us, or recorded by xl on the way there.
    quarantined: frozenset[Sbdf] = frozenset()
    #: Domids of the PCI connections that dom0's kernel has.
    kernel_connections: frozenset[int] = frozenset()
    #: The last error of dom0's kernel with each connection, by domid.
    kernel_errors: Mapping[int, str] = field(default_factory=dict)
    #: Functions that Xen can only assign together, for the devices that it was asked about.
    groups: Mapping[Sbdf, frozenset[Sbdf]] = field(default_factory=dict)
    #: What else the host may need functions for that it drives itself.
    uses: Mapping[Sbdf, OtherUse] = field(default_factory=dict)
    #: What the next boot will do, None if it was not read.
    boot: BootFacts | None = None
    #: Physical functions that were asked about, with what is set for their virtual functions.
    functions: Mapping[Sbdf, PhysicalFunction] = field(default_factory=dict)
    #: Text of each xl.cfg that was asked for, by path.
    config_files: Mapping[str, str] = field(default_factory=dict)
    #: Why an xl.cfg that was asked for could not be read, by path.
    unreadable_files: Mapping[str, str] = field(default_factory=dict)
    #: Paths of the files in /etc/xen, by the names of their domains; read if a domain without a file does not run.
    usual_files: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def topology(self) -> Topology:
        """What the functions of the host share with each other."""
        return Topology(self.devices)

    @cached_property
    def holders(self) -> Mapping[Sbdf, str]:
        """Devices that a domain has or may have, each with words that say which one and who says so."""
        return _holders(self)

    @cached_property
    def in_pciback(self) -> frozenset[Sbdf]:
        """Functions that pciback holds."""
        return frozenset(sbdf for sbdf, device in self.devices.items() if device.in_pciback)

    @cached_property
    def with_host(self) -> frozenset[Sbdf]:
        """Functions that pciback does not hold."""
        return frozenset(self.devices) - self.in_pciback

    @cached_property
    def remembered(self) -> Mapping[Sbdf, Remembered]:
        """What was read of each device before pciback took it."""
        return {sbdf: note.identity for sbdf, note in self.notes.items()}

    @cached_property
    def guests(self) -> Mapping[Sbdf, str]:
        """Name of the last domain that had each device, as far as it was noted."""
        return {sbdf: note.guest for sbdf, note in self.notes.items() if note.guest}

    @property
    def boot_facts(self) -> BootFacts:
        """What the next boot will do. Raises ValueError if that was not read."""
        if self.boot is None:
            raise ValueError("what the next boot will do was not read")
        return self.boot

    @property
    def named_devices(self) -> frozenset[Sbdf]:
        """Devices that the host has, and those that a connection or a record of it still names."""
        own = [domain.own_connection for domain in self.domains.values() if domain.own_connection is not None]
        listed = {device for connection in (*own, *self.orphaned_connections.values()) for device in connection.devices}
        configured = {device for domain in self.domains.values() for device in domain.configured or ()}
        return frozenset({*self.devices, *self.markers, *listed, *configured})

    @cached_property
    def _behind(self) -> Mapping[Sbdf, list[Sbdf]]:
        """List what is behind each Intel VMD; in one pass, because it is asked of each device."""
        found: dict[Sbdf, list[Sbdf]] = {}
        for sbdf, device in self.devices.items():
            if device.behind is not None:
                found.setdefault(device.behind, []).append(sbdf)
        return found

    def depending_on(self, device: PciDevice) -> list[PciDevice]:
        """List the functions that the host drives and would lose with this one.

        These are its virtual functions, what is behind it if it is an Intel VMD, and if it is a Thunderbolt controller
        with something connected, what was plugged in from outside, and what is below the same switch.
        """
        found = {*device.virtfns, *self._behind.get(device.sbdf, ())}
        if self.uses.get(device.sbdf, OtherUse()).thunderbolt:
            found.update(sbdf for sbdf, use in self.uses.items() if use.tunneled)
            switch = "/".join(device.path.split("/")[:-2])
            if "/" in switch:
                found.update(sbdf for sbdf, other in self.devices.items() if other.path.startswith(f"{switch}/"))
        wanted = (self.devices[sbdf] for sbdf in sorted(found - {device.sbdf}) if sbdf in self.devices)
        return [other for other in wanted if not other.in_pciback and not other.is_bridge]

    def left_devices(self, domain: Domain) -> tuple[Sbdf, ...]:
        """Find devices that a run of ours gave to the domain and that another tool has taken from it."""
        return tuple(
            sbdf
            for sbdf, note in self.notes.items()
            if note.given_to == domain.domid and sbdf not in domain.devices and self.markers.get(sbdf) != domain.domid
        )

    def keeper_of(self, device: Sbdf) -> Domain | None:
        """Find the HVM guest for which pciback keeps a device that has left the guest, None if there is none.

        pciback exports the guest's first device, and does not learn that it leaves: it makes no handshake after that.
        It releases it with the connection, which ends with the guest's last device. Where another tool took the device,
        a connection shows it in which nothing is exported.
        """
        domain = self.domains.get(self.kept_holds.get(device, -1))
        if domain is not None and domain.own_connection is not None:
            return domain
        note = self.notes.get(device)
        domain = self.domains.get(note.given_to) if note is not None and note.given_to is not None else None
        if domain is None or domain.device_model is None or domain.own_connection is None:
            return None
        entries = domain.own_connection.entries
        exported = any(entry.exported for entry in entries)
        return None if not entries or exported or device in domain.devices else domain

    def holder_of(self, device: Sbdf) -> Domain | None:
        """Find the domain whose connection lists the device, None if there is none."""
        return next((domain for domain in self.domains.values() if device in domain.devices), None)

    def claims_on(self, device: Sbdf) -> tuple[LibvirtClaim, ...]:
        """List by what libvirt may take a device: a definition names it, or the interface whose function it is."""
        known = self.devices.get(device)
        physical = self.devices.get(known.physfn) if known is not None and known.physfn is not None else None
        names = {interface.name for interface in physical.net} if physical is not None else set()
        return tuple(claim for claim in self.management.claims if claim.device == device or claim.interface in names)

    def assuming_bound(self, devices: Collection[Sbdf]) -> Host:
        """Return this host as it would be if pciback held these devices, in quarantine."""
        bound = {sbdf: replace(self.devices[sbdf], driver=PCIBACK) for sbdf in devices if sbdf in self.devices}
        bound = {sbdf: device for sbdf, device in bound.items() if not self.devices[sbdf].in_pciback}
        owners = {**self.xen_owners, **dict.fromkeys(bound, XenOwner.HOST)}
        return replace(self, devices={**self.devices, **bound}, xen_owners=owners)

    def assuming_free(self, devices: Collection[Sbdf]) -> Host:
        """Return this host as it would be if no domain had these devices."""
        return replace(
            self,
            domains={domid: _without(domain, devices) for domid, domain in self.domains.items()},
            markers={sbdf: domid for sbdf, domid in self.markers.items() if sbdf not in devices},
            xen_owners={**self.xen_owners, **{sbdf: XenOwner.HOST for sbdf in devices if sbdf in self.xen_owners}},
        )


def _holders(host: Host) -> dict[Sbdf, str]:
    """Find who has which device, in words.

    Three sources are read, because each can be wrong: the connections in xenstore, libxl's markers, Xen itself.
    """
    found = {sbdf: f"{domain.numbered} has it" for domain in host.domains.values() for sbdf in domain.devices}
    for domid, orphan in host.orphaned_connections.items():
        _add(
            found, orphan.devices, f"xenstore still lists it in the connection of domain {domid}, which does not exist"
        )
    for sbdf, marked in host.markers.items():
        name = host.domains[marked].called if marked in host.domains else "no such domain"
        _add(found, [sbdf], f"libxl's marker says that domain {marked} ({name}) has it")
    guests = [sbdf for sbdf, owner in host.xen_owners.items() if owner is XenOwner.GUEST]
    _add(found, guests, "Xen says that a guest owns it")
    return found


def _add(found: dict[Sbdf, str], devices: Iterable[Sbdf], words: str) -> None:
    for sbdf in devices:
        found.setdefault(sbdf, words)


def _without(domain: Domain, devices: Collection[Sbdf]) -> Domain:
    if domain.stub is not None:
        return replace(domain, stub=_without(domain.stub, devices))
    if domain.own_connection is None:
        return domain
    entries = tuple(entry for entry in domain.own_connection.entries if entry.device not in devices)
    return replace(domain, own_connection=replace(domain.own_connection, entries=entries))
