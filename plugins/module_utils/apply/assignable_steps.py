# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move devices between the host's drivers and pciback, step by step, and back again if a step fails."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace

from ..host.access import HostAccess
from ..host.hypervisor import HypervisorError
from ..host.sysfs import SysfsError
from ..model.device import PCIBACK, XenOwner
from ..model.domain import DOMID_IO
from ..model.host import Host
from ..model.notes import Note
from ..plan.assignable_plan import FinishRelease, MakePermissive, Quarantine, Rebind, Release, Step, Take
from ..values.address import Sbdf
from ..values.catalog import DevicePolicy
from .undo import Undo, all_or_none

#: How Xen says that a device was not in quarantine; its Python binding hides the errno behind EINVAL.
_NOT_QUARANTINED = (errno.ENODEV, errno.EINVAL)


def apply(access: HostAccess, host: Host, steps: Sequence[Step]) -> None:
    """Make all steps, or none; raises StepFailed."""
    with all_or_none() as undo:
        for step in steps:
            if isinstance(step, Take):
                _take(access, host, step, undo)
            elif isinstance(step, Quarantine):
                _quarantine(access, _note(host, step.sbdf, step.policy, host.notes.get(step.sbdf)), step.sbdf, undo)
            elif isinstance(step, Rebind):
                _rebind(access, step.sbdf, undo)
            elif isinstance(step, MakePermissive):
                _make_permissive(access, step, undo)
            elif isinstance(step, FinishRelease):
                _finish_release(access, step, undo)
            else:
                _release(access, host, step, host.notes.get(step.sbdf), undo)


def _take(access: HostAccess, host: Host, step: Take, undo: Undo) -> None:
    sysfs, sbdf, driver = access.sysfs, step.sbdf, step.driver
    if driver is not None:
        # Undo is noted first: an unbind that was interrupted half-way is repaired all the same.
        undo.add(lambda: _ensure_driver(access, sbdf, driver))
        sysfs.unbind(sbdf)
        undo.add(lambda: access.toolstack.record_driver(sbdf, step.record))
        access.toolstack.record_driver(sbdf, f"/sys/bus/pci/drivers/{driver}")
    access.notes.drop_lost_hold(sbdf)
    if sysfs.add_slot(sbdf):
        undo.add(lambda: sysfs.remove_slot(sbdf))
    if sysfs.needs_driver_override(sbdf):
        undo.add(lambda: sysfs.clear_driver_override(sbdf))
        sysfs.set_driver_override(sbdf, PCIBACK)
    undo.add(lambda: sysfs.unbind(sbdf))
    sysfs.bind(sbdf, PCIBACK)
    _expect_driver(access, sbdf, PCIBACK)
    _quarantine(access, _note(host, sbdf, step.policy), sbdf, undo)


def _quarantine(access: HostAccess, note: Note, sbdf: Sbdf, undo: Undo) -> None:
    """Put the device in quarantine and note that it is there.

    Xen accepts one that is there already (device_assigned excludes guests' devices only).
    """
    access.hypervisor.assign(DOMID_IO, sbdf, relaxed=True)
    undo.add(lambda: access.hypervisor.deassign(DOMID_IO, sbdf))
    undo.add(lambda: access.notes.drop(sbdf))
    access.notes.write(sbdf, replace(note, quarantined=True))
    if access.hypervisor.owner(sbdf) is XenOwner.GUEST:  # as far as Xen says: dom0 and quarantine look the same
        raise HypervisorError(f"{sbdf} is not in quarantine although Xen accepted it; a guest owns it")


def _note(host: Host, sbdf: Sbdf, policy: DevicePolicy, known: Note | None = None) -> Note:
    """Put together what the device says now, what was known of it before, and what the user declared."""
    reasons = {**policy.waive, **({"permissive": policy.permissive} if policy.permissive else {})}
    now = Note.of(host.devices[sbdf])
    return replace(
        known or now, name=policy.name, reasons=reasons, identity=known.identity if known is not None else now.identity
    )


