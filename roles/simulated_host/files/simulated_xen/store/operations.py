# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations on nodes, the same for the committed tree and for a transaction's view of it."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Union

from .tree import DOM0, Node, Overlay, Permission, Permissions, Tree, lineage, parent_of
from .wire import StoreError

View = Union[Tree, Overlay]


@dataclass(frozen=True)
class Quota:
    """Limits for unprivileged domains (defaults of xenstored)."""

    nodes: int = 1000
    entry_bytes: int = 2048
    watches: int = 128
    transactions: int = 10


@dataclass(frozen=True)
class Change:
    """One change for the watches and the trace. `exact`: only watches on this very path are told."""

    action: str
    path: str
    value: str = ""
    exact: bool = False


class Operations:
    """What one domain may do to one view; refusals are StoreError."""

    def __init__(self, view: View, domid: int, quota: Quota) -> None:
        self._view = view
        self._domid = domid
        self._quota = quota

    def node(self, path: str, access: str) -> Node:
        """The node, if it exists and the domain has the access."""
        node = self._view.get(path)
        if node is None:
            raise StoreError(self._absence(path))
        if not node.may(self._domid, access):
            raise StoreError(errno.EACCES)
        return node

    def _absence(self, path: str) -> int:
        """ENOENT, or EACCES where the domain may not even read the nearest directory."""
        for above in lineage(parent_of(path)):
            node = self._view.get(above)
            if node is not None:
                return errno.ENOENT if node.may(self._domid, "r") else errno.EACCES
        return errno.ENOENT

    def read(self, path: str) -> bytes:
        """A node's value."""
        return self.node(path, "r").value

    def directory(self, path: str) -> list[str]:
        """Names of a node's children."""
        return list(self.node(path, "r").children)

    def permissions(self, path: str) -> Permissions:
        """A node's permissions."""
        return self.node(path, "r").permissions

    def write(self, path: str, value: bytes) -> list[Change]:
        """Set a node's value; the node and what is missing above it are created."""
        node = self._view.get(path)
        if node is None:
            self._create(path, value)
        else:
            if not node.may(self._domid, "w"):
                raise StoreError(errno.EACCES)
            node = node.copy()
            node.value = value
            self._put(path, node)
        return [Change("write", path, value.decode("utf-8", "backslashreplace"))]

    def mkdir(self, path: str) -> list[Change]:
        """Create a node without a value; nothing happens if it exists."""
        node = self._view.get(path)
        if node is not None:
            if not node.may(self._domid, "w"):
                raise StoreError(errno.EACCES)
            return []
        self._create(path, b"")
        return [Change("mkdir", path)]

    def remove(self, path: str) -> list[Change]:
        """Remove a node with all below. An absent node is no error, an absent directory is."""
        if path == "/":
            raise StoreError(errno.EINVAL)
        node = self._view.get(path)
        parent = self._view.get(parent_of(path))
        if node is None:
            if parent is None:
                raise StoreError(self._absence(path))
            if not parent.may(self._domid, "w"):
                raise StoreError(errno.EACCES)
            return []
        if not node.may(self._domid, "w"):
            raise StoreError(errno.EACCES)
        if parent is not None:
            parent = parent.copy()
            del parent.children[path.rpartition("/")[2]]
            self._view.put(parent_of(path), parent)
        changes = [Change("rm", path)]
        self._remove_below(path, node, changes)
        return changes

    def _remove_below(self, path: str, node: Node, changes: list[Change]) -> None:
        for name in node.children:
            child = self._view.get(f"{path}/{name}")
            if child is not None:
                changes.append(Change("rm", f"{path}/{name}", exact=True))
                self._remove_below(f"{path}/{name}", child, changes)
        self._view.drop(path)

    def set_permissions(self, path: str, permissions: Permissions) -> list[Change]:
        """Replace a node's permissions. Only dom0 may give a node to another domain."""
        node = self.node(path, "w")
        if self._domid != DOM0:
            if node.permissions[0].domid != self._domid:
                raise StoreError(errno.EACCES)
            if permissions[0].domid != self._domid:
                raise StoreError(errno.EPERM)
        node = node.copy()
        node.permissions = permissions
        self._put(path, node)
        return [Change("setperms", path, " ".join(str(entry) for entry in permissions))]

    def _create(self, path: str, value: bytes) -> None:
        """Create `path` and what is missing above, each with its directory's permissions."""
        missing = []
        base: Node | None = None
        for above in lineage(path):
            base = self._view.get(above)
            if base is not None:
                break
            missing.append(above)
        if base is None or not base.may(self._domid, "w"):
            raise StoreError(errno.EACCES)
        if self._domid != DOM0 and self._view.owned_by(self._domid) + len(missing) > self._quota.nodes:
            raise StoreError(errno.ENOSPC)
        permissions = base.permissions
        if self._domid != DOM0:
            permissions = (Permission(permissions[0].access, self._domid), *permissions[1:])
        for created in reversed(missing):
            self._put(created, Node(value if created == path else b"", permissions=permissions))
            directory = self._view.get(parent_of(created))
            assert directory is not None, "its parent was there or has just been made"
            directory = directory.copy()
            directory.children[created.rpartition("/")[2]] = None
            self._view.put(parent_of(created), directory)

    def _put(self, path: str, node: Node) -> None:
        if self._domid != DOM0 and node.size > self._quota.entry_bytes:
            raise StoreError(errno.ENOSPC)
        self._view.put(path, node)
