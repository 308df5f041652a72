# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of one node in xenstore, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class Write:
    """Set a node's value, creating it if needed."""

    path: str
    value: str


@dataclass(frozen=True)
class Directory:
    """Create an empty directory in place of any old one, with its permissions, which children inherit."""

    path: str
    permissions: tuple[str, ...]


@dataclass(frozen=True)
class Remove:
    """Delete a node and all below it; with `prune`, also its parents that are empty then."""

    path: str
    prune: bool = False


Change = Union[Write, Directory, Remove]
