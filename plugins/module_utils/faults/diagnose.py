# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find every fault of an observed host. Pure.

A repaired fault may uncover the next one (an entry is dropped, then its rights are found left over), so a repair
diagnoses again after each step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from ..model.device import PciDevice, XenOwner
from ..model.device_model import qemu_name
from ..model.domain import Domain, DomainKind
from ..model.host import Host
from ..values.address import Sbdf
from ..values.words import listed
from . import use
from .connection_faults import against_host, of_connection
from .finding import Finding, of
from .recipes import Recipe
from .records import definitions, names
from .table import Fault

_ADDRESS_IN_ERROR = re.compile(r"locate PCI device \(([0-9a-f:.]{12})\)", re.ASCII)


def diagnose(host: Host) -> list[Finding]:
    """Return all faults of a host, connections first: rights are repaired only where no connection is in the way."""
    findings = [
        *_connections(host),
        *_without_domain(host),
        *_markers(host),
        *_configurations(host),
        *_lines(host),
        *names(host),
        *definitions(host),
        *_owners(host),
        *_devices(host),
    ]
    guests = {domain.stub.domid: domain.domid for domain in host.domains.values() if domain.stub is not None}
    return [
        replace(finding, serves=guests.get(finding.domid or 0), costs=_costs(host, finding)) for finding in findings
    ]


def _costs(host: Host, finding: Finding) -> tuple[Sbdf, ...]:
    """Find what the guest of a connection that xenstore has lost still uses, which ends with it."""
    domain = host.domains.get(finding.domid or 0)
    if domain is None or finding.recipe is not Recipe.END_LOST:
        return ()
    return tuple(device for device in finding.devices if use.uses(host, domain, device))


def _connections(host: Host) -> Iterator[Finding]:
    for domain in host.domains.values():
        yield from _device_model(host, domain)
        if domain.stub is not None:
            yield from against_host(host, domain)
        if domain.own_connection is None:
            yield from _lost_connection(host, domain)
        else:
            yield from of_connection(host, domain, domain.own_connection)


def _lost_connection(host: Host, domain: Domain) -> Iterator[Finding]:
    """Find what is left of a connection that xenstore does not have."""
    marked = {sbdf for sbdf, domid in host.markers.items() if domid == domain.domid}
    run = {sbdf for sbdf in domain.configured or () if host.holder_of(sbdf) is None and use.is_run(host, sbdf)}
    had = sorted(marked | run)
    if domain.domid in host.kernel_connections:
        says = "its connection is gone from xenstore, but not from dom0's kernel"
        yield of(domain, Fault.STUCK_KERNEL_DEVICE, says, had)
    elif domain.frontend_alone or (use.is_told_by_model(domain) and use.unlisted(host, domain)):
        says = "dom0's end of its connection is gone from xenstore, but the guest has its devices"
        yield of(domain, Fault.LOST_BACKEND, says, had)
    elif waiting := _to_come_back(host, domain):
        says = "a repair removed its connection, and there is no new one"
        yield of(domain, Fault.UNFINISHED_REPAIR, says, waiting)


def _to_come_back(host: Host, domain: Domain) -> list[Sbdf]:
    """Devices that the domain had in a connection and still has all rights over."""
    return [
        sbdf
        for sbdf in domain.to_come_back
        if host.markers.get(sbdf) == domain.domid and host.xen_owners.get(sbdf) is XenOwner.GUEST
    ]


def _device_model(host: Host, domain: Domain) -> Iterator[Finding]:
    """Compare what libxl lists for an HVM guest with what its device model has, which is what the guest has."""
    model = domain.device_model
    if model is None:
        return
    if model.plugged is None:
        yield of(domain, Fault.SILENT_DEVICE_MODEL, model.problem)
    lists = domain.stub or domain
    lost = lists.own_connection is None and use.unlisted(host, lists)
    if lost or (lists.own_connection is not None and use.is_disordered(host, lists, lists.own_connection)):
        return  # the entries of what it has are gone, or may be among those
    changing = (
        domain.stub is not None and domain.stub.own_connection is not None and not domain.stub.own_connection.connected
    )
    foreign = use.foreign(host, domain)
    for sbdf in () if changing else model.lacks(domain.devices):  # the cycle that is under way comes first
        if sbdf in foreign:
            continue
        yield of(domain, Fault.STALE_RECORD, "libxl lists it, but the device model does not have it", (sbdf,))
    for name in model.unexpected(domain.devices):
        known = sorted({*host.devices, *host.markers})
        called = [sbdf for sbdf in known if qemu_name(sbdf) == name and _may_be_its(host, domain, sbdf)]
        # The name lacks the segment.
        owned = [sbdf for sbdf in called if host.xen_owners.get(sbdf) is XenOwner.GUEST]
        says = f"its device model has {name}, and libxl does not list it"
        yield of(domain, Fault.UNLISTED_DEVICE, says, owned or called)


