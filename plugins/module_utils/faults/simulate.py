# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive a host as it will be once its faults are repaired, for check mode. Pure.

Of a connection the same changes are made as on a real host, to what was read of it. What guests and kernels do with
them is taken to succeed. What an HVM guest's device model does is not simulated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Callable

from ..model import connection_writes as changes
from ..model.connection import PciConnection, backend_path
from ..model.device import ConfigFlags, PciDevice, XenOwner
from ..model.device_model import qemu_name
from ..model.domain import Domain
from ..model.host import Host
from ..model.store_changes import Change, Remove, Write
from ..values.address import Sbdf
from ..values.states import SubState, XenbusState
from .finding import Finding
from .recipes import Recipe, RecipeKind, implements
from .table import Fault
from .use import evidently_has, foreign, uses

_CONNECTED = str(XenbusState.CONNECTED.value)

#: What a recipe changes in a connection by the time that both ends are at rest.
CONNECTION_SIMULATIONS: dict[Recipe, Callable[[Host, Finding, PciConnection], Sequence[Change]]] = {}
#: What a recipe for single devices makes of the host.
DEVICE_SIMULATIONS: dict[Recipe, Callable[[Host, Finding], Host]] = {}


def simulate_repair(host: Host, findings: Iterable[Finding]) -> Host:
    """Return the host without these faults; others may come to light. Faults of device models stay as they are."""
    for finding in findings:
        kind, domain = finding.required_recipe.kind, host.domains.get(finding.domid or 0)
        if kind is RecipeKind.DEVICE:
            host = DEVICE_SIMULATIONS[finding.required_recipe](host, finding)
        elif kind is RecipeKind.END_OF_CONNECTION:
            host = _ended(_without_connection(host, finding), finding.required_domid)
        elif domain is not None and domain.device_model is not None:
            host = _with_repaired_record(host, domain, finding)
        elif domain is not None:
            host = _with_repaired_connection(host, domain, finding)
    return host


def able_to_return(host: Host, devices: Iterable[Sbdf]) -> list[Sbdf]:
    """Those of the devices that a connection which is created again can have: pciback exports them."""
    known = [host.devices[sbdf] for sbdf in devices if sbdf in host.devices]
    return [
        device.sbdf
        for device in known
        if device.in_pciback
        and not device.lost_hold
        and host.xen_owners.get(device.sbdf) is not XenOwner.HOST
        and host.keeper_of(device.sbdf) is None
    ]


def _with_repaired_record(host: Host, domain: Domain, finding: Finding) -> Host:
    """Replace what libxl lists for a guest with a device model, and what that one has."""
    backend = domain.own_connection
    if finding.recipe is Recipe.PUT_IN_ORDER:
        if backend is None:
            return host
        has = evidently_has(host, domain, backend)
        nodes = _changed(backend, changes.put_in_order(backend.domid, backend.nodes, has, by_places=False))
        ordered = PciConnection.from_nodes(backend.domid, nodes, str(backend.frontend_state.value))
        host = replace(host, domains={**host.domains, domain.domid: replace(domain, own_connection=ordered)})
        model = domain.device_model
        return _without_empty(host, domain.domid) if model is not None and model.plugged == {} else host
    host = _take_rights(host, finding)
    after, model = host.domains[domain.domid], domain.device_model
    if model is not None and model.plugged is not None:
        gone = {qemu_name(device) for device in finding.devices}
        plugged = {name: place for name, place in model.plugged.items() if name not in gone}
        after = replace(after, device_model=replace(model, plugged=plugged))
    host = _disabled(replace(host, domains={**host.domains, domain.domid: after}), finding.devices)
    return _without_empty(host, domain.domid if domain.stub is None else domain.stub.domid)


def _without_empty(host: Host, domid: int) -> Host:
    """Remove a connection that has lost its last device, as libxl does."""
    domain = host.domains.get(domid)
    if domain is None or domain.own_connection is None or domain.own_connection.entries:
        return host
    return _ended(_with_connection(host, domain, None), domid)


def _with_repaired_connection(host: Host, domain: Domain, finding: Finding) -> Host:
    connection = domain.own_connection or PciConnection.from_nodes(domain.domid, {}, None)  # RECREATE may find none
    writes = CONNECTION_SIMULATIONS[finding.required_recipe](host, finding, connection)
    after = _applied(connection, writes)
    host = _with_connection(host, domain, after)
    return _ended(host, domain.domid) if after is None else host


def _ended(host: Host, domid: int) -> Host:
    return replace(host, kernel_connections=host.kernel_connections - {domid})


