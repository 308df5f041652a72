# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the faults of a domain's connection: its states, its entries, and what else is known of their devices. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..model.connection import PciConnection
from ..model.device import XenOwner
from ..model.domain import Domain, DomainKind
from ..model.host import Host
from ..values.address import Sbdf
from ..values.states import SubState, XenbusState
from ..values.words import listed
from . import use
from .finding import Finding, of
from .table import Fault

_STARTING = (XenbusState.UNKNOWN, XenbusState.INITIALISING, XenbusState.INIT_WAIT, XenbusState.INITIALISED)
#: What the two ends say of a change that has begun.
_UNDER_WAY = {
    (XenbusState.RECONFIGURING, XenbusState.RECONFIGURING): Fault.STUCK_CYCLE,
    (XenbusState.RECONFIGURING, XenbusState.CONNECTED): Fault.SILENT_GUEST,
    (XenbusState.RECONFIGURING, XenbusState.INITIALISED): Fault.MISSED_CONNECT,
}


def of_connection(host: Host, domain: Domain, connection: PciConnection) -> Iterator[Finding]:
    """Find the faults of a connection that xenstore has."""
    kernel_has_it = domain.domid in host.kernel_connections
    if (
        connection.state is XenbusState.INITIALISING
        and kernel_has_it
        and not _runs_all_the_same(host, domain, connection)
    ):
        says = f"dom0's kernel still has an earlier connection and ignores this one (backend {connection.state})"
        yield of(domain, Fault.STUCK_KERNEL_DEVICE, says, connection.devices)
    elif domain.kind is DomainKind.PV:  # of an HVM guest, the states say nothing: its device model does it all
        yield from _cycle(host, domain, connection)
    elif use.is_disordered(host, domain, connection):
        listed_not = use.unlisted(host, domain)
        problems = [*connection.problems(), *(f"the guest has {device}, which no entry lists" for device in listed_not)]
        yield of(domain, Fault.DISORDERED_ENTRIES, "; ".join(problems), [*connection.devices, *listed_not])
    if connection.aer_state:
        yield of(domain, Fault.AER_FAILURE, f"pciback wrote aerState={connection.aer_state[:32]}")
    yield from against_host(host, domain)


def _cycle(host: Host, domain: Domain, backend: PciConnection) -> Iterator[Finding]:
    ends = f"backend {backend.state}, frontend {backend.frontend_state}"
    if backend.connected:
        yield from _at_rest(host, domain, backend)
        return
    fault = _fault_of_ends(backend)
    if fault is Fault.NEVER_CONNECTED and _runs_all_the_same(host, domain, backend):  # another program wrote a state
        if backend.state is XenbusState.RECONFIGURING:
            fault = Fault.LOST_EVENT
        elif domain.domid in host.kernel_connections:
            fault = Fault.ALTERED_STATE
    elif backend.state is XenbusState.CONNECTED and use.is_connected(host, domain, backend):
        # Of a guest's states but Connected, only Reconfiguring can be one of a guest that runs all devices.
        fault = Fault.ALTERED_STATE if fault is Fault.LOST_EVENT else fault
    reason = f"; pciback said {backend.error[:200]!r}" if backend.error and fault is Fault.REFUSED_CYCLE else ""
    yield of(domain, fault, ends + reason, backend.devices)


def _runs_all_the_same(host: Host, domain: Domain, backend: PciConnection) -> bool:
    """Whether the guest is connected, whatever the state of dom0's end: it says so, or it runs all devices."""
    return backend.frontend_state is XenbusState.CONNECTED or use.is_connected(host, domain, backend)


