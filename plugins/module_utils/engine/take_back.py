# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking back a handshake that did not end well: xenstore first, so that no right goes too early.

A guest that wakes up later must never finish a cycle whose rights are gone: it would touch
memory that it may no longer map, and oops. So the entries are withdrawn while the guest
provably has not moved (its state is read in the same transaction), and only then come the rights.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ..interfaces.xenstore import Transaction, XenStore
from ..model import backend_changes as changes
from ..model.backend import backend_path, frontend_path
from ..values.address import Sbdf
from ..values.states import XenbusState, parse_state
from .loop import NEXT_EVENT, Again, DeadlinePassed
from .observe import read_backend
from .outside import Outside

#: Time that taking back may need on top of the run's own: a few transactions and one empty cycle.
GRACE_SECONDS = 10.0
_KERNEL_LOOK_AGAIN = 0.01


@dataclass(frozen=True)
class Left:
    """What a failed handshake leaves.

    `rights_must_stay`: the guest may still use the devices. `removals_done`: only the adds could
    be taken back, the guest had let go of the others before.
    """

    sentence: str
    rights_must_stay: bool = False
    removals_done: bool = False


#: None: the handshake ended well after all.
TakeBack = Generator[Any, Any, Optional[Left]]

_AS_BEFORE = Left("the change was taken back, and the guest has the devices that it had before")


def create(outside: Outside, domid: int, _add: Collection[Sbdf]) -> TakeBack:
    """Remove a first connection that never came up."""

    def body(transaction: Transaction) -> bool:
        backend = read_backend(transaction, domid)
        if backend is not None and backend.connected and all(entry.exported for entry in backend.entries):
            return True
        transaction.apply(changes.dissolve(domid))
        return False

    if outside.store.transaction(body):
        return None
    try:
        while outside.sysfs.backend_device_exists(domid):
            yield Again(_KERNEL_LOOK_AGAIN)
    except DeadlinePassed:
        return Left(
            f"the connection was removed, but dom0's kernel still holds its device pci-{domid}-0", rights_must_stay=True
        )
    return Left("the connection was removed again and nothing is left behind")


def reconfigure(outside: Outside, domid: int, add: Collection[Sbdf]) -> TakeBack:
    """Withdraw an unanswered cycle, or lead both ends out of one that pciback gave up."""

    def body(transaction: Transaction) -> str:
        backend = read_backend(transaction, domid)
        if backend is None:
            return "gone"
        ends = backend.state, backend.frontend_state
        if ends == _BOTH_CONNECTED:
            exported = {entry.device for entry in backend.entries if entry.exported}
            return "done" if exported.issuperset(add) else "incomplete"
        if backend.state is XenbusState.RECONFIGURING and backend.frontend_state in _NOT_MOVED:
            transaction.apply(changes.withdraw(backend))
            return "withdrawn"
        if ends == (XenbusState.CLOSING, XenbusState.RECONFIGURING):
            transaction.apply(changes.restart_failed(backend, add))
            return "restarted"
        return "moving"

    restarted = False
    while True:
        step = outside.store.transaction(body)
        restarted = restarted or step == "restarted"
        if restarted and step in ("done", "incomplete"):
            return Left("nothing was added, what was to be removed is removed", removals_done=True)
        if step == "done":
            return None
        if step == "withdrawn":
            return _AS_BEFORE
        if step == "incomplete":
            return Left(
                "the connection is up again, but with entries that pciback has not exported; repair it",
                rights_must_stay=True,
            )
        if step == "gone":
            return Left("its connection is gone, the devices are free again")
        try:
            yield NEXT_EVENT
        except DeadlinePassed:
            states = states_of(read_states(outside.store, domid))
            return Left(
                "the change could not be taken back (backend {}, frontend {}), so its devices keep their rights; "
                "repair the connection or restart the guest".format(*states),
                rights_must_stay=True,
            )


def close(outside: Outside, domid: int, _add: Collection[Sbdf]) -> TakeBack:
    """Reopen a connection that the guest did not close."""

    def body(transaction: Transaction) -> str:
        backend = read_backend(transaction, domid)
        if backend is None or (backend.state, backend.frontend_state) == _BOTH_CLOSED:
            return "done"
        if (backend.state, backend.frontend_state) == (XenbusState.CLOSING, XenbusState.CONNECTED):
            transaction.apply(changes.reopen(domid))
            return "reopened"
        return "moving"

    while True:
        step = outside.store.transaction(body)
        if step == "done":
            return None
        if step == "reopened":
            return _AS_BEFORE
        try:
            yield NEXT_EVENT
        except DeadlinePassed:
            return Left("the connection is half closed; restart the guest", rights_must_stay=True)


RECIPES: dict[str, Callable[[Outside, int, Collection[Sbdf]], TakeBack]] = {
    "create": create,
    "reconfigure": reconfigure,
    "close": close,
}

_NOT_MOVED = (XenbusState.CONNECTED, XenbusState.INITIALISED)
_BOTH_CONNECTED = (XenbusState.CONNECTED, XenbusState.CONNECTED)
_BOTH_CLOSED = (XenbusState.CLOSED, XenbusState.CLOSED)


def read_states(store: XenStore, domid: int) -> list[str | None]:
    """The text of both ends' state nodes, backend first."""
    return store.read_all([f"{backend_path(domid)}/state", f"{frontend_path(domid)}/state"])


def states_of(texts: Sequence[str | None]) -> tuple[XenbusState, XenbusState]:
    """Both ends' states from their texts, backend first."""
    return parse_state(texts[0]), parse_state(texts[1])


def silence(name: str, kind: str, ends: str) -> str:
    """Why a handshake is not over, in words, when the time is."""
    if kind == "create":
        return (
            f"guest {name} did not connect in time ({ends}): it has no PCI frontend that answers; "
            "load xen-pcifront in the guest, or see whether it is paused or hung"
        )
    return f"guest {name} did not answer in time ({ends}): see whether it is paused or hung"
