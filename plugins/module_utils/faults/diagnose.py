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

from ..model.connection import PciConnection
from ..model.device import PciDevice, XenOwner
from ..model.device_model import qemu_name
from ..model.domain import Domain, DomainKind
from ..model.host import Host
from ..values.address import Sbdf
from ..values.states import SubState, XenbusState
from ..values.words import listed
from .finding import Finding
from .table import Fault

_ADDRESS_IN_ERROR = re.compile(r"locate PCI device \(([0-9a-f:.]{12})\)", re.ASCII)
_STARTING = (XenbusState.UNKNOWN, XenbusState.INITIALISING, XenbusState.INIT_WAIT, XenbusState.INITIALISED)


def diagnose(host: Host) -> list[Finding]:
    """Return all faults of a host, connections first: rights are repaired only where no connection is in the way."""
    findings = [
        *_connections(host),
        *_without_domain(host),
        *_markers(host),
        *_configurations(host),
        *_owners(host),
        *_devices(host),
    ]
    guests = {domain.stub.domid: domain.name for domain in host.domains.values() if domain.stub is not None}
    return [
        replace(finding, serves=guests[finding.domid]) if finding.domid in guests else finding for finding in findings
    ]


def _connections(host: Host) -> Iterator[Finding]:
    for domain in host.domains.values():
        yield from _device_model(host, domain)
        if domain.stub is not None:
            yield from _entries_against_host(host, domain)
        if domain.own_connection is None:
            yield from _lost_connection(host, domain)
        else:
            yield from _own_connection(host, domain, domain.own_connection)


def _lost_connection(host: Host, domain: Domain) -> Iterator[Finding]:
    """Find what is left of a connection that xenstore does not have."""
    marked = sorted(sbdf for sbdf, domid in host.markers.items() if domid == domain.domid)
    if domain.domid in host.kernel_connections:
        says = "its connection is gone from xenstore, but not from dom0's kernel"
        yield _of(domain, Fault.STUCK_KERNEL_DEVICE, says, marked)
    elif domain.frontend_alone:
        says = "dom0's end of its connection is gone from xenstore, but the guest's is not"
        yield _of(domain, Fault.LOST_BACKEND, says, marked)
    elif waiting := _to_come_back(host, domain):
        says = "a repair removed its connection, and there is no new one"
        yield _of(domain, Fault.UNFINISHED_REPAIR, says, waiting)


def _own_connection(host: Host, domain: Domain, connection: PciConnection) -> Iterator[Finding]:
    if connection.state is XenbusState.INITIALISING and domain.domid in host.kernel_connections:
        says = f"dom0's kernel still has an earlier connection and ignores this one (backend {connection.state})"
        yield _of(domain, Fault.STUCK_KERNEL_DEVICE, says, connection.devices)
    elif domain.kind is DomainKind.PV:  # of an HVM guest, the states say nothing: its device model does it all
        yield from _cycle(domain, connection)
    if connection.aer_state:
        yield _of(domain, Fault.AER_FAILURE, f"pciback wrote aerState={connection.aer_state[:32]}")
    yield from _entries_against_host(host, domain)


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
        yield _of(domain, Fault.SILENT_DEVICE_MODEL, model.problem)
    changing = (
        domain.stub is not None and domain.stub.own_connection is not None and not domain.stub.own_connection.connected
    )
    for sbdf in () if changing else model.lacks(domain.devices):  # the cycle that is under way comes first
        yield _of(domain, Fault.STALE_RECORD, "libxl lists it, but the device model does not have it", (sbdf,))
    for name in model.unexpected(domain.devices):
        called = [sbdf for sbdf in host.devices if qemu_name(sbdf) == name and _may_be_its(host, domain, sbdf)]
        # The name lacks the segment.
        owned = [sbdf for sbdf in called if host.xen_owners.get(sbdf) is XenOwner.GUEST]
        says = f"its device model has {name}, and libxl does not list it"
        yield _of(domain, Fault.UNLISTED_DEVICE, says, owned or called)


def _may_be_its(host: Host, domain: Domain, device: Sbdf) -> bool:
    """Whether a device that a device model names can be its guest's: pciback holds it and no other domain has it.

    A device model may lie, and what it names would be reset.
    """
    marked = host.markers.get(device, domain.domid) == domain.domid
    return host.devices[device].in_pciback and host.holder_of(device) is None and marked


