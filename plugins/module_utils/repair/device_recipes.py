# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes for single devices: rights, markers, configuration, pciback's hold. Each returns what was refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Callable

from ..apply import rights
from ..apply.commit import Listed, commit, forget
from ..apply.loop import at_once
from ..faults.diagnose import Finding
from ..faults.table import Fault, Recipe
from ..host.access import HostAccess
from ..host.hypervisor import HypervisorError
from ..host.sysfs import SysfsError
from ..host.xenstore import Transaction
from ..host.xenstore_nodes import read_connection
from ..model.device import PCIBACK, PciDevice, XenOwner
from ..model.domain import DOMID_IO
from ..model.host import Host
from ..model.notes import Note
from ..values.address import Sbdf

DeviceRecipe = Callable[[HostAccess, Host, Finding], "list[str]"]


def _take_rights(access: HostAccess, host: Host, finding: Finding) -> list[str]:
    """From the domain that the marker names, and from its configuration. The marker goes last, once nothing is left.

    A marker may be wrong: then the device is somebody else's, who lists it or whom Xen alone knows.
    """
    domid = finding.whose
    refused = []
    for one in finding.devices:
        device, others = host.devices.get(one), _others_of(host, domid, one)
        if device is None or finding.fault is Fault.WRONG_MARKER:
            device = device or access.notes.device(one)
            problems = rights.revoke_access(access.hypervisor, domid, device, others)
        else:
            problems = _reset(access, host, one)
            problems += rights.revoke(access.hypervisor, domid, device, others)
            if problems and access.hypervisor.owner(one) is XenOwner.GUEST:
                problems = _take_from_any(access, host, replace(finding, devices=(one,)))
        domain = host.domains.get(domid)
        if domain is not None and domain.stub is not None:  # it has all but the device itself
            problems += rights.revoke_access(access.hypervisor, domain.stub.domid, device, others)
        if not problems:
            if domain is not None:
                at_once(forget(access, domain, [one]))
            holder = host.holder_of(one)
            if holder is None:
                access.toolstack.unmark(domid, [one])
            else:
                access.toolstack.mark(holder.domid, [one])
        refused += problems
    return refused


def _take_from_any(access: HostAccess, host: Host, finding: Finding) -> list[str]:
    """Xen does not tell which guest owns a device, but it lets only the owner's be taken.

    Windows and interrupt come first: once the owner is gone, nothing shows any more where they are left.
    """
    refused = []
    for one in finding.devices:
        device, problems = host.devices[one], _reset(access, host, one)
        for domid in host.domains:
            problems += rights.revoke_access(access.hypervisor, domid, device, _others_of(host, domid, one))
        owner = None if problems else next((domid for domid in host.domains if _deassigned(access, domid, one)), None)
        if owner is not None:
            at_once(forget(access, host.domains[owner], [one]))
        elif not problems:
            problems.append(f"no domain of this host has {one}, though Xen says that a guest owns it")
        refused += problems
    return refused


def _deassigned(access: HostAccess, domid: int, device: Sbdf) -> bool:
    try:
        access.hypervisor.deassign(domid, device)
    except HypervisorError:
        return False
    return True


def _grant(access: HostAccess, host: Host, finding: Finding) -> list[str]:
    domid = finding.whose
    for one in finding.devices:
        access.toolstack.mark(domid, [one])
        device = host.devices[one]
        rights.grant(access.hypervisor, domid, device, _others_of(host, domid, one))
    return []


def _mark(access: HostAccess, _signs: Host, finding: Finding) -> list[str]:
    access.toolstack.mark(finding.whose, finding.devices)
    return []


def _unmark(access: HostAccess, _signs: Host, finding: Finding) -> list[str]:
    """Of a domain that is dead: Xen took its rights and quarantined its devices itself."""
    access.toolstack.unmark(finding.whose, finding.devices)
    return []


def _configure(access: HostAccess, host: Host, finding: Finding) -> list[str]:
    """By what the connection lists when it is done: a guest may have lost or got a device meanwhile."""
    domain = host.domains[finding.whose]

    def sort(transaction: Transaction) -> Listed:
        backend = read_connection(transaction, domain.domid)
        present = set(backend.devices) if backend is not None else set()
        devices = finding.devices
        return Listed([one for one in devices if one in present], [one for one in devices if one not in present])

    at_once(commit(access, domain, sort))
    return []


def _quarantine(access: HostAccess, host: Host, finding: Finding) -> list[str]:
    for one in finding.devices:
        access.hypervisor.assign(DOMID_IO, one, relaxed=True)
        access.notes.write(one, replace(Note.of(host.devices[one]), quarantined=True))
    return []


def _rebind(access: HostAccess, host: Host, finding: Finding) -> list[str]:
    """pciback forgets the setting when it lets the device go; the device stays in its list and in quarantine."""
    for one in finding.devices:
        if access.hypervisor.owner(one) is not XenOwner.HOST:
            return [f"{one} has been given to a guest meanwhile"]
        access.sysfs.unbind(one)
        access.sysfs.bind(one, PCIBACK)
    return []


def _reset(access: HostAccess, host: Host, device: Sbdf) -> list[str]:
    """What pciback holds is reset; what a driver of the host has by now must not be."""
    if not host.devices[device].in_pciback:
        return []
    try:
        access.sysfs.reset(device)
    except SysfsError as error:
        return [str(error)]
    return []


def _others_of(host: Host, domid: int, without: Sbdf) -> list[PciDevice]:
    """The other devices that a domain has."""
    domain = host.domains.get(domid)
    others = domain.devices if domain is not None else ()
    return [host.devices[one] for one in others if one != without and one in host.devices]


DEVICE_RECIPES: Mapping[Recipe, DeviceRecipe] = {
    Recipe.GRANT: _grant,
    Recipe.TAKE_RIGHTS: _take_rights,
    Recipe.TAKE_FROM_ANY: _take_from_any,
    Recipe.MARK: _mark,
    Recipe.UNMARK: _unmark,
    Recipe.CONFIGURE: _configure,
    Recipe.QUARANTINE: _quarantine,
    Recipe.REBIND: _rebind,
}
