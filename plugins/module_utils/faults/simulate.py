# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as it will be once its faults are mended: for who only wants to know. Pure.

Of a connection the same changes are made as on a real host, to what was read of it. What guests and kernels do with
them is taken to succeed, and what an HVM guest's device model does is not foreseen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from ..model import connection_writes as changes
from ..model.connection import PciConnection, backend_path
from ..model.connection_writes import Change, Remove, Write, put_in_order
from ..model.device import ConfigFlags, XenOwner
from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf
from ..values.states import SubState, XenbusState
from .diagnose import Finding
from .table import Fault, Recipe

_END_CONNECTION = (Recipe.DISSOLVE, Recipe.CLOSE, Recipe.END_UNSEEN)
_FOR_CONNECTIONS = (
    Recipe.WITHDRAW,
    Recipe.RESTART,
    Recipe.SKIP_STALE,
    Recipe.FORGET_ENTRIES,
    Recipe.PUT_IN_ORDER,
    Recipe.DETACH,
    Recipe.RECREATE,
    Recipe.NUDGE,
    Recipe.REOPEN,
)
_CONNECTED = str(XenbusState.CONNECTED.value)


def simulate_repair(host: Host, findings: Iterable[Finding]) -> Host:
    """What was observed, without these faults; others may come to light. One whose end is open changes nothing."""
    for finding in findings:
        if finding.recipe is Recipe.QUARANTINE:
            host = replace(host, quarantined=host.quarantined | frozenset(finding.devices))
        elif finding.recipe in _END_CONNECTION:
            host = _ended(_without_connection(host, finding), finding.whose)
        elif (domain := host.domains.get(finding.domid or 0)) is None or not _by_handshake(domain, finding):
            host = _of_devices(host, finding)
        elif finding.recipe is Recipe.RECREATE:
            host = _with_backend(host, domain, _created(host, domain, finding))
        elif domain.own_connection is not None:
            after = _applied(domain.own_connection, _writes(finding, domain.own_connection))
            host = _with_backend(host, domain, after)
            host = _ended(host, domain.domid) if after is None else host
    return host


def _ended(host: Host, domid: int) -> Host:
    return replace(host, kernel_connections=host.kernel_connections - {domid})


def able_to_return(host: Host, devices: Iterable[Sbdf]) -> list[Sbdf]:
    """Those that a connection which is created anew has again."""
    known = [host.devices[one] for one in devices if one in host.devices]
    return [
        one.sbdf
        for one in known
        if one.in_pciback and not one.lost_hold and host.xen_owners.get(one.sbdf) is not XenOwner.HOST
    ]


def _by_handshake(domain: Domain, finding: Finding) -> bool:
    """Whether the recipe is one for the domain's own connection."""
    return domain.device_model is None and domain.serves is None and finding.recipe in _FOR_CONNECTIONS


def _writes(finding: Finding, backend: PciConnection) -> list[Change]:
    """What the recipe changes in the connection by the time that both ends are at rest."""
    unused = [entry.device for entry in backend.entries if entry.state in (SubState.TO_REMOVE, SubState.TO_ADD)]
    if finding.recipe in (Recipe.WITHDRAW, Recipe.RESTART):
        return changes.withdraw(backend) if backend.unanswered else changes.restart_failed(backend, ())
    if finding.recipe in (Recipe.SKIP_STALE, Recipe.FORGET_ENTRIES):
        return changes.compact(backend, [one for one in unused if one is not None])
    if finding.recipe is Recipe.PUT_IN_ORDER:
        return put_in_order(backend.domid, backend.nodes)
    if finding.recipe is Recipe.DETACH:
        return changes.compact(backend, finding.devices)
    return []


def _created(host: Host, domain: Domain, finding: Finding) -> PciConnection | None:
    back = able_to_return(host, finding.devices)
    written = changes.create(domain.domid, domain.name, back)
    for index in range(len(back)):
        written += [Write(f"{backend_path(domain.domid)}/state-{index}", str(SubState.EXPORTED.value))]
        written += [Write(f"{backend_path(domain.domid)}/vdev-{index}", f"0000:00:{index:02x}.00")]
    return _applied(PciConnection.from_nodes(domain.domid, {}, None), written)


