# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run has seen of one domain: the timeline of its handshakes, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..values.address import GuestAddress, Sbdf
from ..values.states import SubState, XenbusState

#: A handshake has some ten moments and one for each device; a guest can make any number of them.
_LONGEST_TIMELINE = 1000


class DomainFailed(Exception):
    """A domain could not be brought to its plan; the text says which side failed and what is left."""


class Interrupted(DomainFailed):
    """Something outside of the domain failed in the middle; what is left of it, only a look at the domain shows."""


@dataclass(frozen=True)
class Moment:
    """A node seen to change, `seconds` after the run began."""

    seconds: float
    node: str
    value: str


@dataclass(frozen=True)
class Cycle:
    """One handshake. `seconds` is the kernels' share: from our commit to both ends at rest."""

    added: tuple[Sbdf, ...]
    removed: tuple[Sbdf, ...]
    seconds: float


@dataclass
class Record:
    """Notes that a domain's handshake takes while it runs; `aside` is what to say beside the error that ended it."""

    began: float = field(default_factory=time.monotonic)
    timeline: list[Moment] = field(default_factory=list)
    cycles: list[Cycle] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)

    def note(self, node: str, value: str) -> None:
        """Add a moment unless the node was last seen with this value; what flaps for ever is noted for a while."""
        if len(self.timeline) >= _LONGEST_TIMELINE:
            return
        last = next((moment.value for moment in reversed(self.timeline) if moment.node == node), None)
        if value != last:
            self.timeline.append(Moment(round(time.monotonic() - self.began, 3), node, value))


@dataclass(frozen=True)
class Evidence:
    """What was observed of one attached device, after the run.

    `active`: a driver in the guest has enabled the device (seen in its configuration space; of an HVM guest, in what
    its device model says). `by_device_model`: that one gives it to the guest, and pciback's sub-state means nothing.
    `in_pciback` false: it has left the host, or was unbound.
    """

    device: Sbdf
    guest_address: GuestAddress | None
    sub_state: SubState | None
    owned_by_guest: bool
    active: bool
    by_device_model: bool = False
    in_pciback: bool = True

    @property
    def connected(self) -> bool:
        """pciback has it, and has exported it, or the device model has plugged it in; at a known address; and a guest
        owns it in Xen, which says so of a device that is gone, too.
        """
        exported = self.in_pciback and (self.by_device_model or self.sub_state is SubState.EXPORTED)
        return exported and self.guest_address is not None and self.owned_by_guest


@dataclass(frozen=True)
class DomainReport:
    """How one domain came out of a run.

    `unseen`: nobody could look at it afterwards, so `after` is what it had before.
    """

    name: str
    domid: int
    before: tuple[Sbdf, ...]
    after: tuple[Sbdf, ...]
    backend_state: XenbusState = XenbusState.UNKNOWN
    frontend_state: XenbusState = XenbusState.UNKNOWN
    evidence: Sequence[Evidence] = ()
    timeline: Sequence[Moment] = ()
    cycles: Sequence[Cycle] = ()
    warnings: Sequence[str] = ()
    error: str = ""
    unseen: bool = False
