# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes for single devices: rights, markers, configuration, pciback's hold and its list."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable

from ..apply import rights
from ..apply.commit import Listed, commit, forget
from ..apply.loop import at_once
from ..faults.recipes import Recipe, implements
from ..faults.table import Fault
from ..host.sysfs import SysfsError
from ..host.xen_calls import HypervisorError
from ..host.xenstore import Transaction
from ..host.xenstore_nodes import name_path, read_connection
from ..model.device import PCIBACK, XenOwner
from ..model.domain import DOMID_IO
from ..model.notes import Note
from ..model.store_changes import Remove, Write
from ..values.address import Sbdf
from ..values.device_options import DeviceOptions
from .job import RepairJob

#: Each returns what was refused.
DEVICE_RECIPES: dict[Recipe, Callable[[RepairJob], list[str]]] = {}


@implements(DEVICE_RECIPES, Recipe.TAKE_RIGHTS)
def _take_rights(job: RepairJob) -> list[str]:
    """Take rights from the domain that the marker names, and the devices from its configuration.

    The marker goes last, once nothing is left. It may be wrong: then the device belongs to another domain, which lists
    it or which only Xen knows.
    """
    refused = []
    for sbdf in job.devices:
        problems = _revoke(job, sbdf)
        if not problems:
            if job.domid in job.host.domains:
                at_once(forget(job.access, job.domain, [sbdf]))
            holder = job.host.holder_of(sbdf)
            if holder is None:
                job.access.toolstack.unmark(job.domid, [sbdf], always=[job.access.notes.change_taken(sbdf)])
            else:
                job.access.toolstack.mark(holder.domid, [sbdf])
        refused += problems
    return refused


def _revoke(job: RepairJob, device: Sbdf) -> list[str]:
    """Take all rights over a device from the job's domain and its stub domain."""
    hypervisor, others = job.access.hypervisor, job.others_of(job.domid, device)
    facts = job.host.devices.get(device)
    if facts is None or job.finding.fault is Fault.WRONG_MARKER:
        facts = facts or job.access.notes.device(device)
        problems = rights.revoke_access(hypervisor, job.domid, facts, others)
    else:
        problems = _reset(job, device)
        if problems and device in job.access.sysfs.writes.hanging():
            return problems  # Xen must not ask a device anything that is in its reset
        problems += rights.revoke(hypervisor, job.domid, facts, others)
        if problems and hypervisor.owner(device) is XenOwner.GUEST:
            problems = _take_one_from_any(job, device)
    stub = job.domain.stub
    if stub is not None:  # it has all but the device itself
        problems += rights.revoke_access(hypervisor, stub.domid, facts, others)
    return problems


@implements(DEVICE_RECIPES, Recipe.TAKE_FROM_ANY)
def _take_from_any(job: RepairJob) -> list[str]:
    """Take devices from a guest that is not known: Xen does not say which one it is, but lets only it lose them."""
    return [problem for sbdf in job.devices for problem in _take_one_from_any(job, sbdf)]


def _take_one_from_any(job: RepairJob, device: Sbdf) -> list[str]:
    """Windows and interrupt come first: once the owner is gone, nothing shows any more where they are left.

    A domain that is dying may have it still.
    """
    hypervisor, domains = job.access.hypervisor, (*job.host.domains, *sorted(job.host.dying))
    problems = _reset(job, device)
    for domid in domains:
        facts, others = job.host.devices[device], job.others_of(domid, device)
        problems += rights.revoke_access(hypervisor, domid, facts, others)
    if problems:
        return problems
    owner = next((domid for domid in domains if _deassigned(job, domid, device)), None)
    if owner is None:
        return [f"no domain of this host has {device}, though Xen says that a guest owns it"]
    if owner in job.host.domains:
        at_once(forget(job.access, job.host.domains[owner], [device]))
    return []


def _deassigned(job: RepairJob, domid: int, device: Sbdf) -> bool:
    try:
        job.access.hypervisor.deassign(domid, device)
    except HypervisorError:
        return False
    return True


@implements(DEVICE_RECIPES, Recipe.GRANT)
def _grant(job: RepairJob) -> list[str]:
    for sbdf in job.devices:
        job.access.toolstack.mark(job.domid, [sbdf])
        relaxed = job.domain.options.get(sbdf, DeviceOptions()).relaxed
        others = job.others_of(job.domid, sbdf)
        rights.grant(job.access.hypervisor, job.domid, job.host.devices[sbdf], others, relaxed)
    return []


@implements(DEVICE_RECIPES, Recipe.GRANT_LINE)
def _grant_line(job: RepairJob) -> list[str]:
    """Give lines again, and forget the devices that took them along."""
    left = [sbdf for sbdf in job.host.left_devices(job.domain) if sbdf in job.devices]
    for line in sorted({job.host.notes[sbdf].given_line for sbdf in left}):
        rights.grant_line(job.access.hypervisor, job.domain, line)
    job.access.store.apply([job.access.notes.change_taken(sbdf) for sbdf in left])
    return []