def _cycle(domain: Domain, backend: PciConnection) -> Iterator[Finding]:
    ends = f"backend {backend.state}, frontend {backend.frontend_state}"
    if backend.connected:
        yield from _at_rest(domain, backend)
        return
    fault = _fault_of_ends(backend)
    reason = f"; pciback said {backend.error[:200]!r}" if backend.error and fault is Fault.REFUSED_CYCLE else ""
    yield _of(domain, fault, ends + reason, backend.devices)


def _fault_of_ends(backend: PciConnection) -> Fault:  # noqa: PLR0911 - a table of states, one line each
    back, front = backend.state, backend.frontend_state
    if not backend.online and back.is_ending:
        return Fault.UNANSWERED_CLOSE if front is XenbusState.CONNECTED else Fault.UNFINISHED_CLOSE
    if back is XenbusState.CLOSING and front is XenbusState.RECONFIGURING:
        return Fault.REFUSED_CYCLE
    if back.is_ending or front.is_ending:
        return Fault.CLOSED_CONNECTION
    if back is XenbusState.RECONFIGURING and front is XenbusState.RECONFIGURING:
        return Fault.STUCK_CYCLE
    if back is XenbusState.RECONFIGURING and front is XenbusState.CONNECTED:
        return Fault.SILENT_GUEST
    if back is XenbusState.CONNECTED and front is XenbusState.RECONFIGURING:
        return Fault.LATE_ANSWER
    if back is XenbusState.RECONFIGURING and front is XenbusState.INITIALISED:
        return Fault.MISSED_CONNECT
    if back is XenbusState.RECONFIGURING or back in _STARTING:
        return Fault.NEVER_CONNECTED
    return Fault.LOST_EVENT


def _at_rest(domain: Domain, backend: PciConnection) -> Iterator[Finding]:
    if _is_disordered(backend):
        yield _of(domain, Fault.DISORDERED_ENTRIES, "; ".join(backend.problems()), backend.devices)
        return
    if not backend.entries:
        yield _of(domain, Fault.EMPTY_CONNECTION, "both ends are connected with num_devs=0")
    for fault, state in (
        (Fault.UNFINISHED_REMOVAL, SubState.TO_REMOVE),
        (Fault.UNEXPORTED_ENTRY, SubState.TO_ADD),
    ):
        entries = [entry for entry in backend.entries if entry.state is state]
        if entries:
            nodes = ", ".join(f"state-{entry.index}={state.value}" for entry in entries)
            devices = tuple(entry.device for entry in entries if entry.device is not None)
            yield _of(domain, fault, f"{nodes}, though both ends are at rest", devices)


def _is_disordered(backend: PciConnection) -> bool:
    return not backend.count_is_sound or bool(backend.stray_nodes) or _has_holes(backend)


def _has_holes(backend: PciConnection) -> bool:
    devices = backend.devices
    unknown = any(entry.device is None or entry.state is None for entry in backend.entries)
    nowhere = any(entry.state is SubState.EXPORTED and entry.guest_address is None for entry in backend.entries)
    return unknown or nowhere or len(set(devices)) != len(devices)


def _entries_against_host(host: Host, domain: Domain) -> Iterator[Finding]:
    unmarked = [sbdf for sbdf in domain.devices if host.markers.get(sbdf) not in host.domains]
    if unmarked:  # also of devices that the host has no more: the marker shows whose rights are left
        yield _of(domain, Fault.MISSING_MARKER, "libxl's marker names no domain that exists", unmarked)
    for sbdf in domain.devices:
        device = host.devices.get(sbdf)
        if device is None:
            yield _of(domain, Fault.DEVICE_GONE, "the host does not have it any more", (sbdf,))
        elif not device.in_pciback:
            driver = f"driver {device.driver}" if device.driver else "no driver"
            yield _of(domain, Fault.NOT_IN_PCIBACK, f"the host has it with {driver}", (sbdf,))
        elif _is_used_without_rights(host, domain, sbdf):
            yield _of(domain, Fault.RIGHTS_MISSING, "Xen says that no guest owns it", (sbdf,))
        others = _others_with(host, domain, sbdf)
        if others:
            yield _of(
                domain,
                Fault.SHARED_DEVICE,
                f"{listed(others)} also {'lists' if len(others) == 1 else 'list'} it",
                (sbdf,),
            )


