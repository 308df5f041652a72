# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repair the faults of a host: choose a recipe for each finding, carry them out, observe what came of it, again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Callable

from ..apply.loop import Clock, DeadlinePassed, Flow, Outcome, run
from ..apply.report import DomainFailed
from ..faults.diagnose import diagnose
from ..faults.finding import Finding, in_words, title
from ..faults.recipes import Recipe, RecipeKind
from ..faults.simulate import simulate_repair
from ..faults.table import Blocks, Fault, Looks, RepairedBy, Turn
from ..host.access import HostAccess
from ..host.observe import observe
from ..model.host import Host
from ..values.address import Sbdf
from ..values.errors import HostError, XenPciError
from .connection_recipes import repair_connection
from .device_model_recipes import is_for_device_model, removal_by_device_model
from .device_recipes import DEVICE_RECIPES
from .job import RepairJob
from .settle import SETTLE_SECONDS, observe_until_settled

#: Each pass repairs one thing of each connection; a bound against two toolstacks that undo each other's work.
_MOST_PASSES = 40
_FAILURES = (HostError, DomainFailed, DeadlinePassed)


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


def repair(access: HostAccess, scope: Scope, timeout: float, settle: float = SETTLE_SECONDS) -> Repaired:
    """Repair everything within `scope`; what has succeeded is what a new diagnosis says. Raises RepairInterrupted."""
    deadline = time.monotonic() + timeout
    host, findings = observe_until_settled(access, scope.covers, settle, timeout)
    return _RepairRun(access, scope.covers, scope.repairs, deadline).repair(host, findings)


def finish_unfinished(access: HostAccess, host: Host, scope: Scope, timeout: float) -> Repaired:
    """Finish what a killed run of ours left within `scope`, and nothing else; `host` is what was seen just now.

    A cycle under way is waited for until it is over or has not moved for a while. What is `left` means that the
    domains' devices are not as declared, or is a cycle that goes on. Raises RepairInterrupted.
    """

    def matters(finding: Finding) -> bool:
        fault = finding.fault
        return scope.covers(finding) and (fault.looks is Looks.UNDER_WAY or fault.blocks is not Blocks.NOTHING)

    if not any(map(matters, diagnose(host))):
        return Repaired((), (), (), host, host)
    deadline = time.monotonic() + timeout
    host, findings = observe_until_settled(access, matters, SETTLE_SECONDS, timeout)
    return _RepairRun(access, matters, scope.finishes, deadline).repair(host, findings)


@dataclass(frozen=True)
class ExpectedRepair:
    """What a run would repair, what it would leave, and the host as it would be then."""

    repaired: tuple[Finding, ...]
    left: tuple[Finding, ...]
    host: Host


def expected_repair(host: Host, scope: Scope, everything: bool) -> ExpectedRepair:
    """What a run would repair before anything else, judged by one look, `host`.

    `everything`: all that has a recipe, as `repair` does; else what `finish_unfinished` does.
    """
    repairs = scope.repairs if everything else scope.finishes
    repaired = dict[object, Finding]()
    for _pass in range(_MOST_PASSES):
        findings = [one for one in diagnose(host) if scope.covers(one) and one.key not in repaired]
        now = [one for one in findings if repairs(one)]
        if not now:
            break
        by_device, by_connection = _choose_for_pass(now)
        chosen = [*by_device, *by_connection]
        repaired.update((one.key, one) for one in chosen)
        host = simulate_repair(host, chosen)
    return ExpectedRepair(tuple(repaired.values()), tuple(findings), host)


