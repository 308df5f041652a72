# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store itself: callers with their transactions and watches, over one tree, with one trace."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Callable

from .operations import Change, Operations, Quota
from .trace import Trace
from .tree import DOM0, SPECIAL_WATCHES, Node, Overlay, Tree, absolute, lineage
from .wire import StoreError

Deliver = Callable[[str, str], None]
"""Called with the path (as the watcher spells it) and the token."""


@dataclass
class Transaction:
    """One open transaction."""

    overlay: Overlay
    changes: list[Change] = field(default_factory=list)


@dataclass(eq=False)
class Caller:
    """Whoever uses the store: a connection to the socket or a kernel in this process."""

    label: str
    domid: int
    deliver: Deliver
    transactions: dict[int, Transaction] = field(default_factory=dict)
    next_transaction: int = 1


@dataclass(frozen=True)
class Watch:
    """One registered watch. `path` is absolute (or special), `prefix` what to strip in events."""

    caller: Caller
    path: str
    token: str
    prefix: str

    def fire(self, path: str) -> None:
        """Tell the watcher."""
        if self.prefix and path.startswith(self.prefix):
            path = path[len(self.prefix) :]
        self.caller.deliver(path, self.token)


class Store:
    """All of xenstored but its socket.

    `conflicts` makes that many of the next commits of socket clients fail with EAGAIN (a fault to inject).
    """

    def __init__(self, trace: Trace | None = None, quota: Quota | None = None) -> None:
        self.tree = Tree()
        self.trace = trace or Trace()
        self.quota = quota or Quota()
        self.introduced: set[int] = {DOM0}
        self.conflicts = 0
        self._watches: dict[str, list[Watch]] = {}
        kernel = Operations(self.tree, DOM0, self.quota)
        kernel.mkdir("/tool/xenstored")

    # -- operations on nodes -------------------------------------------------------------------------

    def read(self, caller: Caller, path: str, transaction: int = 0) -> bytes:
        """A node's value."""
        return self._view(caller, transaction).read(absolute(path, caller.domid))

    def directory(self, caller: Caller, path: str, transaction: int = 0) -> list[str]:
        """Names of a node's children, in the order of their creation."""
        return self._view(caller, transaction).directory(absolute(path, caller.domid))

    def node(self, caller: Caller, path: str, transaction: int = 0) -> Node:
        """A node that the caller may read."""
        return self._view(caller, transaction).node(absolute(path, caller.domid), "r")

    def change(self, caller: Caller, transaction: int, operation: Callable[[Operations], list[Change]]) -> None:
        """Run a changing operation, at once or within a transaction."""
        changes = operation(self._view(caller, transaction))
        if transaction:
            caller.transactions[transaction].changes += changes
        else:
            self._publish(caller, changes, str(caller.label))

    def _view(self, caller: Caller, transaction: int) -> Operations:
        view = self._transaction(caller, transaction).overlay if transaction else self.tree
        return Operations(view, caller.domid, self.quota)

    # -- transactions --------------------------------------------------------------------------------

    def start_transaction(self, caller: Caller) -> int:
        """Open a transaction and return its id."""
        if caller.domid != DOM0 and len(caller.transactions) >= self.quota.transactions:
            raise StoreError(errno.ENOSPC)
        number = caller.next_transaction
        caller.next_transaction += 1
        caller.transactions[number] = Transaction(Overlay(self.tree))
        return number

    def end_transaction(self, caller: Caller, number: int, commit: bool) -> None:
        """Commit or forget; EAGAIN if something that the transaction looked at has changed."""
        transaction = self._transaction(caller, number)
        del caller.transactions[number]
        if not commit:
            return
        storm = self.conflicts > 0 and caller.label.startswith("A")
        if storm:
            self.conflicts -= 1
        if storm or transaction.overlay.conflicts():
            self.trace.note(f"{caller.label}.{number}", "conflict", "")
            raise StoreError(errno.EAGAIN)
        transaction.overlay.apply()
        self._publish(caller, transaction.changes, f"{caller.label}.{number}")

    @staticmethod
    def _transaction(caller: Caller, number: int) -> Transaction:
        try:
            return caller.transactions[number]
        except KeyError:
            raise StoreError(errno.ENOENT) from None

    # -- watches -------------------------------------------------------------------------------------

    def watch(self, caller: Caller, path: str, token: str) -> Watch:
        """Register a watch; the caller fires it once with `Watch.fire` after it has sent its reply."""
        full, prefix = self._watched(caller, path)
        if any(watch.token == token and watch.caller is caller for watch in self._watches.get(full, [])):
            raise StoreError(errno.EEXIST)
        own = sum(watch.caller is caller for watches in self._watches.values() for watch in watches)
        if caller.domid != DOM0 and own >= self.quota.watches:
            raise StoreError(errno.E2BIG)
        watch = Watch(caller, full, token, prefix)
        self._watches.setdefault(full, []).append(watch)
        return watch

    def unwatch(self, caller: Caller, path: str, token: str) -> None:
        """Remove a watch; ENOENT if there is none."""
        full, _prefix = self._watched(caller, path)
        for watch in self._watches.get(full, []):
            if watch.caller is caller and watch.token == token:
                self._watches[full].remove(watch)
                return
        raise StoreError(errno.ENOENT)

    def forget(self, caller: Caller) -> None:
        """Drop a caller's watches and transactions (its connection is gone)."""
        caller.transactions.clear()
        self.forget_watches(caller)

    def forget_watches(self, caller: Caller) -> None:
        """Drop a caller's watches."""
        for path in list(self._watches):
            kept = [watch for watch in self._watches[path] if watch.caller is not caller]
            if kept:
                self._watches[path] = kept
            else:
                del self._watches[path]

    @staticmethod
    def _watched(caller: Caller, path: str) -> tuple[str, str]:
        if path in SPECIAL_WATCHES:
            return path, ""
        relative = not path.startswith("/")
        return absolute(path, caller.domid), f"/local/domain/{caller.domid}/" if relative else ""

    def _publish(self, caller: Caller, changes: list[Change], writer: str) -> None:
        for change in changes:
            self.trace.record(writer, change)
        for change in changes:
            for path in (change.path,) if change.exact else lineage(change.path):
                for watch in list(self._watches.get(path, ())):
                    if self._may_see(watch.caller, change.path):
                        watch.fire(change.path)

    def _may_see(self, caller: Caller, path: str) -> bool:
        """Whether a domain may know of a change: it can read the node, or, if that is gone, the directory."""
        for above in lineage(path):
            node = self.tree.get(above)
            if node is not None:
                return node.may(caller.domid, "r")
        return False

    # -- domains -------------------------------------------------------------------------------------

    def introduce(self, domid: int) -> None:
        """A domain is there: tell who watches for it."""
        new = domid not in self.introduced
        self.introduced.add(domid)
        if new:
            self._fire_special("@introduceDomain")

    def release(self, domid: int) -> None:
        """A domain is gone; ENOENT if it was never introduced."""
        if domid not in self.introduced:
            raise StoreError(errno.ENOENT)
        self.introduced.discard(domid)
        self._fire_special("@releaseDomain")

    def _fire_special(self, path: str) -> None:
        for watch in list(self._watches.get(path, ())):
            watch.fire(path)
