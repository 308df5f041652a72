# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The handshake of one domain with its guest: prepare, commit, wait, tidy up.

Order (why: protocol of libxl_pci.c turned right side up). Adding: marker, reset, rights, assign, xenstore,
wait. Removing: xenstore, wait until the guest has released the devices, compaction, reset, de-assign, revoke.
Each step is a generator for the event loop, so that many domains go side by side.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from ..host.sysfs import SysfsError
from ..host.xenstore import Transaction, XenStore, XenStoreGone
from ..host.xenstore_nodes import (
    is_recorded,
    read_connection,
    read_for_compaction,
    read_outline,
    read_states,
    states_of,
)
from ..model import connection_writes as changes
from ..model.connection import Entry, PciConnection, backend_path, error_path, frontend_path
from ..model.store_changes import Change, Remove
from ..values.address import Sbdf
from ..values.errors import HostError, XenPciError
from ..values.states import XenbusState
from . import rights, rollback
from .commit import Listed, commit, forget
from .domain_change import DomainChange
from .loop import NEXT_EVENT, Again, DeadlinePassed, Flow
from .report import Cycle, DomainFailed
from .rollback import CycleKind

#: The kernel unregisters its device right after Closed, and raises no event.
_KERNEL_LOOK_AGAIN = 0.01


class CycleFailed(XenPciError):
    """One of the two kernels has given up; the text says which and why."""