def _may_be_its(host: Host, domain: Domain, sbdf: Sbdf) -> bool:
    """Whether a device that a device model names can be its guest's: pciback holds it and no other domain has it.

    A device model may lie, and what it names would be reset. Of one that has left the host, libxl's marker says it.
    """
    device, marked = host.devices.get(sbdf), host.markers.get(sbdf)
    if host.holder_of(sbdf) is not None:
        return False
    return marked == domain.domid if device is None else device.in_pciback and marked in (None, domain.domid)


def _without_domain(host: Host) -> Iterator[Finding]:
    for domid, orphan in sorted(host.orphaned_connections.items()):
        yield Finding(
            Fault.ORPHANED_CONNECTION,
            f"xenstore keeps the connection of domain {domid}, which does not exist (backend {orphan.state})",
            domid,
            devices=orphan.devices,
        )
    for domid in sorted(host.kernel_connections - host.domains.keys() - host.orphaned_connections.keys()):
        yield Finding(
            Fault.STUCK_KERNEL_DEVICE, f"dom0's kernel keeps pci-{domid}-0 of a domain that does not exist", domid
        )


def _markers(host: Host) -> Iterator[Finding]:
    holders = _holders(host)
    for sbdf, text in sorted(host.unreadable_markers.items()):
        if sbdf not in holders:  # of a holder, MISSING_MARKER says it
            yield Finding(Fault.UNREADABLE_MARKER, f"libxl's marker says {text[:32]!r}", devices=(sbdf,))
    for sbdf, domid in sorted(host.markers.items()):
        domain, holder = host.domains.get(domid), holders.get(sbdf)
        if domain is not None and sbdf in domain.devices:
            continue
        if domain is None:
            if domid not in host.orphaned_connections and holder is None:  # of a holder, MISSING_MARKER says it
                says = f"libxl's marker names domain {domid}, which does not exist"
                yield Finding(Fault.DEAD_MARKER, says, domid, devices=(sbdf,))
        elif holder is None:
            ended_unseen = domid in host.kernel_connections or domain.frontend_alone
            if domain.own_connection is None and (ended_unseen or sbdf in _to_come_back(host, domain)):
                continue  # found already: the guest may have it still or is to have it back, and keeps its rights
            if domain.device_model is not None and not domain.device_model.lacks([sbdf]):
                continue  # found already: the guest has it, or that cannot be seen
            in_use = _guest_still_runs(host, domain, sbdf)
            backend = domain.own_connection if domain.kind is DomainKind.PV else None
            if backend is not None and not in_use and use.is_disordered(host, domain, backend):
                continue  # its entry may be among those, and then the guest has it still
            owner = host.xen_owners.get(sbdf, XenOwner.UNKNOWN)
            says = f"libxl's marker names {domain.called}, whose connection does not list it"
            fault = Fault.LOST_ENTRY if in_use else Fault.LEFT_RIGHTS
            yield of(domain, fault, f"{says} (owner according to Xen: {owner.value})", (sbdf,))
        else:
            yield of(
                domain, Fault.WRONG_MARKER, f"libxl's marker names it, but {holder.called} lists the device", (sbdf,)
            )


def _guest_still_runs(host: Host, domain: Domain, device: Sbdf) -> bool:
    """Whether a driver in the guest still runs a device that no connection lists.

    Without an owner among the guests that is not shown: the device model of an HVM guest that ended disables nothing.
    """
    owned = host.xen_owners.get(device) is XenOwner.GUEST and domain.device_model is None
    return owned and use.is_run(host, device)


def _configurations(host: Host) -> Iterator[Finding]:
    """Compare what libxl would build a domain from at its reboot with the devices that the domain has.

    It does not build a stub domain from that, nor, whatever it has stored, the devices of a guest with one: it also
    takes what the guest's own connection lists, and there is none (libxl_retrieve_domain_configuration).
    While a domain's devices change, or one is lost, the two may differ, and other faults say so.
    """
    for domain in host.domains.values():
        if domain.config_problem and domain.serves is None:
            yield of(domain, Fault.UNREADABLE_CONFIGURATION, domain.config_problem)
        stored, stubbed = domain.configured, domain.stub is not None or domain.serves is not None
        if stored is None or stubbed or not _knows_its_devices(domain):
            continue
        foreign = use.foreign(host, domain)
        lost = [sbdf for sbdf in domain.devices if not use.others_with(host, domain, sbdf)]
        lost = [sbdf for sbdf in lost if sbdf not in stored and sbdf not in foreign]
        if lost:
            yield of(domain, Fault.NOT_CONFIGURED, "libxl's stored configuration does not list it", lost)
        left = [sbdf for sbdf in stored if sbdf not in domain.devices and host.markers.get(sbdf) != domain.domid]
        if left:
            yield of(domain, Fault.STALE_CONFIGURATION, "libxl's stored configuration still lists it", left)


