# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take back a handshake that did not end well: xenstore first, so that no right goes too early.

A guest that wakes up later must never finish a cycle whose rights are gone: it would touch
memory that it may no longer map, and oops. So the entries are withdrawn while the guest
provably has not moved (its state is read in the same transaction), and only then come the rights.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Callable, Optional

from ..host.access import HostAccess
from ..host.xenstore import Transaction
from ..host.xenstore_nodes import is_recorded, read_connection, read_states, states_of
from ..model import connection_writes as changes
from ..model.connection import PciConnection
from ..model.store_changes import Change
from ..values.address import Sbdf
from ..values.states import XenbusState
from .loop import NEXT_EVENT, Again, DeadlinePassed

#: Time that taking back may need on top of the run's own: a few transactions and one empty cycle.
GRACE_SECONDS = 10.0
_KERNEL_LOOK_AGAIN = 0.01
_LOOK_FOR_END = 0.1


class CycleKind(Enum):
    """What a handshake does to the connection as a whole."""

    CREATE = "create"
    RECONFIGURE = "reconfigure"
    CLOSE = "close"


@dataclass(frozen=True)
class RollbackOutcome:
    """What a failed handshake leaves."""

    #: The same for a person.
    sentence: str
    #: The guest may still use the devices.
    rights_must_stay: bool = False
    #: Only the adds could be taken back; the guest had released the others before.
    removals_done: bool = False
    #: The guest died, and Xen has taken all its rights and quarantined its devices.
    guest_is_gone: bool = False


#: None: the handshake ended well after all.
Rollback = Generator[Any, Any, Optional[RollbackOutcome]]


class _Step(Enum):
    """What one look at the connection found or did."""

    DONE = "done"
    DEAD = "dead"
    GONE = "gone"
    WITHDRAWN = "withdrawn"
    INCOMPLETE = "incomplete"
    RESTARTED = "restarted"
    MOVING = "moving"


_ENDINGS: dict[_Step, RollbackOutcome | None] = {
    _Step.DONE: None,
    _Step.DEAD: RollbackOutcome(
        "Xen has its devices back, and nothing is left; run again if it comes back", guest_is_gone=True
    ),
    _Step.GONE: RollbackOutcome("its connection is gone, the devices are free again"),
    _Step.WITHDRAWN: RollbackOutcome("the change was taken back, and the guest has the devices that it had before"),
    _Step.INCOMPLETE: RollbackOutcome(
        "the connection is up again, but with entries that pciback has not exported; see xen.pci.repair",
        rights_must_stay=True,
    ),
}
_ADDS_TAKEN_BACK = RollbackOutcome("nothing was added, what was to be removed is removed", removals_done=True)
BOTH_CONNECTED = (XenbusState.CONNECTED, XenbusState.CONNECTED)
#: pciback gave the cycle up; or it was withdrawn, and the guest, which had read it before, answers now.
_ANSWERED_TOO_LATE = (
    (XenbusState.CLOSING, XenbusState.RECONFIGURING),
    (XenbusState.CONNECTED, XenbusState.RECONFIGURING),
)
_BOTH_CLOSED = (XenbusState.CLOSED, XenbusState.CLOSED)


def create(access: HostAccess, domid: int, _add: Collection[Sbdf]) -> Rollback:
    """Remove a first connection that never came up."""

    def look(transaction: Transaction) -> _Step:
        backend = read_connection(transaction, domid)
        if backend is not None and backend.connected and all(entry.exported for entry in backend.entries):
            return _Step.DONE
        access.notes.keep_lost_hold(transaction, backend)
        transaction.apply(changes.dissolve(domid))
        return _Step.WITHDRAWN if access.hypervisor.has(domid) else _Step.DEAD

    step = access.store.transaction(look)
    if step is not _Step.WITHDRAWN:
        return _ENDINGS[step]
    try:
        while access.sysfs.backend_device_exists(domid):
            yield Again(_KERNEL_LOOK_AGAIN)
    except DeadlinePassed:
        return RollbackOutcome(
            f"the connection was removed, but dom0's kernel still holds its device pci-{domid}-0", rights_must_stay=True
        )
    return RollbackOutcome("the connection was removed again and nothing is left behind")