def _rebind(access: HostAccess, sbdf: Sbdf, undo: Undo) -> None:
    """Have pciback take the device again, which makes it no longer permissive.

    pciback forgets the flag when it lets go (pcistub_device_release); no write to its files clears it.
    """
    sysfs = access.sysfs
    if sysfs.driver_override(sbdf) != PCIBACK and sysfs.add_slot(sbdf):
        undo.add(lambda: sysfs.remove_slot(sbdf))
    undo.add(lambda: _ensure_driver(access, sbdf, PCIBACK))
    sysfs.unbind(sbdf)
    sysfs.bind(sbdf, PCIBACK)
    _expect_driver(access, sbdf, PCIBACK)
    if sysfs.permissive(sbdf):
        raise SysfsError(f"{sbdf} is still permissive although pciback has released it and taken it back")


def _make_permissive(access: HostAccess, step: MakePermissive, undo: Undo) -> None:
    undo.add(lambda: _rebind(access, step.sbdf, Undo()))
    access.sysfs.set_permissive(step.sbdf)
    if not access.sysfs.permissive(step.sbdf):
        raise SysfsError(f"{step.sbdf} is not permissive although pciback accepted that")
    access.notes.add_reason(step.sbdf, "permissive", step.reason)


def _finish_release(access: HostAccess, step: FinishRelease, undo: Undo) -> None:
    sysfs, sbdf = access.sysfs, step.sbdf
    if sysfs.remove_slot(sbdf):
        undo.add(lambda: sysfs.add_slot(sbdf))
    if step.driver is not None:
        undo.add(lambda: sysfs.unbind(sbdf))
        sysfs.bind(sbdf, step.driver)
        _expect_driver(access, sbdf, step.driver)
    if step.record is not None:
        undo.add(lambda: access.toolstack.record_driver(sbdf, step.record))
        access.toolstack.record_driver(sbdf, None)


def _release(access: HostAccess, host: Host, step: Release, note: Note | None, undo: Undo) -> None:
    sysfs, sbdf = access.sysfs, step.sbdf
    if step.reset_after and not sysfs.reset(sbdf):
        raise SysfsError(f"{sbdf} was with domain {step.reset_after} and cannot be reset; leave it with pciback")
    if not sysfs.answers(sbdf):
        raise SysfsError(
            f"{sbdf} does not answer{' after its reset' if step.reset_after else ''} (its configuration space reads as"
            " all ones) and stays with pciback, where it is not used; switch the host off and on, or replace the device"
        )
    try:
        access.hypervisor.deassign(DOMID_IO, sbdf)
        undo.add(lambda: access.hypervisor.assign(DOMID_IO, sbdf, relaxed=True))
    except HypervisorError as error:
        # Hidden at boot and never quarantined: dom0 owns it. A guest does not, the plan has seen to that.
        if error.code not in _NOT_QUARANTINED:
            raise
    undo.add(lambda: _ensure_driver(access, sbdf, PCIBACK))
    sysfs.unbind(sbdf)
    if sysfs.remove_slot(sbdf):
        undo.add(lambda: sysfs.add_slot(sbdf))
    if sysfs.driver_override(sbdf) == PCIBACK:
        sysfs.clear_driver_override(sbdf)
    undo.add(lambda: sysfs.unbind(sbdf))
    if step.driver is None:
        _load_driver(access, host, sbdf)
        sysfs.probe(sbdf)
    else:
        sysfs.bind(sbdf, step.driver)
        _expect_driver(access, sbdf, step.driver)
    if step.record is not None:
        undo.add(lambda: access.toolstack.record_driver(sbdf, step.record))
        access.toolstack.record_driver(sbdf, None)
    if note is not None:
        undo.add(lambda: access.notes.write(sbdf, note))
        access.notes.drop(sbdf)


def _load_driver(access: HostAccess, host: Host, sbdf: Sbdf) -> None:
    """Load the drivers that fit the device. One that was hidden at boot may be the only one of its kind on the host."""
    modalias = host.devices[sbdf].modalias
    if modalias:
        for module in access.modules.drivers_of([(sbdf, modalias)])[sbdf]:
            if not module.built_in and module.name not in access.sysfs.drivers():
                access.modules.load(module.name)


def _ensure_driver(access: HostAccess, sbdf: Sbdf, driver: str) -> None:
    if access.sysfs.driver_of(sbdf) != driver:
        access.sysfs.bind(sbdf, driver)


def _expect_driver(access: HostAccess, sbdf: Sbdf, driver: str) -> None:
    now = access.sysfs.driver_of(sbdf)
    if now != driver:
        raise SysfsError(
            f"{sbdf} is not with driver {driver} although the kernel accepted it; it has {now or 'no driver'}"
        )
