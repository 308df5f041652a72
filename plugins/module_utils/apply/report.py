# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run has seen of one domain: the timeline of its handshakes, and how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ..plan.domain_plan import DomainPlan
from ..values.address import Sbdf
from ..values.errors import XenPciError

#: A handshake has some ten moments and one for each device; a guest can make any number of them.
_LONGEST_TIMELINE = 1000


class DomainFailed(XenPciError):
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
class Recorder:
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
class DomainOutcome:
    """How the change of one domain ended.

    `error`: why it failed, a sentence, empty if it did not. `interrupted`: something outside of the domain failed in
    the middle, so that only a look shows what is left.
    """

    step: DomainPlan
    recorder: Recorder
    error: str = ""
    interrupted: bool = False
