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

from ..decisions.diagnose import Finding, Signs
from ..decisions.faults import Recipe
from ..decisions.mended import able_to_return
from ..interfaces.notes import note_lost_hold, note_to_come_back
from ..interfaces.xenstore import Transaction
from ..model import backend_changes as changes
from ..model import backend_repair
from ..model.backend import Backend, backend_path, error_path, frontend_path
from ..model.backend_changes import Change
from ..model.host import Domain
from ..values.address import Sbdf
from ..values.states import SubState, XenbusState
from . import take_back
from .commit import commit
from .loop import NEXT_EVENT, Again, Clock, DeadlinePassed, Flow
from .observe import read_backend
from .outside import Outside

_KERNEL_LOOK_AGAIN = 0.01
#: pciback answers a write within milliseconds unless it resets devices; then it is looked at again anyway.
_ANSWER_SECONDS = 2.0
#: Until the guest's xenbus has seen that the old connection is gone; nothing in dom0 shows it. A guest that sees
#: the new one too early keeps its old device and never connects (seen with 0.5 s on a slow host): then once more.
_GUEST_SECONDS = 2.0
_SLOW_GUEST_SECONDS = 10.0
_MOST_TRIES = 3

Mending = Generator[Any, Any, "str | None"]


class _Patient:
    """One domain's connection with what is known of it."""

    def __init__(self, outside: Outside, signs: Signs, finding: Finding, clock: Clock) -> None:
        self.outside = outside
        self.signs = signs
        self.finding = finding
        self.clock = clock
        self.domid = finding.whose
        self.domain = signs.host.domains.get(self.domid) or Domain(self.domid, "")

    def commit(
        self,
        body: Callable[[Transaction, Backend], Collection[Change]],
        listed: Collection[Sbdf] = (),
        keep: Collection[Sbdf] = (),
    ) -> Flow:
        """Apply what `body` makes of the connection as it is now, if there is one, under libxl's locks.

        What the connection listed, or has `listed` before, and does not list then goes from libxl's configuration, too;
        but not what is to be kept there.
        """
        gone: set[Sbdf] = set()

        def whole(transaction: Transaction) -> None:
            before = read_backend(transaction, self.domid)
            if before is not None:
                note_lost_hold(transaction, before)
                transaction.apply(body(transaction, before))
            after = read_backend(transaction, self.domid)
            gone.clear()
            gone.update({*listed, *(before.devices if before else ())} - {*keep, *(after.devices if after else ())})

        yield from commit(self.outside.store, self.domain, whole, remove=gone)

    def forget_unlisted(self) -> Flow:
        """Have libxl's configuration no longer list what the finding was about and the connection has lost."""
        yield from self.commit(lambda _transaction, _backend: (), listed=self.finding.devices)

    def note_to_come_back(self, devices: Collection[Sbdf]) -> None:
        """So that whoever comes after a run that is killed goes on with it; none: it is over."""
        note = note_to_come_back(self.domid, devices)
        self.outside.store.transaction(lambda transaction: transaction.apply([note]))

    def ends(self) -> tuple[XenbusState, XenbusState]:
        return take_back.states_of(take_back.read_states(self.outside.store, self.domid))

    def kernel_gone(self) -> Flow:
        while self.outside.sysfs.backend_device_exists(self.domid):
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


def flow_of(outside: Outside, signs: Signs, finding: Finding, clock: Clock) -> Flow:
    """The recipe of a finding as a flow for the event loop; returns what a person should know, or None."""
    patient = _Patient(outside, signs, finding, clock)
    token = f"xen.pci-repair-{patient.domid}"
    paths = (backend_path(patient.domid), f"{frontend_path(patient.domid)}/state")
    try:
        for path in paths:
            outside.store.watch(path, token)
        return (yield from FLOWS[finding.prescription](patient))
    finally:
        for path in paths:
            outside.store.unwatch(path, token)


def _withdraw_or_restart(patient: _Patient) -> Mending:
    """R1 and R3: what the engine does itself when its own cycle fails. Nothing is known of who began this one."""
    left = yield from take_back.reconfigure(patient.outside, patient.domid, ())
    yield from patient.rest(_ANSWER_SECONDS)
    yield from patient.forget_unlisted()
    return left.sentence if left is not None and left.rights_must_stay else None


def _reopen(patient: _Patient) -> Mending:
    left = yield from take_back.close(patient.outside, patient.domid, ())
    return left.sentence if left is not None and left.rights_must_stay else None


def _skip_stale(patient: _Patient) -> Mending:
    """R2, entry by entry, for as long as pciback stays in Reconfiguring."""
    stuck = (XenbusState.RECONFIGURING, XenbusState.RECONFIGURING)

    def body(_transaction: Transaction, backend: Backend) -> Collection[Change]:
        return backend_repair.skip_stale(backend) if (backend.state, backend.frontend_state) == stuck else ()

    tries = len(patient.finding.devices) + 1
    while patient.ends() == stuck and tries > 0:
        tries -= 1
        yield from patient.commit(body)
        yield from patient.rest(_ANSWER_SECONDS)
    return None


def _nudge(patient: _Patient) -> Mending:
    """Each end looks again at every write to the other's state, even of the same value."""

    def again(_transaction: Transaction, backend: Backend) -> Collection[Change]:
        own = changes.Write(f"{backend_path(patient.domid)}/state", str(backend.state.value))
        return [own, *backend_repair.ask_again(patient.domid, backend.frontend_state)]

    def by_hand(_transaction: Transaction, backend: Backend) -> Collection[Change]:
        """pciback believes that it has said Connected already (its cache): say it for it."""
        if (backend.state, backend.frontend_state) != (XenbusState.RECONFIGURED, XenbusState.CONNECTED):
            return ()
        return [changes.Write(f"{backend_path(patient.domid)}/state", str(XenbusState.CONNECTED.value))]

    yield from patient.commit(again)
    yield from patient.rest(_ANSWER_SECONDS)
    yield from patient.commit(by_hand)
    yield from patient.rest(_ANSWER_SECONDS)
    return None