@dataclass(frozen=True)
class _RepairRun:
    """Passes of repairs over one host."""

    access: HostAccess
    #: Which findings are reported as left.
    matters: Callable[[Finding], bool]
    #: Which findings are repaired.
    repairs: Callable[[Finding], bool]
    deadline: float

    def repair(self, host: Host, findings: Sequence[Finding]) -> Repaired:
        """Repair what was found on `host`, and judge by a new look."""
        attempts = self._repair_in_passes(host, findings)
        if not attempts:
            return Repaired(tuple(findings), (), tuple(findings), host, host)
        try:
            with self.access.answering() as seeing:
                after = observe(seeing)
        except HostError as error:
            raise RepairInterrupted(attempts, error) from error
        left = [one for one in diagnose(after) if self.matters(one)]
        return Repaired(tuple(findings), _judged(attempts, left, after), tuple(left), host, after)

    def _repair_in_passes(self, host: Host, findings: Sequence[Finding]) -> list[RepairAttempt]:
        """Repair and observe, until nothing new is left or time is over."""
        attempts: list[RepairAttempt] = []
        tried: set[object] = set()
        for _pass in range(_MOST_PASSES):
            now = [one for one in findings if self.repairs(one) and one.key not in tried]
            if not now or time.monotonic() >= self.deadline:
                break
            done = self._repair_once(host, now)
            tried.update(attempt.finding.key for attempt in done)
            attempts += done
            try:
                host = observe(self.access)
            except HostError:
                break  # what is left has to wait; what came of this is looked at once more
            findings = diagnose(host)
        return attempts

    def _repair_once(self, host: Host, findings: Sequence[Finding]) -> list[RepairAttempt]:
        """Repair all that concerns single devices, then one fault of each connection, side by side."""
        by_device, by_connection = _choose_for_pass(findings)
        attempts = [_repair_device(self._job(host, finding)) for finding in by_device]
        jobs = [self._job(host, finding) for finding in by_connection]
        flows = dict(map(_flow_of, jobs))
        outcomes = run(self.access.store, flows) if flows else {}
        for job, token in zip(jobs, flows):  # the loop returns the outcomes as they end
            attempts.append(RepairAttempt(job.finding, _problem(outcomes[token], job.domid)))
        return attempts

    def _job(self, host: Host, finding: Finding) -> RepairJob:
        return RepairJob(self.access, host, finding, Clock(self.deadline))


def _choose_for_pass(findings: Iterable[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Choose what one pass repairs: faults of single devices, and one fault of each domain's connection.

    A fault that a connection may explain waits until none is to be repaired any more.
    """
    by_device: list[Finding] = []
    by_connection: dict[int, Finding] = {}
    for finding in findings:
        if finding.required_recipe.kind is RecipeKind.DEVICE:
            by_device.append(finding)
        else:
            by_connection.setdefault(finding.required_domid, finding)
    if by_connection:
        by_device = [one for one in by_device if one.fault.turn is not Turn.AFTER_CONNECTIONS]
    return by_device, list(by_connection.values())


def _flow_of(job: RepairJob) -> tuple[str, tuple[Flow, Clock]]:
    """The flow of a job in the event loop, under its token."""
    if is_for_device_model(job):
        removal = removal_by_device_model(job)
        return removal.token, (removal.flow(), job.clock)
    return job.token, (repair_connection(job), job.clock)


def _repair_device(job: RepairJob) -> RepairAttempt:
    try:
        problems = DEVICE_RECIPES[job.recipe](job)
    except _FAILURES as error:
        problems = [str(error)]
    return RepairAttempt(job.finding, "; ".join(problems))


def _problem(outcome: Outcome, domid: int) -> str:
    if outcome.error is None:
        return str(outcome.value or "")
    if isinstance(outcome.error, DeadlinePassed):
        return f"time was over before domain {domid} answered"
    if isinstance(outcome.error, _FAILURES):
        return str(outcome.error)
    raise outcome.error


def _judged(attempts: Sequence[RepairAttempt], left: Sequence[Finding], after: Host) -> tuple[RepairAttempt, ...]:
    """Say of each attempt whether its fault is not found again; that a recipe ran to its end says nothing."""
    remaining = {(one.fault, one.domid, device) for one in left for device in one.devices or (None,)}

    def judged(one: RepairAttempt) -> RepairAttempt:
        found = one.finding
        again = any((found.fault, found.domid, device) in remaining for device in found.devices or (None,))
        domain = after.domains.get(found.domid or 0)
        are_back = domain is None or set(domain.devices).issuperset(found.devices)
        cost = found.recipe is Recipe.RECREATE and bool(one.problem) and not again and not are_back
        return replace(one, repaired=not again and not cost, cost_devices=cost)

    return tuple(judged(one) for one in attempts)
