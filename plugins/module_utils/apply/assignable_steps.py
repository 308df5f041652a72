# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move devices between the host's drivers and pciback, step by step, and back again if a step fails."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace

from ..host.access import HostAccess
from ..host.sysfs import SysfsError
from ..host.xen_calls import HypervisorError
from ..model.device import PCIBACK, XenOwner
from ..model.domain import DOMID_IO
from ..model.host import Host
from ..model.notes import Note
from ..plan.device_steps import FinishRelease, Forget, MakePermissive, Quarantine, Rebind, Release, Step, Take
from ..values.address import Sbdf
from ..values.catalog import DevicePolicy
from .host_driver import bind, give_to_fitting_driver, set_override
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
                _finish_release(access, host, step, undo)
            elif isinstance(step, Forget):
                _forget(access, host, step, undo)
            else:
                _release(access, host, step, host.notes.get(step.sbdf), undo)


def _take(access: HostAccess, host: Host, step: Take, undo: Undo) -> None:
    sysfs, sbdf, driver = access.sysfs, step.sbdf, step.driver
    undo.add(lambda: access.notes.drop(sbdf))
    access.notes.begin_taking(sbdf)
    if driver is not None:
        # The record comes first: where a run is killed after the unbind, it says who had the device.
        undo.add(lambda: access.toolstack.record_driver(sbdf, step.record))
        access.toolstack.record_driver(sbdf, f"/sys/bus/pci/drivers/{driver}")
        # Undo is noted first: an unbind that was interrupted half-way is repaired all the same.
        undo.add(lambda: _ensure_driver(access, sbdf, driver))
        sysfs.unbind(sbdf)
    access.notes.drop_lost_hold(sbdf)
    if sysfs.add_slot(sbdf):
        undo.add(lambda: sysfs.remove_slot(sbdf))
    if sysfs.needs_driver_override(sbdf):
        _override(access, sbdf, PCIBACK, undo)
    elif step.reserved_for is not None:
        _override(access, sbdf, None, undo)
    undo.add(lambda: sysfs.unbind(sbdf))
    _bind(access, sbdf, PCIBACK)
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


def _finish_release(access: HostAccess, host: Host, step: FinishRelease, undo: Undo) -> None:
    if not step.bound:
        _leave_quarantine(access, step.sbdf, undo)
    _end_release(access, host, step, undo)
    access.notes.drop(step.sbdf)


def _forget(access: HostAccess, host: Host, step: Forget, undo: Undo) -> None:
    sbdf, gone = step.sbdf, host.gone.get(step.sbdf)
    if step.listed and access.sysfs.remove_slot(sbdf):
        undo.add(lambda: access.sysfs.add_slot(sbdf))
    if step.record is not None:
        undo.add(lambda: access.toolstack.record_driver(sbdf, step.record))
        access.toolstack.record_driver(sbdf, None)
    if gone is not None and gone.note.product:
        undo.add(lambda: access.notes.write(sbdf, gone.note))
    access.notes.drop(sbdf)


def _release(access: HostAccess, host: Host, step: Release, note: Note | None, undo: Undo) -> None:
    sysfs, sbdf = access.sysfs, step.sbdf
    if step.reset_after and not sysfs.reset(sbdf):
        raise SysfsError(f"{sbdf} was with domain {step.reset_after} and cannot be reset; leave it with pciback")
    if not sysfs.answers(sbdf):
        raise SysfsError(
            f"{sbdf} does not answer{' after its reset' if step.reset_after else ''} (its configuration space reads as"
            " all ones) and stays with pciback, where it is not used; switch the host off and on, or replace the device"
        )
    if host.xen.iommu is not False:  # without one, there is no quarantine
        _leave_quarantine(access, sbdf, undo)
    undo.add(lambda: _ensure_driver(access, sbdf, PCIBACK))
    sysfs.unbind(sbdf)
    _end_release(access, host, step, undo)
    if note is not None:
        undo.add(lambda: access.notes.write(sbdf, note))
        access.notes.drop(sbdf)


def _leave_quarantine(access: HostAccess, sbdf: Sbdf, undo: Undo) -> None:
    try:
        access.hypervisor.deassign(DOMID_IO, sbdf)
        undo.add(lambda: access.hypervisor.assign(DOMID_IO, sbdf, relaxed=True))
    except HypervisorError as error:
        # Hidden at boot and never quarantined: dom0 owns it. A guest does not, the plan has seen to that.
        if error.code not in _NOT_QUARANTINED:
            raise


def _end_release(access: HostAccess, host: Host, step: Release | FinishRelease, undo: Undo) -> None:
    """End a release in the one way: off pciback's list, with its driver, no record."""
    sysfs, sbdf = access.sysfs, step.sbdf
    if sysfs.pciback_loaded() and sysfs.remove_slot(sbdf):
        undo.add(lambda: sysfs.add_slot(sbdf))
    override = sysfs.driver_override(sbdf)
    if override is not None and (override == PCIBACK or (step.driver is not None and step.driver != override)):
        _override(access, sbdf, None, undo)
    if not step.bound:
        undo.add(lambda: sysfs.unbind(sbdf))
        if step.driver is not None:
            _bind(access, sbdf, step.driver)
        else:
            give_to_fitting_driver(access, host.devices[sbdf])
    if step.record is not None:
        undo.add(lambda: access.toolstack.record_driver(sbdf, step.record))
        access.toolstack.record_driver(sbdf, None)


def _override(access: HostAccess, sbdf: Sbdf, driver: str | None, undo: Undo) -> None:
    """Let only this driver take the device, any with None."""
    sysfs, before = access.sysfs, access.sysfs.driver_override(sbdf)
    undo.add(lambda: set_override(sysfs, sbdf, before))
    set_override(sysfs, sbdf, driver)


def _bind(access: HostAccess, sbdf: Sbdf, driver: str) -> None:
    """Give the device to a driver; raises SysfsError unless that has it then."""
    bind(access.sysfs, sbdf, driver)
    _expect_driver(access, sbdf, driver)


def _ensure_driver(access: HostAccess, sbdf: Sbdf, driver: str) -> None:
    if access.sysfs.driver_of(sbdf) != driver:
        access.sysfs.bind(sbdf, driver)


def _expect_driver(access: HostAccess, sbdf: Sbdf, driver: str) -> None:
    now = access.sysfs.driver_of(sbdf)
    if now != driver:
        raise SysfsError(
            f"{sbdf} is not with driver {driver} although the kernel accepted it; it has {now or 'no driver'}"
        )
