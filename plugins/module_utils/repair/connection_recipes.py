# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes for a connection: each brings both ends to rest, or the connection to its end.

Only entries and states are mended here, and libxl's stored configuration with them. Rights that are left over then
are found by the next diagnosis, after the entries are out of the guest's reach.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Mapping
from contextlib import suppress
from typing import Any, Callable

from ..apply import rollback
from ..apply.commit import Listed, commit
from ..apply.loop import NEXT_EVENT, Again, Clock, DeadlinePassed, Flow
from ..faults.diagnose import Finding
from ..faults.simulate import able_to_return
from ..faults.table import Recipe
from ..host.access import HostAccess
from ..host.xenstore import Transaction
from ..host.xenstore_nodes import read_connection, read_states, states_of
from ..model import connection_writes
from ..model import connection_writes as changes
from ..model.connection import PciConnection, backend_path, error_path, frontend_path
from ..model.connection_writes import Change
from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf
from ..values.states import SubState, XenbusState

_KERNEL_LOOK_AGAIN = 0.01
#: pciback answers a write within milliseconds unless it resets devices; then it is looked at again anyway.
_ANSWER_SECONDS = 2.0
#: Until the guest's xenbus has seen that the old connection is gone; nothing in dom0 shows it. A guest that sees
#: the new one too early keeps its old device and never connects (seen with 0.5 s on a slow host): then once more.
_GUEST_SECONDS = 2.0
_SLOW_GUEST_SECONDS = 10.0
_MOST_TRIES = 3

Repairing = Generator[Any, Any, "str | None"]


class _ConnectionRepair:
    """One domain's connection with what is known of it."""

    def __init__(self, access: HostAccess, host: Host, finding: Finding, clock: Clock) -> None:
        self.access = access
        self.host = host
        self.finding = finding
        self.clock = clock
        self.domid = finding.whose
        self.domain = host.domains.get(self.domid) or Domain(self.domid, "")

    def commit(
        self,
        body: Callable[[Transaction, PciConnection], Collection[Change]],
        listed: Collection[Sbdf] = (),
        keep: Collection[Sbdf] = (),
    ) -> Flow:
        """Apply what `body` makes of the connection as it is now, if there is one, under libxl's locks.

        What the connection listed, or has `listed` before, and does not list then goes from libxl's configuration, too;
        but not what is to be kept there.
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
        """Have libxl's configuration no longer list what the finding was about and the connection has lost."""
        yield from self.commit(lambda _transaction, _backend: (), listed=self.finding.devices)

    def note_to_come_back(self, devices: Collection[Sbdf]) -> None:
        """So that whoever comes after a run that is killed goes on with it; none: it is over."""
        note = self.access.notes.change_to_come_back(self.domid, devices)
        self.access.store.transaction(lambda transaction: transaction.apply([note]))

    def ends(self) -> tuple[XenbusState, XenbusState]:
        return states_of(read_states(self.access.store, self.domid))

    def kernel_gone(self) -> Flow:
        while self.access.sysfs.backend_device_exists(self.domid):
            yield Again(_KERNEL_LOOK_AGAIN)

    def rest(self, seconds: float, or_closed: bool = False) -> Flow:
        """Wait until both ends are connected, or the guest has closed; no error if they are not in time."""
        until = min(self.clock.deadline, time.monotonic() + seconds)
        while time.monotonic() < until:
            back, front = self.ends()
            if (back, front) == (XenbusState.CONNECTED, XenbusState.CONNECTED):
                return
            if or_closed and front is XenbusState.CLOSED:
                return
            yield Again(_KERNEL_LOOK_AGAIN)


def flow_of(access: HostAccess, host: Host, finding: Finding, clock: Clock) -> Flow:
    """The recipe of a finding as a flow for the event loop; returns what a person should know, or None."""
    job = _ConnectionRepair(access, host, finding, clock)
    token = f"xen.pci-repair-{job.domid}"
    paths = (backend_path(job.domid), f"{frontend_path(job.domid)}/state")
    try:
        for path in paths:
            access.store.watch(path, token)
        return (yield from CONNECTION_RECIPES[finding.required_recipe](job))
    finally:
        for path in paths:
            access.store.unwatch(path, token)


