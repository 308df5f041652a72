# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repair is asked for, and what it found, did and left, as data. What carries it out is in `run`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..faults.finding import Finding, in_words, title
from ..faults.table import Blocks, Fault, Looks, RepairedBy
from ..model.host import Host
from ..values.address import Sbdf
from ..values.errors import XenPciError


@dataclass(frozen=True)
class Scope:
    """What is to be repaired: the faults of these domains (and of their stub domains), and of these devices in whatever
    domain they are; all faults if both are empty.
    """

    domains: frozenset[str] = frozenset()
    devices: frozenset[Sbdf] = frozenset()
    #: These faults only, and then also those that are repaired only if they are named.
    named: frozenset[Fault] = frozenset()

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is within the domains, devices and faults asked for."""
        if self.named and finding.fault not in self.named:
            return False
        everything = not self.domains and not self.devices
        named = finding.domain in self.domains or finding.serves in self.domains
        return everything or named or not self.devices.isdisjoint(finding.devices)

    def matters(self, finding: Finding) -> bool:
        """Whether it is covered and must be looked into before a change: with it devices are not as declared, or it is
        a cycle that goes on.
        """
        fault = finding.fault
        return self.covers(finding) and (fault.looks is Looks.UNDER_WAY or fault.blocks is not Blocks.NOTHING)

    def repairs(self, finding: Finding) -> bool:
        """Whether it is covered and has a recipe that may be carried out."""
        allowed = finding.fault.repaired_by is not RepairedBy.NAMED_REPAIR or finding.fault in self.named
        return self.covers(finding) and finding.recipe is not None and allowed

    def finishes(self, finding: Finding) -> bool:
        """Whether it is covered and a killed run of ours leaves it."""
        return self.covers(finding) and finding.fault.repaired_by is RepairedBy.ANY_RUN


@dataclass(frozen=True)
class RepairAttempt:
    """What was done about one finding."""

    finding: Finding
    #: What was refused on the way, empty if nothing was.
    problem: str = ""
    repaired: bool = False
    #: The fault is gone, and so are the devices that its guest was to have again.
    cost_devices: bool = False


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
        touched = (_of_findings(host, [one.finding for one in self.attempts]) for host in (self.before, self.after))
        return any(one.repaired for one in self.attempts) or len(set(touched)) > 1

    @property
    def not_repaired(self) -> list[str]:
        """What was tried and did not help, with what refused it."""
        return [f"{title(one.finding)}: {one.problem}" for one in self.attempts if not one.repaired and one.problem]


def _of_findings(host: Host, findings: Iterable[Finding]) -> frozenset[object]:
    """What a host says of the devices and domains that findings are about, as far as a repair changes it."""
    devices = {device for one in findings for device in one.devices}
    domains = [domain for one in findings if (domain := host.domains.get(one.domid or 0)) is not None]
    return frozenset(
        [
            *((device, host.xen_owners.get(device), host.markers.get(device)) for device in devices),
            *((domain.domid, domain.devices, domain.configured, domain.own_connection is None) for domain in domains),
        ]
    )


class RepairInterrupted(XenPciError):
    """Something was tried, and then the host could not be observed any more; the text says what, and why."""

    def __init__(self, attempts: Sequence[RepairAttempt], why: Exception) -> None:
        tried = "; ".join(in_words(one.finding) for one in attempts)
        super().__init__(
            f"Tried to repair {tried}. The result cannot be seen ({why}). Repair again once the host can be observed"
        )
