# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes for connections: each brings both ends to rest, or the connection to its end.

They repair entries and states, and libxl's stored configuration with them. Rights that are left over then are found by
the next diagnosis, after the entries are out of the guest's reach.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator
from contextlib import suppress
from typing import Any, Callable

from ..apply import rollback
from ..apply.commit import Listed, commit
from ..apply.loop import NEXT_EVENT, Again, DeadlinePassed, Flow
from ..faults.recipes import Recipe, implements
from ..faults.simulate import able_to_return
from ..faults.table import Fault
from ..faults.use import evidently_has, foreign, is_anothers, uses
from ..host.sysfs import SysfsError
from ..host.xenstore import Transaction
from ..host.xenstore_nodes import read_connection, read_states, states_of
from ..model import connection_writes as changes
from ..model.connection import PciConnection, backend_path, error_path, frontend_path
from ..model.device import PCIBACK
from ..model.domain import DomainKind
from ..model.store_changes import Change, Write
from ..values.address import Sbdf
from ..values.states import SubState, XenbusState
from .job import RepairJob

_KERNEL_LOOK_AGAIN = 0.01
#: pciback answers a write within milliseconds unless it resets devices; then it is looked at again anyway.
_ANSWER_SECONDS = 2.0
#: Until the guest's xenbus has seen that the old connection is gone; nothing in dom0 shows it. A guest that sees
#: the new one too early keeps its old device and never connects (seen with 0.5 s on a slow host): then once more.
_GUEST_SECONDS = 2.0
_SLOW_GUEST_SECONDS = 10.0
_MOST_TRIES = 3

#: Yields to the event loop; returns what a person should know, or None.
Repairing = Generator[Any, Any, "str | None"]


class ConnectionJob(RepairJob):
    """The repair of one domain's connection."""

    def commit(
        self,
        body: Callable[[Transaction, PciConnection], Collection[Change]],
        listed: Collection[Sbdf] = (),
        keep: Collection[Sbdf] = (),
    ) -> Flow:
        """Apply the changes that `body` derives from the connection as it is now, if there is one, under libxl's locks.

        Devices that the connection does not list afterwards also leave libxl's configuration: of those that it listed
        before and of `listed`, all but `keep`.
        """

        def whole(transaction: Transaction) -> Listed:
            before = read_connection(transaction, self.domid)
            if before is not None:
                self.access.notes.keep_lost_hold(transaction, before)
                transaction.apply(body(transaction, before))
            after = read_connection(transaction, self.domid)
            had = {*listed, *(before.devices if before else ())}
            return Listed(removed=had - {*keep, *(after.devices if after else ())})

        yield from commit(self.access, self.domain, whole)

    def forget_unlisted(self) -> Flow:
        """Have libxl's configuration no longer list devices of the finding that the connection has lost."""
        yield from self.commit(lambda _transaction, _backend: (), listed=self.devices)

    def note_to_come_back(self, devices: Collection[Sbdf]) -> None:
        """Note the devices that the domain is to have again, for the run after a killed one; none: it is over."""
        note = self.access.notes.change_to_come_back(self.domid, devices)
        self.access.store.transaction(lambda transaction: transaction.apply([note]))

    def run_by_guest(self, devices: Collection[Sbdf]) -> set[Sbdf]:
        """Find those of the devices that pciback holds and a guest runs now; pciback disables what it takes."""
        if self.domain.serves is not None:  # the device model of its guest has just said so
            return {device for device in devices if uses(self.host, self.domain, device)}
        own = [device for device in devices if not is_anothers(self.host, self.domain, device)]
        return {device for device in own if self._is_run(device)}

    def runs_all(self, backend: PciConnection) -> bool:
        """Whether a driver in the guest runs each device of the connection, so that the guest's kernel is connected."""
        devices = [entry.device for entry in backend.entries if entry.exported and entry.device is not None]
        return len(devices) == len(backend.entries) == len(self.run_by_guest(devices)) > 0

    def _is_run(self, device: Sbdf) -> bool:
        try:
            sysfs = self.access.sysfs
            return sysfs.driver_of(device) == PCIBACK and sysfs.config_flags(device).driver_is_active
        except SysfsError:
            return False

    def ends(self) -> tuple[XenbusState, XenbusState]:
        """Read the states of both ends now, backend first."""
        return states_of(read_states(self.access.store, self.domid))

    def await_kernel(self) -> Flow:
        """Wait until dom0's kernel has removed its end."""
        while self.access.sysfs.backend_device_exists(self.domid):
            yield Again(_KERNEL_LOOK_AGAIN)

    def await_rest(self, seconds: float, or_closed: bool = False) -> Flow:
        """Wait until both ends are connected, or the guest has closed; no error if they are not in time."""
        until = min(self.clock.deadline, time.monotonic() + seconds)
        while time.monotonic() < until:
            back, front = self.ends()
            if (back, front) == (XenbusState.CONNECTED, XenbusState.CONNECTED):
                return
            if or_closed and front is XenbusState.CLOSED:
                return
            yield Again(_KERNEL_LOOK_AGAIN)