def _withdraw_or_restart(job: _ConnectionRepair) -> Repairing:
    """R1 and R3: what the engine does itself when its own cycle fails. Nothing is known of who began this one."""
    left = yield from rollback.reconfigure(job.access, job.domid, ())
    yield from job.rest(_ANSWER_SECONDS)
    yield from job.forget_unlisted()
    return left.sentence if left is not None and left.rights_must_stay else None


def _reopen(job: _ConnectionRepair) -> Repairing:
    left = yield from rollback.close(job.access, job.domid, ())
    return left.sentence if left is not None and left.rights_must_stay else None


def _skip_stale(job: _ConnectionRepair) -> Repairing:
    """R2, entry by entry, for as long as pciback stays in Reconfiguring."""
    stuck = (XenbusState.RECONFIGURING, XenbusState.RECONFIGURING)

    def body(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        return connection_writes.skip_stale(backend) if (backend.state, backend.frontend_state) == stuck else ()

    tries = len(job.finding.devices) + 1
    while job.ends() == stuck and tries > 0:
        tries -= 1
        yield from job.commit(body)
        yield from job.rest(_ANSWER_SECONDS)
    return None


def _nudge(job: _ConnectionRepair) -> Repairing:
    """Each end looks again at every write to the other's state, even of the same value."""

    def again(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        own = changes.Write(f"{backend_path(job.domid)}/state", str(backend.state.value))
        return [own, *connection_writes.ask_again(job.domid, backend.frontend_state)]

    def by_hand(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        """pciback believes that it has said Connected already (its cache): say it for it."""
        if (backend.state, backend.frontend_state) != (XenbusState.RECONFIGURED, XenbusState.CONNECTED):
            return ()
        return [changes.Write(f"{backend_path(job.domid)}/state", str(XenbusState.CONNECTED.value))]

    yield from job.commit(again)
    yield from job.rest(_ANSWER_SECONDS)
    yield from job.commit(by_hand)
    yield from job.rest(_ANSWER_SECONDS)
    return None


def _dissolve(job: _ConnectionRepair, to_come_back: Collection[Sbdf] = ()) -> Repairing:
    """Of a dead domain, of a finished close, or of a first connection that never came up."""

    def body(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        if backend.connected:
            return ()
        return [*changes.dissolve(job.domid), job.access.notes.change_to_come_back(job.domid, to_come_back)]

    yield from job.commit(body, keep=to_come_back)
    yield from job.kernel_gone()
    return None


def _close(job: _ConnectionRepair) -> Repairing:
    def body(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        return changes.close(job.domid) if backend.connected and not backend.entries else ()

    yield from job.commit(body)
    try:
        while job.ends()[1] is not XenbusState.CLOSED:
            yield NEXT_EVENT
    except DeadlinePassed:
        job.clock.extend(rollback.GRACE_SECONDS)
        yield from rollback.close(job.access, job.domid, ())
        return "the guest did not close its end in time; see whether it is paused or hung"
    return (yield from _dissolve(job))


def _end_unseen(job: _ConnectionRepair) -> Repairing:
    """dom0's kernel and often the guest go on with what xenstore has lost, such as all of backend/pci.

    The kernel looks after a device only at an event of its own directory (xenbus_dev_changed), so there must be one.
    To unbind its driver would leave the device on the bus, in the way of any other, and the guest with its devices.
    """

    def body(transaction: Transaction) -> Listed:
        if read_connection(transaction, job.domid) is None:
            transaction.apply(changes.restore_empty(job.domid, job.domain.name))
        return Listed()

    yield from commit(job.access, job.domain, body)
    guest_has_it = job.ends() == (XenbusState.CONNECTED, XenbusState.CONNECTED)
    return (yield from (_close(job) if guest_has_it else _dissolve(job)))


def _recreate(job: _ConnectionRepair) -> Repairing:
    """R4: the guest has lost its devices already. They come back as if they were plugged in anew."""
    devices = able_to_return(job.host, job.finding.devices)
    yield from _dissolve(job, to_come_back=devices)
    try:
        if devices and (yield from _connects_again(job, devices)):
            return None
    except DeadlinePassed:
        job.note_to_come_back(())  # nor would the next repair succeed, which can make them free
        raise
    job.note_to_come_back(())
    yield from job.forget_unlisted()
    return f"{job.domain.name} did not connect again in time and has lost them" if devices else None


def _connects_again(job: _ConnectionRepair, devices: Collection[Sbdf]) -> Generator[Any, Any, bool]:
    """Whether the guest takes the new connection; if not, that is gone again."""
    pause = _GUEST_SECONDS
    for _try in range(_MOST_TRIES):
        yield Again(pause)
        yield from _create(job, devices)
        # Whatever happens, time must be left for taking the connection and its rights back.
        yield from job.rest((job.clock.deadline - time.monotonic()) / 2, or_closed=True)
        if job.ends() == (XenbusState.CONNECTED, XenbusState.CONNECTED):
            return True
        # A guest with drivers waits 2 s at each access to configuration space that nobody answers any more (do_pci_op
        # of xen-pcifront), half a minute in all. It ends by writing Closed into what is new by then: now it is ready.
        is_ready = job.ends()[1] is XenbusState.CLOSED
        pause = 0.0 if is_ready else _SLOW_GUEST_SECONDS
        job.note_to_come_back(devices)
        yield from rollback.create(job.access, job.domid, devices)
    return False


def _create(job: _ConnectionRepair, devices: Collection[Sbdf]) -> Flow:
    def body(transaction: Transaction) -> Listed:
        if read_connection(transaction, job.domid) is None:
            transaction.remove(error_path(job.domid))
            transaction.apply(changes.create(job.domid, job.domain.name, list(devices)))
            transaction.apply([job.access.notes.change_to_come_back(job.domid, ())])
        return Listed(added=devices)

    yield from commit(job.access, job.domain, body)


def _forget_entries(job: _ConnectionRepair) -> Repairing:
    def body(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        unused = (SubState.TO_REMOVE, SubState.TO_ADD)
        gone = [entry.device for entry in backend.entries if entry.state in unused and entry.device is not None]
        return changes.compact(backend, gone) if backend.connected else ()

    yield from job.commit(body)
    return None


def _put_in_order(job: _ConnectionRepair) -> Repairing:
    def body(transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        nodes = transaction.children(backend_path(job.domid))
        return connection_writes.put_in_order(job.domid, nodes) if backend.connected else ()

    yield from job.commit(body)
    return None


def _detach(job: _ConnectionRepair) -> Repairing:
    """The guest lets go. If pciback does not have the device any more, the cycle gets stuck, which is mended next."""
    gone: Collection[Sbdf] = job.finding.devices

    def body(_transaction: Transaction, backend: PciConnection) -> Collection[Change]:
        if not backend.connected or backend.problems():
            return ()
        if set(backend.devices) <= set(gone):
            return changes.close(job.domid)
        return changes.reconfigure(backend, (), gone)

    yield from job.commit(body)
    with suppress(DeadlinePassed):
        yield Again(0.1)
        yield from job.rest(_ANSWER_SECONDS)
    return None


CONNECTION_RECIPES: Mapping[Recipe, Callable[[_ConnectionRepair], Repairing]] = {
    Recipe.WITHDRAW: _withdraw_or_restart,
    Recipe.RESTART: _withdraw_or_restart,
    Recipe.REOPEN: _reopen,
    Recipe.SKIP_STALE: _skip_stale,
    Recipe.NUDGE: _nudge,
    Recipe.DISSOLVE: _dissolve,
    Recipe.CLOSE: _close,
    Recipe.END_UNSEEN: _end_unseen,
    Recipe.RECREATE: _recreate,
    Recipe.FORGET_ENTRIES: _forget_entries,
    Recipe.PUT_IN_ORDER: _put_in_order,
    Recipe.DETACH: _detach,
}
