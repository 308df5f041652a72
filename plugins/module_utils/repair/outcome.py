# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repair found, did and left, as data. What carries it out is in `run`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..faults.finding import Finding, in_words, title, where
from ..model.host import Host
from ..values.address import Sbdf
from ..values.errors import XenPciError
from ..values.words import listed


@dataclass(frozen=True)
class RepairAttempt:
    """What was done about one finding."""

    finding: Finding
    #: What was refused on the way, empty if nothing was.
    problem: str = ""
    repaired: bool = False
    #: Devices that its guest used before, or was to have again, and does not have any more.
    cost: tuple[Sbdf, ...] = ()


@dataclass(frozen=True)
class Repaired:
    """What a repair found, did and left."""

    #: The faults that were found first.
    findings: tuple[Finding, ...]
    attempts: tuple[RepairAttempt, ...]
    #: The faults that are there afterwards.
    left: tuple[Finding, ...]
    before: Host
    after: Host

    @property
    def changed(self) -> bool:
        """Whether anything was repaired, or what could not be repaired is not as it was."""
        touched = (
            _of_findings(host, [attempt.finding for attempt in self.attempts]) for host in (self.before, self.after)
        )
        return any(attempt.repaired for attempt in self.attempts) or len(set(touched)) > 1

    @property
    def not_repaired(self) -> list[str]:
        """What was tried and did not help, with what refused it, and what has cost a guest devices."""
        return [
            f"{title(attempt.finding)}: {attempt.problem or in_words_of_cost(attempt)}"
            for attempt in self.attempts
            if not attempt.repaired and (attempt.problem or attempt.cost)
        ]


def in_words_of_cost(attempt: RepairAttempt) -> str:
    """Say which devices a guest has lost by a repair."""
    return f"{where(attempt.finding)} has lost {listed(attempt.cost)}, which it used" if attempt.cost else ""


def _of_findings(host: Host, findings: Iterable[Finding]) -> frozenset[object]:
    """Collect what a host says of the devices and domains that findings are about, as far as a repair changes it."""
    devices = {device for finding in findings for device in finding.devices}
    domains = [domain for finding in findings if (domain := host.domains.get(finding.domid or 0)) is not None]
    return frozenset(
        [
            *((device, host.xen_owners.get(device), host.markers.get(device)) for device in devices),
            *((domain.domid, domain.devices, domain.configured, domain.own_connection is None) for domain in domains),
        ]
    )


class RepairInterrupted(XenPciError):
    """Something was tried, and then the host could not be observed any more; the text says what, and why."""

    changed = True

    def __init__(self, attempts: Sequence[RepairAttempt], why: Exception) -> None:
        tried = "; ".join(in_words(attempt.finding) for attempt in attempts)
        super().__init__(
            f"Tried to repair {tried}. The result cannot be seen ({why}). Repair again once the host can be observed"
        )