def _applied(connection: PciConnection, written: Iterable[Change]) -> PciConnection | None:
    """Return the connection at rest, with these changes; None if no entry is left, since an empty one is not kept."""
    nodes = _changed(connection, written)
    after = PciConnection.from_nodes(connection.domid, {**nodes, "state": _CONNECTED, "online": "1"}, _CONNECTED)
    return after if after.entries else None


def _changed(connection: PciConnection, written: Iterable[Change]) -> dict[str, str]:
    """Return the nodes of dom0's end after these changes."""
    nodes = dict(connection.nodes)
    for change in written:
        directory, _slash, name = change.path.rpartition("/")
        if directory == backend_path(connection.domid):
            if isinstance(change, Write):
                nodes[name] = change.value
            elif isinstance(change, Remove):
                nodes.pop(name, None)
    return nodes


def _with_connection(host: Host, domain: Domain, connection: PciConnection | None) -> Host:
    """Replace a connection: what leaves it also leaves libxl's configuration, and pciback disables it."""
    gone = set(domain.devices) - set(connection.devices if connection is not None else ())
    after = replace(domain, own_connection=connection, frontend_alone=False, configured=_reduced(domain, gone))
    return _with_domain(_disabled(host, gone), after)


def _with_domain(host: Host, after: Domain) -> Host:
    """Replace a domain, also where it is the stub domain of another one."""
    domains = {**host.domains, after.domid: after}
    guest = host.domains.get(after.serves or 0)
    if guest is not None:
        domains[guest.domid] = replace(guest, stub=after)
    return replace(host, domains=domains)


def _without_connection(host: Host, finding: Finding) -> Host:
    host = _disabled(host, finding.devices)
    if finding.required_domid in host.domains:
        host = _with_connection(host, host.domains[finding.required_domid], None)
    return replace(
        host,
        orphaned_connections={
            domid: orphan for domid, orphan in host.orphaned_connections.items() if domid != finding.domid
        },
    )


def _disabled(host: Host, devices: Iterable[Sbdf]) -> Host:
    return _with_devices(host, devices, lambda device: replace(device, config=ConfigFlags()))


def _with_devices(host: Host, devices: Iterable[Sbdf], change: Callable[[PciDevice], PciDevice]) -> Host:
    """Change those of the devices that the host has."""
    changed = {sbdf: change(host.devices[sbdf]) for sbdf in devices if sbdf in host.devices}
    return replace(host, devices={**host.devices, **changed})


def _reduced(domain: Domain, gone: Collection[Sbdf]) -> tuple[Sbdf, ...] | None:
    stored = domain.configured
    return None if stored is None else tuple(sbdf for sbdf in stored if sbdf not in gone)


# ---- connections


@implements(CONNECTION_SIMULATIONS, Recipe.WITHDRAW, Recipe.RESTART)
def _withdraw_or_restart(_host: Host, _finding: Finding, connection: PciConnection) -> Sequence[Change]:
    return changes.withdraw(connection) if connection.unanswered else changes.restart_failed(connection, ())


@implements(CONNECTION_SIMULATIONS, Recipe.SKIP_STALE, Recipe.FORGET_ENTRIES, Recipe.KEEP_ENTRIES)
def _keep_used(host: Host, finding: Finding, connection: PciConnection) -> Sequence[Change]:
    """Keep what the guest uses, and drop what nothing uses."""
    domain = host.domains[finding.required_domid]
    asked = [entry for entry in connection.entries if entry.state in (SubState.TO_REMOVE, SubState.TO_ADD)]
    used = [entry for entry in asked if entry.state is SubState.TO_REMOVE and uses(host, domain, entry.device)]
    if finding.recipe is Recipe.KEEP_ENTRIES:
        return changes.keep(connection, [entry for entry in asked if entry.device in finding.devices])
    unused = [entry.device for entry in asked if entry not in used and entry.device is not None]
    kept = changes.keep(connection, used) if finding.recipe is Recipe.SKIP_STALE else []
    return [*kept, *changes.compact(connection, unused)]


@implements(CONNECTION_SIMULATIONS, Recipe.PUT_IN_ORDER)
def _put_in_order(host: Host, finding: Finding, connection: PciConnection) -> Sequence[Change]:
    domain = host.domains[finding.required_domid]
    has = evidently_has(host, domain, connection)
    return changes.put_in_order(connection.domid, connection.nodes, has, foreign(host, domain))


@implements(CONNECTION_SIMULATIONS, Recipe.DETACH)
def _detach(_host: Host, finding: Finding, connection: PciConnection) -> Sequence[Change]:
    return changes.compact(connection, finding.devices)


@implements(CONNECTION_SIMULATIONS, Recipe.NUDGE, Recipe.REOPEN, Recipe.CONNECT_AGAIN)
def _change_states_only(_host: Host, _finding: Finding, _connection: PciConnection) -> Sequence[Change]:
    return ()