CONNECTION_RECIPES: dict[Recipe, Callable[[ConnectionJob], Repairing]] = {}


def repair_connection(repair: RepairJob) -> Repairing:
    """Carry out the recipe of a finding, as a flow for the event loop."""
    job = ConnectionJob(repair.access, repair.host, repair.finding, repair.clock)
    paths = (backend_path(job.domid), f"{frontend_path(job.domid)}/state")
    try:
        job.access.store.watch(paths, job.token)
        return (yield from CONNECTION_RECIPES[job.recipe](job))
    finally:
        job.access.store.unwatch(paths, job.token)


@implements(CONNECTION_RECIPES, Recipe.RESTART)
def _restart(job: ConnectionJob) -> Repairing:
    """Have both ends go through an empty cycle. A guest that only seems to wait for one does not answer it."""
    yield from job.commit(lambda _transaction, backend: rollback.restart_of(backend, ()))
    yield from job.await_rest(_ANSWER_SECONDS)
    yield from _connect_by_hand(job)
    return (yield from _withdraw(job))


@implements(CONNECTION_RECIPES, Recipe.WITHDRAW)
def _withdraw(job: ConnectionJob) -> Repairing:
    """Do what a run of ours does when its own cycle fails. Who began this one is not known."""
    left = yield from rollback.reconfigure(job.access, job.domid, ())
    yield from job.await_rest(_ANSWER_SECONDS)
    yield from job.forget_unlisted()
    return left.sentence if left is not None and left.rights_must_stay else None


@implements(CONNECTION_RECIPES, Recipe.REOPEN)
def _reopen(job: ConnectionJob) -> Repairing:
    left = yield from rollback.close(job.access, job.domid, ())
    return left.sentence if left is not None and left.rights_must_stay else None


