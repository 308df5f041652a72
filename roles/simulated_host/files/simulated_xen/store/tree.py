# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of nodes, its permissions and path rules, and the view that a transaction has of it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .wire import ABSOLUTE_PATH_MAX, RELATIVE_PATH_MAX, StoreError

DOM0 = 0
SPECIAL_WATCHES = ("@introduceDomain", "@releaseDomain")

_ABSOLUTE = re.compile(r"(/[A-Za-z0-9\-_@]+)+\Z")
_PERMISSION = re.compile(r"([nrwb])([0-9]+)\Z")


@dataclass(frozen=True)
class Permission:
    """One entry of a node's list: `access` is one of n, r, w, b; the first entry's domain owns the node."""

    access: str
    domid: int

    def __str__(self) -> str:
        return f"{self.access}{self.domid}"

    def allows(self, wanted: str) -> bool:
        """Whether this entry gives the `wanted` access (r or w)."""
        return self.access in (wanted, "b")


Permissions = tuple[Permission, ...]


def parse_permission(text: str) -> Permission:
    """Read ``r5`` and the like; EINVAL for anything else."""
    match = _PERMISSION.match(text)
    if match is None:
        raise StoreError(errno.EINVAL)
    return Permission(match.group(1), int(match.group(2)))


@dataclass
class Node:
    """One node. `children` keeps the order of creation, as the C daemon's replies do."""

    value: bytes = b""
    children: dict[str, None] = field(default_factory=dict)
    permissions: Permissions = (Permission("n", DOM0),)
    generation: int = 0

    def copy(self) -> Node:
        """A node that can be changed without changing this one."""
        return replace(self, children=dict(self.children))

    def may(self, domid: int, wanted: str) -> bool:
        """Whether a domain has the `wanted` access: dom0 and the owner have all."""
        if domid in (DOM0, self.permissions[0].domid):
            return True
        for entry in self.permissions[1:]:
            if entry.domid == domid:
                return entry.allows(wanted)
        return self.permissions[0].allows(wanted)

    @property
    def size(self) -> int:
        """Bytes that the node counts for in a quota."""
        return len(self.value) + sum(len(name) + 1 for name in self.children) + 8 * len(self.permissions)


def absolute(path: str, domid: int) -> str:
    """The full path of what a client of `domid` named; EINVAL if it is not a legal path."""
    if path == "/":
        return path
    if path.startswith("/"):
        if len(path) > ABSOLUTE_PATH_MAX:
            raise StoreError(errno.EINVAL)
        full = path
    else:
        if len(path) > RELATIVE_PATH_MAX:
            raise StoreError(errno.EINVAL)
        full = f"/local/domain/{domid}/{path}"
    if not _ABSOLUTE.match(full):
        raise StoreError(errno.EINVAL)
    return full


def parent_of(path: str) -> str:
    """The path of the directory that holds `path`."""
    return path.rpartition("/")[0] or "/"


def lineage(path: str) -> Iterator[str]:
    """`path` and all directories above it, from the bottom up."""
    while path != "/":
        yield path
        path = parent_of(path)
    yield "/"


class Tree:
    """What is committed. Every change of a node gives it a new generation."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {"/": Node()}
        self._generation = 0

    def get(self, path: str) -> Node | None:
        """The node, or None. It must not be changed in place: copy, change, put."""
        return self._nodes.get(path)

    def put(self, path: str, node: Node) -> None:
        """Store a node under a new generation."""
        self._generation += 1
        node.generation = self._generation
        self._nodes[path] = node

    def drop(self, path: str) -> None:
        """Forget one node; its children and its name in the parent are the caller's concern."""
        self._nodes.pop(path, None)

    def owned_by(self, domid: int) -> int:
        """How many nodes a domain owns (for its quota)."""
        return sum(node.permissions[0].domid == domid for node in self._nodes.values())

    def paths(self) -> list[str]:
        """All paths, sorted."""
        return sorted(self._nodes)


class Overlay:
    """What a transaction sees and has changed, over the committed tree.

    As in the C daemon, a node is as it was when the transaction first looked at it; a commit fails if any
    node that was looked at (also one that was absent) has changed since.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._seen: dict[str, Node | None] = {}
        self._changed: dict[str, Node | None] = {}

    def get(self, path: str) -> Node | None:
        """The node as this transaction sees it."""
        if path in self._changed:
            return self._changed[path]
        if path not in self._seen:
            self._seen[path] = self._tree.get(path)
        return self._seen[path]

    def put(self, path: str, node: Node) -> None:
        """Change a node within the transaction."""
        self._changed[path] = node

    def drop(self, path: str) -> None:
        """Remove a node within the transaction."""
        self._changed[path] = None

    def owned_by(self, domid: int) -> int:
        """How many nodes a domain owns, as committed."""
        return self._tree.owned_by(domid)

    def conflicts(self) -> bool:
        """Whether somebody changed what this transaction has looked at."""
        # The tree never changes a node in place, so a node that is the same object has not changed.
        return any(self._tree.get(path) is not node for path, node in self._seen.items())

    def apply(self) -> None:
        """Write the changes to the tree; the caller has checked for conflicts."""
        for path, node in self._changed.items():
            if node is None:
                self._tree.drop(path)
            else:
                self._tree.put(path, node)
