# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move devices between the host's drivers and pciback, step by step, and back again if a step fails."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..decisions.assignment import (
    FinishRelease,
    MakePermissive,
    Quarantine,
    Rebind,
    Release,
    Situation,
    Step,
    Take,
    Wish,
)
from ..interfaces.hypervisor import HypervisorError
from ..interfaces.libxl import driver_node
from ..interfaces.network_usage import NetGraph, connection_addresses
from ..interfaces.notes import Note, drop_lost_hold, drop_note, note_reason, read_notes, write_note
from ..interfaces.sysfs import SysfsError
from ..interfaces.xenstore import XenStore, XenStoreError
from ..model.host import DOMID_IO, PCIBACK, Host, XenOwner
from ..values.address import Sbdf
from ..values.identity import Remembered
from .known_devices import with_memory
from .observe import observe
from .outside import Outside
from .undo import Undo, all_or_none

_FAILURES = (SysfsError, HypervisorError, XenStoreError)
#: How Xen says that a device was not in quarantine; its Python binding hides the errno behind EINVAL.
_NOT_QUARANTINED = (errno.ENODEV, errno.EINVAL)


def observe_situation(outside: Outside) -> tuple[Situation, dict[Sbdf, Note]]:
    """Everything that a plan needs, and the notes on devices in pciback (those of the same product only)."""
    host = observe(outside.store, outside.sysfs, outside.hypervisor)
    notes = with_memory(outside, host, current_notes(outside.store, host))
    return (
        Situation(
            host=host,
            network=NetGraph(outside.sysfs.root).use(connection_addresses()),
            drivers=outside.sysfs.drivers(),
            quarantined=_known_quarantined(host, notes),
            permissive_for_all=outside.sysfs.permissive_for_all(),
            guests={sbdf: note.guest for sbdf, note in notes.items() if note.guest},
        ),
        notes,
    )


def ask_groups(outside: Outside, situation: Situation, devices: Iterable[Sbdf]) -> Situation:
    """The situation with what Xen says of devices that belong together, for these ones.

    Xen names only those of one owner at a time, so dom0, the quarantine and all guests are asked. A Xen without
    an IOMMU knows no groups, and nothing is said then.
    """
    owners = [0, DOMID_IO, *situation.host.domains]
    groups = {}
    for sbdf in devices:
        with contextlib.suppress(HypervisorError):
            groups[sbdf] = frozenset(one for owner in owners for one in outside.hypervisor.device_group(owner, sbdf))
    return replace(situation, groups=groups)


def current_notes(store: XenStore, host: Host) -> dict[Sbdf, Note]:
    """Notes on devices that pciback still holds; after a release by other hands they mean nothing."""
    return {
        sbdf: note
        for sbdf, note in read_notes(store).items()
        if sbdf in host.devices
        and host.devices[sbdf].in_pciback
        and note.product == f"{host.devices[sbdf].vendor}:{host.devices[sbdf].device}"
    }


def remembered_identities(notes: Mapping[Sbdf, Note]) -> dict[Sbdf, Remembered]:
    """What devices told of themselves before pciback took them."""
    return {sbdf: note.identity for sbdf, note in notes.items()}


def apply(outside: Outside, host: Host, notes: Mapping[Sbdf, Note], steps: Sequence[Step]) -> None:
    """Make all steps, or none; raises StepFailed."""
    with all_or_none(_FAILURES) as undo:
        for step in steps:
            if isinstance(step, Take):
                _take(outside, host, step, undo)
            elif isinstance(step, Quarantine):
                _quarantine(outside, _note(host, step.sbdf, step.wish, notes.get(step.sbdf)), step.sbdf, undo)
            elif isinstance(step, Rebind):
                _rebind(outside, step.sbdf, undo)
            elif isinstance(step, MakePermissive):
                _make_permissive(outside, step, undo)
            elif isinstance(step, FinishRelease):
                _finish_release(outside, step, undo)
            else:
                _release(outside, host, step, notes.get(step.sbdf), undo)


def _take(outside: Outside, host: Host, step: Take, undo: Undo) -> None:
    sysfs, sbdf, driver = outside.sysfs, step.sbdf, step.driver
    if driver is not None:
        # Undo is noted first: an unbind that was interrupted half-way is mended all the same.
        undo.add(lambda: _ensure_driver(outside, sbdf, driver))
        sysfs.unbind(sbdf)
        undo.add(lambda: _write_record(outside, sbdf, step.record))
        _write_record(outside, sbdf, f"/sys/bus/pci/drivers/{driver}")
    drop_lost_hold(outside.store, sbdf)
    if sysfs.add_slot(sbdf):
        undo.add(lambda: sysfs.remove_slot(sbdf))
    if sysfs.needs_driver_override(sbdf):
        undo.add(lambda: sysfs.clear_driver_override(sbdf))
        sysfs.set_driver_override(sbdf, PCIBACK)
    undo.add(lambda: sysfs.unbind(sbdf))
    sysfs.bind(sbdf, PCIBACK)
    _expect_driver(outside, sbdf, PCIBACK)
    _quarantine(outside, _note(host, sbdf, step.wish), sbdf, undo)


def _quarantine(outside: Outside, note: Note, sbdf: Sbdf, undo: Undo) -> None:
    """Xen accepts a device that is in quarantine already (device_assigned excludes guests' devices only)."""
    outside.hypervisor.assign(DOMID_IO, sbdf, relaxed=True)
    undo.add(lambda: outside.hypervisor.deassign(DOMID_IO, sbdf))
    undo.add(lambda: drop_note(outside.store, sbdf))
    write_note(outside.store, sbdf, replace(note, quarantined=True))
    if outside.hypervisor.owner(sbdf) is XenOwner.GUEST:  # as far as Xen tells: dom0 and quarantine look the same
        raise HypervisorError(f"{sbdf} is not in quarantine although Xen accepted it; a guest owns it")