@implements(CONNECTION_RECIPES, Recipe.SKIP_STALE)
def _skip_stale(job: ConnectionJob) -> Repairing:
    """Have pciback look once more; then drop entry by entry, for as long as it stays in Reconfiguring.

    It may have missed the guest's answer only. An entry that is dropped then is one that pciback still has, and the
    guest finds the device again, which may have lost its rights by now.
    """
    stuck = (XenbusState.RECONFIGURING, XenbusState.RECONFIGURING)

    def again(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        return changes.ask_again(job.domid, stuck[1]) if backend.ends == stuck else ()

    def skip(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        return changes.skip_stale(backend, job.run_by_guest(backend.devices)) if backend.ends == stuck else ()

    for body in (again, *([skip] * (len(job.devices) + 1))):
        if job.ends() != stuck:
            break
        yield from job.commit(body)
        yield from job.await_rest(_ANSWER_SECONDS)
    return None


@implements(CONNECTION_RECIPES, Recipe.NUDGE)
def _nudge(job: ConnectionJob) -> Repairing:
    """Write both states again: each end looks at every write to the other's state, even of the same value."""

    def again(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        own = Write(f"{backend_path(job.domid)}/state", str(backend.state.value))
        return [own, *changes.ask_again(job.domid, backend.frontend_state)]

    yield from job.commit(again)
    yield from job.await_rest(_ANSWER_SECONDS)
    yield from _connect_by_hand(job)
    return None


def _connect_by_hand(job: ConnectionJob) -> Flow:
    """Write Connected in place of an end that takes it for written already: its cache says so (xenbus_switch_state).

    Of the guest that is known only if it runs all devices of the connection. One that has still to answer does not.
    """
    yield from job.commit(lambda _transaction, backend: changes.finish_by_hand(backend, job.runs_all(backend)))
    yield from job.await_rest(_ANSWER_SECONDS)


@implements(CONNECTION_RECIPES, Recipe.CONNECT_AGAIN)
def _connect_again(job: ConnectionJob) -> Repairing:
    """Correct the states of a connection that both kernels have, if pciback still has it."""
    if not job.access.sysfs.backend_device_exists(job.domid):
        return "dom0's kernel does not have the connection"
    yield from job.commit(lambda _transaction, backend: changes.connect_again(backend, job.runs_all(backend)))
    yield from job.await_rest(_ANSWER_SECONDS)
    return None


@implements(CONNECTION_RECIPES, Recipe.KEEP_ENTRIES)
def _keep_entries(job: ConnectionJob) -> Repairing:
    """Write the sub-states again of devices that the guest still runs; what it has released by now is another fault."""

    def body(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        run = job.run_by_guest(job.devices)
        return changes.keep(backend, [one for one in backend.entries if one.device in run]) if backend.connected else ()

    yield from job.commit(body)
    return None


@implements(CONNECTION_RECIPES, Recipe.DISSOLVE)
def _dissolve(job: ConnectionJob) -> Repairing:
    """Remove the connection of a dead domain, one that is closed, or a first one that never came up."""
    return (yield from _remove_connection(job))


def _remove_connection(job: ConnectionJob, to_come_back: Collection[Sbdf] = ()) -> Repairing:
    def body(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        # What a dead domain has left may look connected; and a domain may have been given its number since.
        stays = backend.connected or job.finding.fault is Fault.ORPHANED_CONNECTION
        if stays and job.access.hypervisor.has(job.domid):
            return ()
        return [*changes.dissolve(job.domid), job.access.notes.change_to_come_back(job.domid, to_come_back)]

    yield from job.commit(body, keep=to_come_back)
    yield from job.await_kernel()
    return None


@implements(CONNECTION_RECIPES, Recipe.CLOSE)
def _close(job: ConnectionJob) -> Repairing:
    def body(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        return changes.close(job.domid) if backend.connected and not backend.entries else ()

    yield from job.commit(body)
    try:
        while job.ends()[1] is not XenbusState.CLOSED:
            yield NEXT_EVENT
    except DeadlinePassed:
        job.clock.extend(rollback.GRACE_SECONDS)
        yield from rollback.close(job.access, job.domid, ())
        return "the guest did not close its end in time; check whether it is paused or hung"
    return (yield from _remove_connection(job))


@implements(CONNECTION_RECIPES, Recipe.END_LOST)
def _end_lost(job: ConnectionJob) -> Repairing:
    """End a connection that xenstore has lost, such as all of backend/pci, and dom0's kernel and often the guest have.

    The kernel looks after a device only at an event of its own directory (xenbus_dev_changed), so there must be one.
    To unbind its driver would leave the device on the bus, in the way of any other, and the guest with its devices.
    """

    def body(transaction: Transaction) -> Listed:
        if read_connection(transaction, job.domid) is None:
            transaction.apply(changes.restore_empty(job.domid, job.domain.name))
        return Listed()

    yield from commit(job.access, job.domain, body)
    guest_has_it = job.ends() == (XenbusState.CONNECTED, XenbusState.CONNECTED)
    return (yield from (_close(job) if guest_has_it else _remove_connection(job)))


@implements(CONNECTION_RECIPES, Recipe.RECREATE)
def _recreate(job: ConnectionJob) -> Repairing:
    """Give a guest that has lost its devices already the same ones again, as if they were plugged in now."""
    devices = able_to_return(job.host, job.devices)
    yield from _remove_connection(job, to_come_back=devices)
    try:
        if devices and (yield from _connects_again(job, devices)):
            return None
    except DeadlinePassed:
        job.note_to_come_back(())  # nor would the next repair succeed, which can make them free
        raise
    job.note_to_come_back(())
    yield from job.forget_unlisted()
    return f"{job.domain.called} did not connect again in time and has lost them" if devices else None


def _connects_again(job: ConnectionJob, devices: Collection[Sbdf]) -> Generator[Any, Any, bool]:
    """Whether the guest takes a new connection with these devices; if not, that is removed again."""
    pause = _GUEST_SECONDS
    for _try in range(_MOST_TRIES):
        yield Again(pause)
        yield from _create(job, devices)
        # Whatever happens, time must be left for taking the connection and its rights back.
        yield from job.await_rest((job.clock.deadline - time.monotonic()) / 2, or_closed=True)
        if job.ends() == (XenbusState.CONNECTED, XenbusState.CONNECTED):
            return True
        # A guest with drivers waits 2 s at each access to configuration space that is not answered any more (do_pci_op
        # of xen-pcifront), half a minute in all. It ends by writing Closed into what is new by then: now it is ready.
        is_ready = job.ends()[1] is XenbusState.CLOSED
        pause = 0.0 if is_ready else _SLOW_GUEST_SECONDS
        job.note_to_come_back(devices)
        yield from rollback.create(job.access, job.domid, devices)
    return False


def _create(job: ConnectionJob, devices: Collection[Sbdf]) -> Flow:
    def body(transaction: Transaction) -> Listed:
        if read_connection(transaction, job.domid) is None:
            transaction.remove(error_path(job.domid))
            transaction.apply(changes.create(job.domid, job.domain.name, list(devices), job.domain.configured_options))
            transaction.apply([job.access.notes.change_to_come_back(job.domid, ())])
        return Listed(added=devices)

    yield from commit(job.access, job.domain, body)


@implements(CONNECTION_RECIPES, Recipe.FORGET_ENTRIES)
def _forget_entries(job: ConnectionJob) -> Repairing:
    def body(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        unused = (SubState.TO_REMOVE, SubState.TO_ADD)
        gone = {entry.device for entry in backend.entries if entry.state in unused and entry.device in job.devices}
        gone -= job.run_by_guest(job.devices)
        return changes.compact(backend, gone) if backend.connected else ()

    yield from job.commit(body)
    return None


@implements(CONNECTION_RECIPES, Recipe.PUT_IN_ORDER)
def _put_in_order(job: ConnectionJob) -> Repairing:
    by_handshake = job.domain.kind is DomainKind.PV
    has = () if job.domain.own_connection is None else evidently_has(job.host, job.domain, job.domain.own_connection)
    has_not = foreign(job.host, job.domain)
    model = job.domain.device_model
    nothing_left = not by_handshake and not has and model is not None and model.plugged == {}

    def body(transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        if nothing_left:  # libxl removes the connection of an HVM guest with its last device
            return changes.dissolve(job.domid)
        nodes = transaction.children(backend_path(job.domid))
        at_rest = backend.connected or not by_handshake
        return changes.put_in_order(job.domid, nodes, has, has_not, by_handshake) if at_rest else ()

    yield from job.commit(body, keep=has)
    if nothing_left:
        yield from job.await_kernel()
    return None


@implements(CONNECTION_RECIPES, Recipe.DETACH)
def _detach(job: ConnectionJob) -> Repairing:
    """Have the guest give the devices back.

    Where pciback does not have the device any more, the cycle gets stuck, which is the next fault to repair.
    """
    gone: Collection[Sbdf] = job.devices

    def body(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        if not backend.connected or backend.problems():
            return ()
        if set(backend.devices) <= set(gone):
            return changes.close(job.domid)
        return [*changes.correct_places(backend, gone), *changes.reconfigure(backend, (), gone)]

    yield from job.commit(body)
    with suppress(DeadlinePassed):
        yield Again(0.1)
        yield from job.await_rest(_ANSWER_SECONDS)
    return None