def _fault_of_ends(backend: PciConnection) -> Fault:
    back, front = backend.state, backend.frontend_state
    if not backend.online and back.is_ending:
        return Fault.UNANSWERED_CLOSE if front is XenbusState.CONNECTED else Fault.UNFINISHED_CLOSE
    if back is XenbusState.CLOSING and front is XenbusState.RECONFIGURING:
        return Fault.REFUSED_CYCLE
    if back.is_ending or front.is_ending:
        return Fault.CLOSED_CONNECTION
    if back is XenbusState.RECONFIGURING or back in _STARTING:
        return _UNDER_WAY.get((back, front), Fault.NEVER_CONNECTED)
    late = back is XenbusState.CONNECTED and front is XenbusState.RECONFIGURING
    return Fault.LATE_ANSWER if late else Fault.LOST_EVENT


def _at_rest(host: Host, domain: Domain, backend: PciConnection) -> Iterator[Finding]:
    if use.is_disordered(host, domain, backend):
        yield of(domain, Fault.DISORDERED_ENTRIES, "; ".join(backend.problems()), backend.devices)
        return
    if not backend.entries:
        yield of(domain, Fault.EMPTY_CONNECTION, "both ends are connected with num_devs=0")
    used = {
        entry.device
        for entry in backend.entries
        if use.uses(host, domain, entry.device) and entry.device and not use.others_with(host, domain, entry.device)
    }
    for fault, state, of_used in (
        (Fault.UNFINISHED_REMOVAL, SubState.TO_REMOVE, False),
        (Fault.UNEXPORTED_ENTRY, SubState.TO_ADD, False),
        (Fault.ALTERED_ENTRY, SubState.TO_REMOVE, True),
        (Fault.ALTERED_ENTRY, SubState.TO_ADD, True),
    ):
        entries = [entry for entry in backend.entries if entry.state is state and (entry.device in used) is of_used]
        if entries:
            nodes = ", ".join(f"state-{entry.index}={state.value}" for entry in entries)
            devices = tuple(entry.device for entry in entries if entry.device is not None)
            runs = f", and a driver in the guest runs {'it' if len(entries) == 1 else 'them'}" if of_used else ""
            yield of(domain, fault, f"{nodes}, though both ends are at rest{runs}", devices)
    lost = [entry for entry in backend.entries if entry.exported_nowhere and entry.device is not None]
    if lost:
        nodes = ", ".join(f"vdev-{entry.index}" for entry in lost)
        yield of(domain, Fault.LOST_PLACE, f"{nodes} cannot be read", [entry.device for entry in lost if entry.device])


def against_host(host: Host, domain: Domain) -> Iterator[Finding]:
    """Compare what a connection lists with what the host, Xen, libxl and the other domains say of the devices."""
    foreign = use.foreign(host, domain) if domain.serves is None else ()  # else found with its guest
    if foreign:
        yield of(domain, Fault.FOREIGN_ENTRY, "an entry lists it, and nothing else does", foreign)
    own = [sbdf for sbdf in domain.devices if sbdf not in foreign]
    unmarked = [sbdf for sbdf in own if host.markers.get(sbdf) not in host.domains]
    if unmarked:  # also of devices that the host has no more: the marker shows whose rights are left
        yield of(domain, Fault.MISSING_MARKER, "libxl's marker names no domain that exists", unmarked)
    for sbdf in own:
        device = host.devices.get(sbdf)
        if device is None:
            yield of(domain, Fault.DEVICE_GONE, "the host does not have it any more", (sbdf,))
        elif not device.in_pciback:
            driver = f"driver {device.driver}" if device.driver else "no driver"
            yield of(domain, Fault.NOT_IN_PCIBACK, f"the host has it with {driver}", (sbdf,))
        elif _is_used_without_rights(host, domain, sbdf):
            yield of(domain, Fault.RIGHTS_MISSING, "Xen says that no guest owns it", (sbdf,))
        others = use.others_with(host, domain, sbdf)
        if others:
            yield of(
                domain,
                Fault.SHARED_DEVICE,
                f"{listed(others)} also {'lists' if len(others) == 1 else 'list'} it",
                (sbdf,),
            )


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