def reconfigure(access: HostAccess, domid: int, add: Collection[Sbdf]) -> Rollback:
    """Withdraw an unanswered cycle, or lead both ends out of one that pciback gave up."""

    def look(transaction: Transaction, backend: PciConnection) -> _Step:
        ends = backend.state, backend.frontend_state
        if ends == BOTH_CONNECTED:
            exported = {entry.device for entry in backend.entries if entry.exported}
            return _Step.DONE if exported.issuperset(add) else _Step.INCOMPLETE
        if backend.unanswered:
            transaction.apply(changes.withdraw(backend))
            return _Step.WITHDRAWN
        restart = restart_of(backend, add)
        if restart:
            transaction.apply(restart)
            return _Step.RESTARTED
        return _Step.MOVING

    return _until_ended(access, domid, look)


def restart_of(backend: PciConnection, add: Collection[Sbdf]) -> list[Change]:
    """Lead both ends out of a cycle that pciback gave up, or that was answered after it had been withdrawn."""
    return changes.restart_failed(backend, add) if backend.ends in _ANSWERED_TOO_LATE else []


def close(access: HostAccess, domid: int, _add: Collection[Sbdf]) -> Rollback:
    """Reopen a connection that the guest did not close."""

    def look(transaction: Transaction, backend: PciConnection) -> _Step:
        ends = backend.state, backend.frontend_state
        if ends == _BOTH_CLOSED:
            return _Step.DONE
        if ends == (XenbusState.CLOSING, XenbusState.CONNECTED):
            transaction.apply(changes.reopen(domid))
            return _Step.WITHDRAWN
        return _Step.MOVING

    return _until_ended(access, domid, look)


def _until_ended(access: HostAccess, domid: int, look: Callable[[Transaction, PciConnection], _Step]) -> Rollback:
    """Look at the connection, and again whenever it changes, until it has come to an end."""

    def body(transaction: Transaction) -> _Step:
        backend = read_connection(transaction, domid)
        access.notes.keep_lost_hold(transaction, backend)
        if not access.hypervisor.has(domid):
            transaction.apply(changes.dissolve(domid))
            return _Step.DEAD
        return _Step.GONE if backend is None else look(transaction, backend)

    restarted = False
    while True:
        step = access.store.transaction(body)
        if restarted and step in (_Step.DONE, _Step.INCOMPLETE):
            return _ADDS_TAKEN_BACK
        if step in _ENDINGS:
            return _ENDINGS[step]
        restarted = restarted or step is _Step.RESTARTED
        try:
            # Xen says nothing when it ends a domain, which is after the toolstack has taken it out of xenstore.
            yield NEXT_EVENT if is_recorded(access.store, domid) else Again(_LOOK_FOR_END)
        except DeadlinePassed:
            states = states_of(read_states(access.store, domid))
            return RollbackOutcome(_not_taken_back(*states), rights_must_stay=True)


def _not_taken_back(backend: XenbusState, frontend: XenbusState) -> str:
    """Say what is left, and what to do: xl takes the devices of a guest that has shut down, 10 s for each."""
    ends = f"(backend {backend}, frontend {frontend})"
    advice = "repair the connection or restart the guest"
    if frontend.is_ending:
        advice = f"if the guest shuts down, wait until xl has destroyed it, or else {advice}"
    return f"the change could not be taken back {ends}, so its devices keep their rights; {advice}"


#: How each kind of cycle is taken back.
ROLLBACKS: dict[CycleKind, Callable[[HostAccess, int, Collection[Sbdf]], Rollback]] = {
    CycleKind.CREATE: create,
    CycleKind.RECONFIGURE: reconfigure,
    CycleKind.CLOSE: close,
}


def describe_request(add: Sequence[Sbdf], remove: Sequence[Sbdf]) -> str:
    """Say what a change was to do."""
    requests = [
        f"{verb} {', '.join(map(str, devices))}" for verb, devices in (("add", add), ("remove", remove)) if devices
    ]
    return f"asked to {' and to '.join(requests) or 'change nothing'}"


def describe_timeout(name: str, kind: CycleKind, ends: str) -> str:
    """Why a handshake was not over in time, in words."""
    if kind is CycleKind.CREATE:
        return (
            f"guest {name} did not connect in time ({ends}): it has no PCI frontend that answers; "
            "load xen-pcifront in the guest, or check whether it is paused or hung, or shuts down"
        )
    return f"guest {name} did not answer in time ({ends}): check whether it is paused or hung, or shuts down"