def _lines(host: Host) -> Iterator[Finding]:
    """Find devices whose interrupt line went with another device of the domain, which another tool detached.

    Xen does not say who has a line. A device model maps the lines of its guest itself.
    """
    for domain in host.domains.values():
        if domain.device_model is not None and domain.stub is None:
            continue
        for left in host.left_devices(domain):
            line = host.notes[left].given_line
            sharing = [sbdf for sbdf in domain.devices if sbdf in host.devices and 0 < host.devices[sbdf].line == line]
            if sharing:
                says = f"another tool detached {left}, which was on interrupt line {line} with {listed(sharing)}"
                yield of(domain, Fault.LOST_LINE, says, (left, *sharing))


def _knows_its_devices(domain: Domain) -> bool:
    """Whether the list of a domain's devices is what it has: by its connection, or by its device model."""
    backend, model = domain.own_connection, domain.device_model
    if model is not None:
        return model.plugged is not None and not model.lacks(domain.devices) and not model.unexpected(domain.devices)
    return domain.kind is DomainKind.PV and (backend is None or (backend.connected and not backend.problems()))


def _owners(host: Host) -> Iterator[Finding]:
    known = set(_holders(host)) | {sbdf for orphan in host.orphaned_connections.values() for sbdf in orphan.devices}
    models = [domain.device_model for domain in host.domains.values() if domain.device_model is not None]
    for sbdf, owner in sorted(host.xen_owners.items()):
        if any(model.has(sbdf) for model in models):
            continue
        if owner is XenOwner.GUEST and sbdf not in known and sbdf not in host.markers:
            says = "Xen says that a guest owns it, but no connection lists it and no marker names a domain"
            in_use = host.devices[sbdf].config.driver_is_active
            yield Finding(Fault.LOST_ENTRY if in_use else Fault.UNEXPLAINED_OWNER, says, devices=(sbdf,))


def _devices(host: Host) -> Iterator[Finding]:
    """Faults of devices that no domain has."""
    held = _holders(host)
    for sbdf, device in sorted(host.devices.items()):
        if device.hanging_write:
            says = f"an earlier run wrote {device.hanging_write}"
            owner = held.get(sbdf)
            yield Finding(
                Fault.HANGING_WRITE,
                says,
                owner.domid if owner is not None else None,
                owner.name if owner is not None else "",
                (sbdf,),
            )
            continue
        if sbdf not in held:
            yield from _slots(device)
        free = device.in_pciback and host.xen_owners.get(sbdf) is XenOwner.HOST and sbdf not in held
        if not free or sbdf in host.markers:
            continue
        # One that belongs to the host is there by a mistake of hide=, which a release ends.
        if sbdf not in host.quarantined and not device.belongs_to_host and host.xen.iommu is not False:
            yield Finding(Fault.UNQUARANTINED, "nothing shows that Xen quarantines it", devices=(sbdf,))
        if device.permissive and not device.lost_hold:  # which must not be taken from pciback to clear it
            says = "pciback lists it as permissive"
            yield Finding(Fault.STICKY_PERMISSIVE, says, devices=(sbdf,))
        complaint = device.lost_hold or next(
            (text for text in host.kernel_errors.values() if _mentions(text, sbdf)), ""
        )
        keeper = host.keeper_of(sbdf)
        if complaint and keeper is not None:
            says = f"{keeper.name} had it as its first device, and pciback said {complaint[:200]!r}"
            yield Finding(Fault.KEPT_HOLD, says, devices=(sbdf,))
        elif complaint:
            says = f"no domain has it, and pciback said {complaint[:200]!r}"
            yield Finding(Fault.LEAKED_HOLD, says, devices=(sbdf,))


def _slots(device: PciDevice) -> Iterator[Finding]:
    """Compare pciback's list with what it holds. Of a list that is cut, nothing is known (pciback_slots is None)."""
    times = device.pciback_slots or 0
    if times and not device.in_pciback:
        says = f"pciback's list names it, but it has {f'driver {device.driver}' if device.driver else 'no driver'}"
        yield Finding(Fault.STRAY_SLOT, says, devices=(device.sbdf,))
    elif times > 1:
        yield Finding(Fault.STRAY_SLOT, f"pciback's list names it {times} times", devices=(device.sbdf,))


def _mentions(kernel_error: str, device: Sbdf) -> bool:
    match = _ADDRESS_IN_ERROR.search(kernel_error)
    return match is not None and match[1] == str(device)


def _holders(host: Host) -> dict[Sbdf, Domain]:
    return {sbdf: domain for domain in host.domains.values() for sbdf in domain.devices}
