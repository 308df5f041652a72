# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parts of the host's network the host cannot do without, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class NetworkUse:
    """Names of interfaces that carry the default route, and those that carry the connection we came by.

    `networks` are those that an interface has an address in, by its name.
    """

    default_route: frozenset[str] = frozenset()
    connection: frozenset[str] = frozenset()
    networks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class GuestDisk:
    """A disk that dom0 serves to a guest, as the toolstack has it.

    `words` say which one of which domain. `source` is libxl's text for what stands behind, a path after a format and a
    colon; `number` the block device as hexadecimal MAJOR:MINOR. None where not known.
    """

    domid: int
    words: str
    source: str | None = None
    number: str | None = None