def _applied(backend: PciConnection, written: Iterable[Change]) -> PciConnection | None:
    """The connection at rest, with these changes; None if no entry is left, since nobody keeps an empty one."""
    nodes = dict(backend.nodes)
    for change in written:
        directory, _slash, name = change.path.rpartition("/")
        if directory == backend_path(backend.domid):
            if isinstance(change, Write):
                nodes[name] = change.value
            elif isinstance(change, Remove):
                nodes.pop(name, None)
    after = PciConnection.from_nodes(backend.domid, {**nodes, "state": _CONNECTED, "online": "1"}, _CONNECTED)
    return after if after.entries else None


def _with_backend(host: Host, domain: Domain, backend: PciConnection | None) -> Host:
    """What leaves a connection leaves libxl's configuration as well, and pciback disables it."""
    gone = set(domain.devices) - set(backend.devices if backend is not None else ())
    after = replace(domain, own_connection=backend, frontend_alone=False, configured=_reduced(domain, gone))
    return replace(_disabled(host, gone), domains={**host.domains, domain.domid: after})


def _without_connection(host: Host, finding: Finding) -> Host:
    host = _disabled(host, finding.devices)
    if finding.whose in host.domains:
        host = _with_backend(host, host.domains[finding.whose], None)
    return replace(
        host,
        orphaned_connections={one: orphan for one, orphan in host.orphaned_connections.items() if one != finding.domid},
    )


def _disabled(host: Host, devices: Iterable[Sbdf]) -> Host:
    known = {one: host.devices[one] for one in devices if one in host.devices}
    idle = {one: replace(device, config=ConfigFlags()) for one, device in known.items()}
    return replace(host, devices={**host.devices, **idle})


def _of_devices(host: Host, finding: Finding) -> Host:
    """Markers, rights, libxl's configuration, what pciback lets through."""
    devices, domain = finding.devices, host.domains.get(finding.domid or 0)
    if finding.recipe in (Recipe.GRANT, Recipe.MARK, Recipe.UNMARK) or finding.fault is Fault.WRONG_MARKER:
        owners = dict.fromkeys(devices, XenOwner.GUEST) if finding.recipe is Recipe.GRANT else {}
        return replace(host, markers=_markers(host, finding), xen_owners={**host.xen_owners, **owners})
    if finding.recipe in (Recipe.TAKE_RIGHTS, Recipe.TAKE_FROM_ANY):
        freed = host.assuming_free(devices)
        rest = {one: replace(each, configured=_reduced(each, devices)) for one, each in freed.domains.items()}
        return replace(freed, domains=rest)
    if finding.recipe is Recipe.CONFIGURE and domain is not None:
        listed = replace(domain, configured=domain.devices)
        return replace(host, domains={**host.domains, domain.domid: listed})
    if finding.recipe is Recipe.REBIND:
        cleared = {one: replace(host.devices[one], permissive=False) for one in devices}
        return replace(host, devices={**host.devices, **cleared})
    return host


def _markers(host: Host, finding: Finding) -> dict[Sbdf, int]:
    """Those of these devices name who has each of them, the finding's domain or another; the others stay."""
    others = {one: domid for one, domid in host.markers.items() if one not in finding.devices}
    if finding.recipe is Recipe.UNMARK or finding.domid is None:
        return others
    if finding.fault is Fault.WRONG_MARKER:
        holders = ((one, host.holder_of(one)) for one in finding.devices)
        return {**others, **{one: holder.domid for one, holder in holders if holder is not None}}
    return {**others, **dict.fromkeys(finding.devices, finding.domid)}


def _reduced(domain: Domain, gone: Collection[Sbdf]) -> tuple[Sbdf, ...] | None:
    stored = domain.configured
    return None if stored is None else tuple(one for one in stored if one not in gone)
