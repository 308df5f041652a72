# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store as a kernel in this process sees it: the same rules as over the socket, without the socket."""

from __future__ import annotations

import errno
import itertools
from typing import Callable

from .store import Caller, Store
from .tree import Permissions, absolute
from .wire import StoreError

OnChange = Callable[[str], None]


class LocalClient:
    """One kernel's access; `label` is D<domid>. Permissions apply as they do to that domain."""

    def __init__(self, store: Store, label: str, domid: int) -> None:
        self._store = store
        self._caller = Caller(label, domid, self._deliver)
        self._handlers: dict[str, OnChange] = {}
        self._tokens = itertools.count(1)
        self.domid = domid

    def read(self, path: str) -> str | None:
        """A node's value as text, None if it cannot be read."""
        try:
            return self._store.read(self._caller, path).decode("ascii", "replace")
        except StoreError:
            return None

    def number(self, path: str) -> int | None:
        """A node's decimal value, None if it is absent or no number."""
        value = self.read(path)
        try:
            return int(value) if value is not None else None
        except ValueError:
            return None

    def exists(self, path: str) -> bool:
        """Whether a node is there."""
        return self.read(path) is not None

    def directory(self, path: str) -> list[str]:
        """Names of the children; none if the node is absent."""
        try:
            return self._store.directory(self._caller, path)
        except StoreError:
            return []

    def write(self, path: str, value: object) -> None:
        """Set a node."""
        full = absolute(path, self.domid)
        self._store.change(self._caller, 0, lambda view: view.write(full, str(value).encode()))

    def make(self, path: str, permissions: Permissions) -> None:
        """Create a directory with these permissions."""
        full = absolute(path, self.domid)
        self._store.change(self._caller, 0, lambda view: view.mkdir(full))
        self._store.change(self._caller, 0, lambda view: view.set_permissions(full, permissions))

    def remove(self, path: str) -> None:
        """Remove a node with all below, if it is there."""
        full = absolute(path, self.domid)
        try:
            self._store.change(self._caller, 0, lambda view: view.remove(full))
        except StoreError as error:
            if error.number != errno.ENOENT:
                raise

    def write_all(self, values: dict[str, object]) -> None:
        """Set several nodes in one transaction. Nobody else runs meanwhile, so it cannot conflict."""
        transaction = self._store.start_transaction(self._caller)
        try:
            for path, value in values.items():
                self._write_in(transaction, absolute(path, self.domid), str(value).encode())
        except StoreError:
            self._store.end_transaction(self._caller, transaction, False)
            raise
        self._store.end_transaction(self._caller, transaction, True)

    def _write_in(self, transaction: int, path: str, value: bytes) -> None:
        self._store.change(self._caller, transaction, lambda view: view.write(path, value))

    def watch(self, path: str, on_change: OnChange) -> str:
        """Watch a path; `on_change` gets the changed path, at once for the first time. Returns the token."""
        token = str(next(self._tokens))
        self._handlers[token] = on_change
        self._store.watch(self._caller, path, token).fire(absolute(path, self.domid) if path[0] != "@" else path)
        return token

    def unwatch(self, path: str, token: str) -> None:
        """Stop watching; events that are on their way are dropped."""
        self._handlers.pop(token, None)
        try:
            self._store.unwatch(self._caller, path, token)
        except StoreError:
            return

    def close(self) -> None:
        """Drop all watches."""
        self._handlers.clear()
        self._store.forget(self._caller)

    def _deliver(self, path: str, token: str) -> None:
        handler = self._handlers.get(token)
        if handler is not None:
            handler(path)