@implements(DEVICE_RECIPES, Recipe.MARK)
def _mark(job: RepairJob) -> list[str]:
    job.access.toolstack.mark(job.domid, job.devices)
    return []


@implements(DEVICE_RECIPES, Recipe.UNMARK)
def _unmark(job: RepairJob) -> list[str]:
    """Remove the markers of a dead domain: Xen took its rights and quarantined its devices itself.

    Another domain may have been given its number since it was looked at.
    """
    if job.access.hypervisor.has(job.domid):
        return [f"domain {job.domid} lives now"]
    if job.domid in job.access.sysfs.kernel_connections():
        return [f"dom0's kernel has a connection of domain {job.domid} still"]
    job.access.toolstack.unmark(job.domid, job.devices)
    return []


@implements(DEVICE_RECIPES, Recipe.DROP_MARKER)
def _drop_marker(job: RepairJob) -> list[str]:
    for sbdf in job.devices:
        job.access.toolstack.drop_unreadable(sbdf)
    return []


@implements(DEVICE_RECIPES, Recipe.FORGET_NAME)
def _forget_name(job: RepairJob) -> list[str]:
    """Remove the name of a domain that Xen does not have; what else is left of the domain does no harm."""

    def body(transaction: Transaction) -> bool:
        # Xen is asked inside: who makes a domain of this number writes here, and then this is repeated.
        transaction.read(name_path(job.domid))
        lives = job.domid in job.access.hypervisor.domains()
        transaction.apply([] if lives else [Remove(name_path(job.domid))])
        return lives

    return [f"domain {job.domid} lives now"] if job.access.store.transaction(body) else []


@implements(DEVICE_RECIPES, Recipe.NAME_AGAIN)
def _name_again(job: RepairJob) -> list[str]:
    """Write the name that libxl built the domain with, unless another domain has got that name, or it has one."""
    name = job.domain.stored_name or ""

    def body(transaction: Transaction) -> str:
        domids = job.access.hypervisor.domains()
        names = dict(zip(domids, transaction.read_all([name_path(domid) for domid in domids])))
        if names.get(job.domid) or not job.access.hypervisor.has(job.domid):
            return f"domain {job.domid} has a name now, or is gone"
        if name in names.values():
            return f"another domain has the name {name}"
        transaction.apply([Write(name_path(job.domid), name)])
        return ""

    problem = job.access.store.transaction(body)
    return [problem] if problem else []


@implements(DEVICE_RECIPES, Recipe.CONFIGURE)
def _configure(job: RepairJob) -> list[str]:
    """Have libxl's configuration list what the connection lists by then: the devices may have changed meanwhile."""

    def sort(transaction: Transaction) -> Listed:
        backend = read_connection(transaction, job.domid)
        entries = backend.entries if backend is not None else ()
        present = {entry.device: entry.options for entry in entries if entry.device is not None}
        added = {sbdf: present[sbdf] for sbdf in job.devices if sbdf in present}
        return Listed(list(added), [sbdf for sbdf in job.devices if sbdf not in present], options=added)

    at_once(commit(job.access, job.domain, sort))
    return []


@implements(DEVICE_RECIPES, Recipe.QUARANTINE)
def _quarantine(job: RepairJob) -> list[str]:
    for sbdf in job.devices:
        job.access.hypervisor.assign(DOMID_IO, sbdf, relaxed=True)
        job.access.notes.write(sbdf, replace(Note.of(job.host.devices[sbdf]), quarantined=True))
    return []


@implements(DEVICE_RECIPES, Recipe.REBIND)
def _rebind(job: RepairJob) -> list[str]:
    """Take devices from pciback and give them back; they stay on its list and in quarantine.

    pciback forgets the setting when it lets a device go.
    """
    for sbdf in job.devices:
        if job.access.hypervisor.owner(sbdf) is not XenOwner.HOST:
            return [f"{sbdf} has been given to a guest since then"]
        job.access.sysfs.unbind(sbdf)
        job.access.sysfs.bind(sbdf, PCIBACK)
    return []


@implements(DEVICE_RECIPES, Recipe.CORRECT_SLOT)
def _correct_slot(job: RepairJob) -> list[str]:
    """Take devices off pciback's list, and put those that it holds by then on it once.

    The list has no effect on what pciback holds already (pcistub_device_id_remove).
    """
    for sbdf in job.devices:
        job.access.sysfs.remove_slot(sbdf)
        if job.access.sysfs.driver_of(sbdf) == PCIBACK:
            job.access.sysfs.add_slot(sbdf)
    return []


def _reset(job: RepairJob, device: Sbdf) -> list[str]:
    """Reset what pciback holds; what a driver of the host has by now must not be reset."""
    if not job.host.devices[device].in_pciback:
        return []
    try:
        job.access.sysfs.reset(device)
    except SysfsError as error:
        return [str(error)]
    return []