def _note(host: Host, sbdf: Sbdf, wish: Wish, known: Note | None = None) -> Note:
    """What the device tells now, what was known of it before, and what the user declared."""
    reasons = {**wish.waive, **({"permissive": wish.permissive} if wish.permissive else {})}
    now = Note.of(host.devices[sbdf])
    return replace(
        known or now, name=wish.name, reasons=reasons, identity=known.identity if known is not None else now.identity
    )


def _rebind(outside: Outside, sbdf: Sbdf, undo: Undo) -> None:
    """pciback forgets the flag when it lets go (pcistub_device_release); no write to its files clears it."""
    sysfs = outside.sysfs
    if sysfs.driver_override(sbdf) != PCIBACK and sysfs.add_slot(sbdf):
        undo.add(lambda: sysfs.remove_slot(sbdf))
    undo.add(lambda: _ensure_driver(outside, sbdf, PCIBACK))
    sysfs.unbind(sbdf)
    sysfs.bind(sbdf, PCIBACK)
    _expect_driver(outside, sbdf, PCIBACK)
    if sysfs.permissive(sbdf):
        raise SysfsError(f"{sbdf} is still permissive although pciback has let go of it and taken it back")


def _make_permissive(outside: Outside, step: MakePermissive, undo: Undo) -> None:
    undo.add(lambda: _rebind(outside, step.sbdf, Undo(_FAILURES)))
    outside.sysfs.set_permissive(step.sbdf)
    if not outside.sysfs.permissive(step.sbdf):
        raise SysfsError(f"{step.sbdf} is not permissive although pciback accepted that")
    note_reason(outside.store, step.sbdf, "permissive", step.reason)


def _finish_release(outside: Outside, step: FinishRelease, undo: Undo) -> None:
    sysfs, sbdf = outside.sysfs, step.sbdf
    if sysfs.remove_slot(sbdf):
        undo.add(lambda: sysfs.add_slot(sbdf))
    if step.driver is not None:
        undo.add(lambda: sysfs.unbind(sbdf))
        sysfs.bind(sbdf, step.driver)
        _expect_driver(outside, sbdf, step.driver)
    if step.record is not None:
        undo.add(lambda: _write_record(outside, sbdf, step.record))
        _write_record(outside, sbdf, None)


def _release(outside: Outside, host: Host, step: Release, note: Note | None, undo: Undo) -> None:
    sysfs, sbdf = outside.sysfs, step.sbdf
    if step.reset_after and not sysfs.reset(sbdf):
        raise SysfsError(f"{sbdf} was with domain {step.reset_after} and cannot be reset; leave it with pciback")
    if not sysfs.answers(sbdf):
        raise SysfsError(
            f"{sbdf} does not answer{' after its reset' if step.reset_after else ''} (its configuration space reads as"
            " all ones) and stays with pciback, where nobody uses it; switch the host off and on, or replace the device"
        )
    try:
        outside.hypervisor.deassign(DOMID_IO, sbdf)
        undo.add(lambda: outside.hypervisor.assign(DOMID_IO, sbdf, relaxed=True))
    except HypervisorError as error:
        # Hidden at boot and never quarantined: dom0 owns it. A guest does not, the plan has seen to that.
        if error.code not in _NOT_QUARANTINED:
            raise
    undo.add(lambda: _ensure_driver(outside, sbdf, PCIBACK))
    sysfs.unbind(sbdf)
    if sysfs.remove_slot(sbdf):
        undo.add(lambda: sysfs.add_slot(sbdf))
    if sysfs.driver_override(sbdf) == PCIBACK:
        sysfs.clear_driver_override(sbdf)
    undo.add(lambda: sysfs.unbind(sbdf))
    if step.driver is None:
        _load_driver(outside, host, sbdf)
        sysfs.probe(sbdf)
    else:
        sysfs.bind(sbdf, step.driver)
        _expect_driver(outside, sbdf, step.driver)
    if step.record is not None:
        undo.add(lambda: _write_record(outside, sbdf, step.record))
        _write_record(outside, sbdf, None)
    if note is not None:
        undo.add(lambda: write_note(outside.store, sbdf, note))
        drop_note(outside.store, sbdf)


def _load_driver(outside: Outside, host: Host, sbdf: Sbdf) -> None:
    """A device that was hidden at boot may be the only one that wants its driver, so nobody has loaded that."""
    modalias = host.devices[sbdf].modalias
    if modalias:
        for module in outside.modules.drivers_of([(sbdf, modalias)])[sbdf]:
            if not module.built_in and module.name not in outside.sysfs.drivers():
                outside.modules.load(module.name)


def _ensure_driver(outside: Outside, sbdf: Sbdf, driver: str) -> None:
    if outside.sysfs.driver_of(sbdf) != driver:
        outside.sysfs.bind(sbdf, driver)


def _expect_driver(outside: Outside, sbdf: Sbdf, driver: str) -> None:
    now = outside.sysfs.driver_of(sbdf)
    if now != driver:
        raise SysfsError(
            f"{sbdf} is not with driver {driver} although the kernel accepted it; it has {now or 'no driver'}"
        )


def _write_record(outside: Outside, sbdf: Sbdf, path: str | None) -> None:
    if path is None:
        outside.store.remove(driver_node(sbdf))
    else:
        outside.store.write(driver_node(sbdf), path)


def _known_quarantined(host: Host, notes: dict[Sbdf, Note]) -> frozenset[Sbdf]:
    """We noted it, or xl recorded a driver, which it does on its way to the quarantine."""
    return frozenset(sbdf for sbdf, note in notes.items() if note.quarantined) | frozenset(host.driver_paths)