def _others_with(host: Host, domain: Domain, device: Sbdf) -> list[str]:
    """Names of the other domains whose connections also list a device."""
    return [other.name for other in host.domains.values() if other is not domain and device in other.devices]


def _is_used_without_rights(host: Host, domain: Domain, device: Sbdf) -> bool:
    """Whether the guest can use a device that Xen does not let it.

    xl also takes the rights from a guest that does not answer, and so has not given the device back.
    """
    backend = domain.connection
    entry = backend.entry_of(device) if backend else None
    if domain.device_model is not None:
        return domain.device_model.has(device) is not None and host.xen_owners.get(device) is XenOwner.HOST
    if backend is None or entry is None or host.xen_owners.get(device) is not XenOwner.HOST:
        return False
    if entry.state is SubState.TO_REMOVE:
        return backend.unanswered
    return entry.state is SubState.EXPORTED and backend.online


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
            if (
                domain.kind is DomainKind.PV
                and domain.own_connection
                and _is_disordered(domain.own_connection)
                and not in_use
            ):
                continue  # its entry may be among those, and then the guest has it still
            owner = host.xen_owners.get(sbdf, XenOwner.UNKNOWN)
            says = f"libxl's marker names {domain.name}, whose connection does not list it"
            fault = Fault.LOST_ENTRY if in_use else Fault.LEFT_RIGHTS
            yield _of(domain, fault, f"{says} (owner according to Xen: {owner.value})", (sbdf,))
        else:
            yield _of(
                domain, Fault.WRONG_MARKER, f"libxl's marker names it, but {holder.name} lists the device", (sbdf,)
            )


def _guest_still_runs(host: Host, domain: Domain, device: Sbdf) -> bool:
    """Whether a driver in the guest still runs a device: pciback resets and disables what it takes back."""
    facts = host.devices.get(device)
    owned = host.xen_owners.get(device) is XenOwner.GUEST and domain.device_model is None
    return owned and facts is not None and facts.config.driver_is_active


def _configurations(host: Host) -> Iterator[Finding]:
    """Compare what libxl would build a domain from at its reboot with the devices that the domain has.

    It does not build a stub domain from that, nor, whatever it has stored, the devices of a guest with one: it also
    takes what the guest's own connection lists, and there is none (libxl_retrieve_domain_configuration).
    While a domain's devices change, or one is lost, the two may differ, and other faults say so.
    """
    for domain in host.domains.values():
        stored, stubbed = domain.configured, domain.stub is not None or domain.serves is not None
        if stored is None or stubbed or not _knows_its_devices(domain):
            continue
        lost = [sbdf for sbdf in domain.devices if sbdf not in stored and not _others_with(host, domain, sbdf)]
        if lost:
            yield _of(domain, Fault.NOT_CONFIGURED, "libxl's stored configuration does not list it", lost)
        left = [sbdf for sbdf in stored if sbdf not in domain.devices and host.markers.get(sbdf) != domain.domid]
        if left:
            yield _of(domain, Fault.STALE_CONFIGURATION, "libxl's stored configuration still lists it", left)


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
        if sbdf not in held:
            yield from _slots(device)
        free = device.in_pciback and host.xen_owners.get(sbdf) is XenOwner.HOST and sbdf not in held
        if not free or sbdf in host.markers:
            continue
        if sbdf not in host.quarantined and not device.belongs_to_host:  # a mistake of hide=, which a release ends
            yield Finding(Fault.UNQUARANTINED, "nothing shows that Xen quarantines it", devices=(sbdf,))
        if device.permissive and not device.lost_hold:  # which must not be taken from pciback to clear it
            says = "pciback lists it as permissive"
            yield Finding(Fault.STICKY_PERMISSIVE, says, devices=(sbdf,))
        complaint = device.lost_hold or next((text for text in host.kernel_errors.values() if _names(text, sbdf)), "")
        if complaint:
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


def _names(kernel_error: str, device: Sbdf) -> bool:
    match = _ADDRESS_IN_ERROR.search(kernel_error)
    return match is not None and match[1] == str(device)


def _holders(host: Host) -> dict[Sbdf, Domain]:
    return {sbdf: domain for domain in host.domains.values() for sbdf in domain.devices}


def _of(domain: Domain, fault: Fault, evidence: str, devices: tuple[Sbdf, ...] | list[Sbdf] = ()) -> Finding:
    return Finding(fault, evidence, domain.domid, domain.name, tuple(devices))