def _dissolve(patient: _Patient, to_come_back: Collection[Sbdf] = ()) -> Mending:
    """Of a dead domain, of a finished close, or of a first connection that never came up."""

    def body(_transaction: Transaction, backend: Backend) -> Collection[Change]:
        if backend.connected:
            return ()
        return [*changes.dissolve(patient.domid), note_to_come_back(patient.domid, to_come_back)]

    yield from patient.commit(body, keep=to_come_back)
    yield from patient.kernel_gone()
    return None


def _close(patient: _Patient) -> Mending:
    def body(_transaction: Transaction, backend: Backend) -> Collection[Change]:
        return changes.close(patient.domid) if backend.connected and not backend.entries else ()

    yield from patient.commit(body)
    try:
        while patient.ends()[1] is not XenbusState.CLOSED:
            yield NEXT_EVENT
    except DeadlinePassed:
        patient.clock.extend(take_back.GRACE_SECONDS)
        yield from take_back.close(patient.outside, patient.domid, ())
        return "the guest did not close its end in time; see whether it is paused or hung"
    return (yield from _dissolve(patient))


def _end_unseen(patient: _Patient) -> Mending:
    """dom0's kernel and often the guest go on with what xenstore has lost, such as all of backend/pci.

    The kernel looks after a device only at an event of its own directory (xenbus_dev_changed), so there must be one.
    To unbind its driver would leave the device on the bus, in the way of any other, and the guest with its devices.
    """

    def body(transaction: Transaction) -> None:
        if read_backend(transaction, patient.domid) is None:
            transaction.apply(changes.restore_empty(patient.domid, patient.domain.name))

    yield from commit(patient.outside.store, patient.domain, body)
    guest_has_it = patient.ends() == (XenbusState.CONNECTED, XenbusState.CONNECTED)
    return (yield from (_close(patient) if guest_has_it else _dissolve(patient)))


def _recreate(patient: _Patient) -> Mending:
    """R4: the guest has lost its devices already. They come back as if they were plugged in anew."""
    devices = able_to_return(patient.signs.host, patient.finding.devices)
    yield from _dissolve(patient, to_come_back=devices)
    try:
        if devices and (yield from _connects_again(patient, devices)):
            return None
    except DeadlinePassed:
        patient.note_to_come_back(())  # nor would the next repair succeed, which can make them free
        raise
    patient.note_to_come_back(())
    yield from patient.forget_unlisted()
    return f"{patient.domain.name} did not connect again in time and has lost them" if devices else None


def _connects_again(patient: _Patient, devices: Collection[Sbdf]) -> Generator[Any, Any, bool]:
    """Whether the guest takes the new connection; if not, that is gone again."""
    pause = _GUEST_SECONDS
    for _try in range(_MOST_TRIES):
        yield Again(pause)
        yield from _create(patient, devices)
        # Whatever happens, time must be left for taking the connection and its rights back.
        yield from patient.rest((patient.clock.deadline - time.monotonic()) / 2, or_closed=True)
        if patient.ends() == (XenbusState.CONNECTED, XenbusState.CONNECTED):
            return True
        # A guest with drivers waits 2 s at each access to configuration space that nobody answers any more (do_pci_op
        # of xen-pcifront), half a minute in all. It ends by writing Closed into what is new by then: now it is ready.
        is_ready = patient.ends()[1] is XenbusState.CLOSED
        pause = 0.0 if is_ready else _SLOW_GUEST_SECONDS
        patient.note_to_come_back(devices)
        yield from take_back.create(patient.outside, patient.domid, devices)
    return False


def _create(patient: _Patient, devices: Collection[Sbdf]) -> Flow:
    def body(transaction: Transaction) -> None:
        if read_backend(transaction, patient.domid) is None:
            transaction.remove(error_path(patient.domid))
            transaction.apply(changes.create(patient.domid, patient.domain.name, list(devices)))
            transaction.apply([note_to_come_back(patient.domid, ())])

    yield from commit(patient.outside.store, patient.domain, body, add=devices)


def _forget_entries(patient: _Patient) -> Mending:
    def body(_transaction: Transaction, backend: Backend) -> Collection[Change]:
        unused = (SubState.TO_REMOVE, SubState.TO_ADD)
        gone = [entry.device for entry in backend.entries if entry.state in unused and entry.device is not None]
        return changes.compact(backend, gone) if backend.connected else ()

    yield from patient.commit(body)
    return None


def _put_in_order(patient: _Patient) -> Mending:
    def body(transaction: Transaction, backend: Backend) -> Collection[Change]:
        nodes = transaction.children(backend_path(patient.domid))
        return backend_repair.put_in_order(patient.domid, nodes) if backend.connected else ()

    yield from patient.commit(body)
    return None


def _detach(patient: _Patient) -> Mending:
    """The guest lets go. If pciback does not have the device any more, the cycle gets stuck, which is mended next."""
    gone: Collection[Sbdf] = patient.finding.devices

    def body(_transaction: Transaction, backend: Backend) -> Collection[Change]:
        if not backend.connected or backend.problems():
            return ()
        if set(backend.devices) <= set(gone):
            return changes.close(patient.domid)
        return changes.reconfigure(backend, (), gone)

    yield from patient.commit(body)
    with suppress(DeadlinePassed):
        yield Again(0.1)
        yield from patient.rest(_ANSWER_SECONDS)
    return None


FLOWS: Mapping[Recipe, Callable[[_Patient], Mending]] = {
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