@implements(CONNECTION_SIMULATIONS, Recipe.RECREATE)
def _recreate(host: Host, finding: Finding, connection: PciConnection) -> Sequence[Change]:
    back = able_to_return(host, finding.devices)
    backend = backend_path(connection.domid)
    old = [Remove(f"{backend}/{name}") for name in connection.nodes]
    exported = [Write(f"{backend}/state-{index}", str(SubState.EXPORTED.value)) for index in range(len(back))]
    placed = [Write(f"{backend}/vdev-{index}", f"0000:00:{index:02x}.00") for index in range(len(back))]
    return [*old, *changes.create(connection.domid, finding.domain, back), *exported, *placed]


# ---- single devices


@implements(DEVICE_SIMULATIONS, Recipe.QUARANTINE)
def _quarantine(host: Host, finding: Finding) -> Host:
    return replace(host, quarantined=host.quarantined | frozenset(finding.devices))


@implements(DEVICE_SIMULATIONS, Recipe.GRANT)
def _grant(host: Host, finding: Finding) -> Host:
    owners = dict.fromkeys(finding.devices, XenOwner.GUEST)
    return replace(_mark(host, finding), xen_owners={**host.xen_owners, **owners})


@implements(DEVICE_SIMULATIONS, Recipe.GRANT_LINE)
def _grant_line(host: Host, finding: Finding) -> Host:
    domain = host.domains[finding.required_domid]
    return _taken(host, [sbdf for sbdf in host.left_devices(domain) if sbdf in finding.devices])


def _taken(host: Host, devices: Iterable[Sbdf]) -> Host:
    """Note that no domain has rights over these devices that a run of ours gave it."""
    settled = {sbdf: replace(host.notes[sbdf], given_to=None, given_line=0) for sbdf in devices if sbdf in host.notes}
    return replace(host, notes={**host.notes, **settled})


@implements(DEVICE_SIMULATIONS, Recipe.MARK)
def _mark(host: Host, finding: Finding) -> Host:
    return replace(host, markers={**host.markers, **dict.fromkeys(finding.devices, finding.required_domid)})


@implements(DEVICE_SIMULATIONS, Recipe.UNMARK)
def _unmark(host: Host, finding: Finding) -> Host:
    return replace(host, markers={sbdf: domid for sbdf, domid in host.markers.items() if sbdf not in finding.devices})


@implements(DEVICE_SIMULATIONS, Recipe.DROP_MARKER)
def _drop_marker(host: Host, finding: Finding) -> Host:
    left = {sbdf: text for sbdf, text in host.unreadable_markers.items() if sbdf not in finding.devices}
    return replace(host, unreadable_markers=left)


@implements(DEVICE_SIMULATIONS, Recipe.TAKE_RIGHTS, Recipe.TAKE_FROM_ANY)
def _take_rights(host: Host, finding: Finding) -> Host:
    if finding.fault is Fault.WRONG_MARKER:  # the marker then names the domain that has the device
        holders = {sbdf: holder.domid for sbdf in finding.devices if (holder := host.holder_of(sbdf)) is not None}
        return replace(host, markers={**_unmark(host, finding).markers, **holders})
    freed = _taken(host.assuming_free(finding.devices), finding.devices)
    rest = {
        domid: replace(domain, configured=_reduced(domain, finding.devices)) for domid, domain in freed.domains.items()
    }
    return replace(freed, domains=rest)


@implements(DEVICE_SIMULATIONS, Recipe.CONFIGURE)
def _configure(host: Host, finding: Finding) -> Host:
    domain = host.domains.get(finding.required_domid)
    if domain is None:
        return host
    return replace(host, domains={**host.domains, domain.domid: replace(domain, configured=domain.devices)})


@implements(DEVICE_SIMULATIONS, Recipe.FORGET_NAME)
def _forget_name(host: Host, finding: Finding) -> Host:
    return replace(
        host, stale_names={domid: name for domid, name in host.stale_names.items() if domid != finding.domid}
    )


@implements(DEVICE_SIMULATIONS, Recipe.NAME_AGAIN)
def _name_again(host: Host, finding: Finding) -> Host:
    domain = host.domains.get(finding.required_domid)
    if domain is None:
        return host
    return replace(host, domains={**host.domains, domain.domid: replace(domain, name=domain.stored_name or "")})


@implements(DEVICE_SIMULATIONS, Recipe.REBIND)
def _rebind(host: Host, finding: Finding) -> Host:
    return _with_devices(host, finding.devices, lambda device: replace(device, permissive=False))


@implements(DEVICE_SIMULATIONS, Recipe.CORRECT_SLOT)
def _correct_slot(host: Host, finding: Finding) -> Host:
    return _with_devices(host, finding.devices, lambda device: replace(device, pciback_slots=int(device.in_pciback)))