class Handshake(DomainChange):
    """Carries out one domain's plan by the handshake of pciback and pcifront."""

    @property
    def _watched(self) -> tuple[str, str]:
        return f"{backend_path(self.domid)}/state", f"{frontend_path(self.domid)}/state"

    def _inactive(self, devices: Sequence[Sbdf]) -> list[Sbdf]:
        """By the devices' own registers, which dom0 reads."""
        return [device for device in devices if not self._is_active(device)]

    def _is_active(self, device: Sbdf) -> bool:
        try:
            return self.access.sysfs.config_flags(device).driver_is_active
        except SysfsError:  # it has gone from the host, which the look after the run shows
            return False

    def _begin(self, watched: Sequence[str | None]) -> Flow:
        """Wait until a cycle is over that another program has begun."""
        if states_of(watched) != rollback.BOTH_CONNECTED:  # else looked at in the transaction that begins the cycle
            yield from self._rest()

    def _first(self) -> tuple[Sbdf, ...]:
        if self.plan.departing and not self.plan.after:
            return self.plan.remove  # its connection ends with them, in one step
        return tuple(device for device in self.plan.remove if device in self.plan.departing)

    def _rest(self) -> Flow:
        backend = read_connection(self.access.store, self.domid)
        while backend is not None and not backend.connected:
            if backend.state.is_ending or backend.frontend_state.is_ending:
                raise DomainFailed(
                    f"{self.name}: its PCI connection is closed (backend {backend.state}, frontend "
                    f"{backend.frontend_state}), nothing was changed; repair it (xen.pci.repair) or restart the guest"
                )
            try:
                yield NEXT_EVENT
            except DeadlinePassed:
                raise DomainFailed(
                    f"{self.name}: an earlier change of its PCI connection did not end in time (backend"
                    f" {backend.state}, frontend {backend.frontend_state}), nothing was changed; run xen.pci.repair"
                ) from None
            backend = read_connection(self.access.store, self.domid)

    def _exchange(self, add: Sequence[Sbdf], remove: Sequence[Sbdf]) -> Flow:
        self._resetting = None  # of an exchange before that failed
        yield from self._prepare(add)
        try:
            if self.plan.domain.own_connection is None:
                yield from self._await_kernel_gone()
            kind, places = yield from self._commit(add, remove)
        except XenStoreGone:
            raise  # whether it was committed is not known, and then the guest uses the devices
        except Exception as error:
            self._withdraw_rights(add, str(error))
            raise
        began = time.monotonic()
        try:
            yield from self._await(kind, add, remove, places)
        except (DeadlinePassed, CycleFailed) as failure:
            yield from self._recover(kind, add, remove, failure)
        self.recorder.cycles.append(Cycle(tuple(add), tuple(remove), round(time.monotonic() - began, 3)))
        if kind is CycleKind.CLOSE:
            yield from self._await_kernel_gone()
        yield from self._begin_reset(remove)
        if kind is CycleKind.CLOSE:
            yield from self._dissolve(remove)
        elif remove:
            yield from self._compact(remove)
        yield from self._release(remove)

    def _prepare(self, add: Sequence[Sbdf]) -> Flow:
        """Mark all as taken and note whose they become, reset them, give all rights."""
        if not add:
            return
        facts = [self._devices[device] for device in add]
        notes, proofs = self.access.notes.giving(facts, self.domid, self.name)
        self._claim(add, [*notes, *map(self.access.notes.change_taken, self.left)])
        granted: list[Sbdf] = []
        try:
            yield from self._reset_dirty(add, proofs)
            self._quarantine(add)
            for device in facts:
                relaxed = self._options(device.sbdf).relaxed
                rights.grant(self.access.hypervisor, self.domid, device, self._others(), relaxed)
                granted.append(device.sbdf)  # one that was refused has nothing, grant() saw to that
                self._held.add(device.sbdf)
        except HostError as error:
            self._forget_holder([device for device in add if device not in granted])
            self._withdraw_rights(granted, str(error))
            raise

    def _claim(self, devices: Sequence[Sbdf], along: Sequence[Change] = ()) -> None:
        """Mark them as taken before anything else, as xl does: it may have given one to another guest since we looked.

        Where a run is killed behind it, the marker is what shows it later.
        """
        taken = self.access.toolstack.claim(self.domid, devices, along)
        if taken:
            whose = ", ".join(f"{device} to domain {domid}" for device, domid in taken.items())
            raise DomainFailed(f"{self.name}: another toolstack gave {whose}, nothing was changed")

    def _commit(self, add: Sequence[Sbdf], remove: Sequence[Sbdf]) -> Flow:
        """Write the whole cycle in one transaction, which also checks that the connection is as it was planned for.

        Returns what kind of cycle it is, and the index of each of its devices.
        """

        def body(transaction: Transaction) -> Listed:
            backend = read_outline(transaction, self.domid)
            if (backend is None or not backend.connected) and not self._lives(transaction):
                raise DomainFailed(f"{self.name}: the guest died before anything was changed; Xen has its devices back")
            self._check_unchanged(backend, add, remove)
            places = changes.indexes(backend, add, remove)
            if backend is None:
                kind, writes = CycleKind.CREATE, changes.create(self.domid, self.name, add, self.plan.options)
            elif not add and set(backend.devices) <= set(remove):
                kind, writes = CycleKind.CLOSE, changes.close(self.domid)
            else:
                kind, writes = CycleKind.RECONFIGURE, changes.reconfigure(backend, add, remove, self.plan.options)
                writes += self._correct_places(transaction, remove)
            transaction.apply([Remove(error_path(self.domid)), *writes])  # the kernel never clears its error
            return Listed(add, value=(kind, places), options=self.plan.options)

        return (yield from commit(self.access, self.plan.domain, body))

    def _correct_places(self, transaction: Transaction, remove: Collection[Sbdf]) -> list[Change]:
        """Have both kernels find the virtual functions that leave (see `connection_writes.correct_places`)."""
        virtual = [device for device in remove if device in self._devices and self._devices[device].physfn is not None]
        backend = read_connection(transaction, self.domid) if virtual else None
        return [] if backend is None else changes.correct_places(backend, virtual)

    def _check_unchanged(self, backend: PciConnection | None, add: Collection[Sbdf], remove: Collection[Sbdf]) -> None:
        present = set(backend.devices) if backend else set()
        sound = backend is None or (backend.connected and not backend.problems())
        if not sound or not present.isdisjoint(add) or not present.issuperset(remove):
            ends = f" (backend {backend.state}, frontend {backend.frontend_state})" if backend else ""
            raise DomainFailed(
                f"{self.name}: another toolstack or the guest changed its PCI connection at the same time{ends},"
                " nothing was changed; run again"
            )

    def _await(self, kind: CycleKind, add: Sequence[Sbdf], remove: Sequence[Sbdf], places: Mapping[Sbdf, int]) -> Flow:
        """Follow the two kernels until both are at rest again."""
        goal = XenbusState.CLOSED if kind is CycleKind.CLOSE else XenbusState.CONNECTED
        sub_states = [f"state-{index}" for index in sorted(places.values())]
        while True:
            ends = self._look(sub_states)
            if ends == (goal, goal):
                break
            if ends[0] is XenbusState.RECONFIGURED:  # pciback has released them all (xen_pcibk_reconfigure)
                yield from self._begin_reset(remove)
            self._check_ends(kind, *ends)
            yield NEXT_EVENT
        if kind is not CycleKind.CLOSE:
            self._check_exported({device: places[device] for device in add})

    def _look(self, sub_states: Sequence[str]) -> tuple[XenbusState, XenbusState]:
        """Read both ends and the devices of this cycle at once, and note what has changed."""
        nodes = [*self._watched, *(f"{backend_path(self.domid)}/{name}" for name in sub_states)]
        texts = self.access.store.read_all(nodes)
        names = ("backend/state", "frontend/state", *(f"backend/{name}" for name in sub_states))
        for name, text in zip(names, texts):
            self.recorder.note(name, "gone" if text is None else text[:32])
        if texts[1] is None and not self._lives(self.access.store):
            raise CycleFailed("the guest died during the handshake")
        return states_of(texts)

    def _lives(self, requests: XenStore | Transaction) -> bool:
        """Whether Xen has the guest, and the toolstack has not begun to take it away."""
        return is_recorded(requests, self.domid) and self.access.hypervisor.has(self.domid)

    def _check_ends(self, kind: CycleKind, backend: XenbusState, frontend: XenbusState) -> None:
        if kind is CycleKind.CLOSE or not (backend.is_ending or frontend.is_ending):
            return
        # Each end follows the other into Closed at once; which one began is seen in
        # the kernel's error node, which our own transaction has emptied.
        reason = self.access.store.read(error_path(self.domid))
        who = f"pciback gave up with {reason!r}" if reason else "the guest closed its end, as one does that shuts down"
        log = "dom0's kernel log" if reason else "the guest's kernel log"
        raise CycleFailed(f"{who} (backend {backend}, frontend {frontend}; see {log})")

    def _check_exported(self, places: Mapping[Sbdf, int]) -> None:
        """By the nodes of these entries alone: in a large connection all of them take as long as the handshake."""
        names = [f"{kind}-{index}" for index in places.values() for kind in ("dev", "state", "vdev")]
        texts = self.access.store.read_all([f"{backend_path(self.domid)}/{name}" for name in names])
        nodes = {name: text for name, text in zip(names, texts) if text is not None}
        entries = {device: Entry.from_nodes(index, nodes) for device, index in places.items()}
        missing = [device for device, entry in entries.items() if not (entry.exported and entry.device == device)]
        if missing:
            raise CycleFailed(f"pciback finished without exporting {', '.join(map(str, missing))}")

    def _recover(self, kind: CycleKind, add: Sequence[Sbdf], remove: Sequence[Sbdf], failure: Exception) -> Flow:
        """Undo a cycle that did not end well; returns only if it ended well after all meanwhile."""
        self.clock.extend(rollback.GRACE_SECONDS)
        states = states_of(read_states(self.access.store, self.domid))
        left = yield from rollback.ROLLBACKS[kind](self.access, self.domid, add)
        if left is None:
            return
        request = rollback.describe_request(add, remove)
        if isinstance(failure, DeadlinePassed):
            ends = "backend {}, frontend {}".format(*states)
            why = rollback.describe_timeout(self.name, kind, f"{ends}; {request}")
        else:
            why = f"{self.name}: {failure}, {request}"
        if left.guest_is_gone:
            self._forget_holder((*add, *remove))
        elif not left.rights_must_stay:
            if left.removals_done:
                yield from self._compact((*add, *remove))
                yield from self._release(remove)
            yield from forget(self.access, self.plan.domain, add)
            self._withdraw_rights(add, why)
        raise DomainFailed(f"{why}; {left.sentence}") from failure

    def _compact(self, gone: Collection[Sbdf]) -> Flow:
        def body(transaction: Transaction) -> Listed:
            backend = read_for_compaction(transaction, self.domid, gone)
            if backend is not None:
                transaction.apply(changes.compact(backend, gone))
            return Listed(removed=gone)

        yield from commit(self.access, self.plan.domain, body)

    def _dissolve(self, gone: Collection[Sbdf]) -> Flow:
        def body(transaction: Transaction) -> Listed:
            transaction.apply(changes.dissolve(self.domid))
            return Listed(removed=gone)

        yield from commit(self.access, self.plan.domain, body)

    def _await_kernel_gone(self) -> Flow:
        """dom0's kernel ignores a new connection while its device of the old one exists."""
        try:
            while self.access.sysfs.backend_device_exists(self.domid):
                yield Again(_KERNEL_LOOK_AGAIN)
        except DeadlinePassed:
            raise DomainFailed(
                f"{self.name}: dom0's kernel still holds the device pci-{self.domid}-0 of its closed connection; "
                "see xen.pci.repair"
            ) from None
