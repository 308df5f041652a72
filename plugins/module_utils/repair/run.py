# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repair the faults of a host: choose a recipe for each finding, carry them out, observe what came of it, again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Callable

from ..apply.loop import Clock, DeadlinePassed, Flow, Outcome, run
from ..apply.report import DomainFailed
from ..faults import use
from ..faults.diagnose import diagnose
from ..faults.expected_repair import MOST_PASSES, choose_for_pass
from ..faults.finding import Finding
from ..faults.recipes import Recipe, RecipeKind
from ..faults.scope import Scope
from ..host.access import HostAccess
from ..host.observe import observe
from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf
from ..values.errors import HostError
from .connection_recipes import repair_connection
from .device_model_recipes import is_for_device_model, removal_by_device_model
from .device_recipes import DEVICE_RECIPES
from .job import RepairJob
from .outcome import RepairAttempt, Repaired, RepairInterrupted
from .settle import SETTLE_SECONDS, observe_until_settled

_FAILURES = (HostError, DomainFailed, DeadlinePassed)


def repair(access: HostAccess, scope: Scope, timeout: float, settle: float = SETTLE_SECONDS) -> Repaired:
    """Repair everything within `scope`; what has succeeded is what a new diagnosis says. Raises RepairInterrupted."""
    deadline = time.monotonic() + timeout
    host, findings = observe_until_settled(access, scope.covers, settle, timeout)
    return _RepairRun(access, scope.covers, scope.repairs, deadline).repair(host, findings)


def finish_unfinished(access: HostAccess, scope: Scope, timeout: float) -> Repaired:
    """Finish what a killed run of ours left within `scope`, and nothing else.

    A cycle under way is waited for until it is over or has not moved for a while. What is `left` means that the
    domains' devices are not as declared, or is a cycle that goes on. Raises RepairInterrupted.
    """
    deadline = time.monotonic() + timeout
    host, findings = observe_until_settled(access, scope.matters, SETTLE_SECONDS, timeout)
    return _RepairRun(access, scope.matters, scope.finishes, deadline).repair(host, findings)


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
        left = [finding for finding in diagnose(after) if self.matters(finding)]
        return Repaired(tuple(findings), _judged(attempts, left, host, after), tuple(left), host, after)

    def _repair_in_passes(self, host: Host, findings: Sequence[Finding]) -> list[RepairAttempt]:
        """Repair and observe, until nothing new is left or time is over."""
        attempts: list[RepairAttempt] = []
        tried: set[object] = set()
        for _pass in range(MOST_PASSES):
            now = [finding for finding in findings if self.repairs(finding) and finding.key not in tried]
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
        by_device, by_connection = choose_for_pass(findings)
        attempts = [_repair_device(self._job(host, finding)) for finding in by_device]
        jobs = [self._job(host, finding) for finding in by_connection]
        flows = dict(map(_flow_of, jobs))
        outcomes = run(self.access.store, flows) if flows else {}
        for job, token in zip(jobs, flows):  # the loop returns the outcomes as they end
            attempts.append(RepairAttempt(job.finding, _problem(outcomes[token], job.domid)))
        return attempts

    def _job(self, host: Host, finding: Finding) -> RepairJob:
        return RepairJob(self.access, host, finding, Clock(self.deadline))


def _flow_of(job: RepairJob) -> tuple[str, tuple[Flow, Clock]]:
    """Make the flow of a job in the event loop, under its token."""
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
        return f"the timeout passed before domain {domid} answered"
    if isinstance(outcome.error, _FAILURES):
        return str(outcome.error)
    raise outcome.error


def _judged(
    attempts: Sequence[RepairAttempt], left: Sequence[Finding], before: Host, after: Host
) -> tuple[RepairAttempt, ...]:
    """Say of each attempt whether its fault is not found again; that a recipe ran to its end says nothing.

    Nor is one repaired that has cost its guest devices.
    """
    remaining = {(finding.fault, finding.domid, device) for finding in left for device in finding.devices or (None,)}
    lost = {domid: _lost(before, after, domain) for domid, domain in before.domains.items()}

    def judged(attempt: RepairAttempt) -> RepairAttempt:
        found = attempt.finding
        again = any((found.fault, found.domid, device) in remaining for device in found.devices or (None,))
        domain = after.domains.get(found.domid or 0)
        cost = [device for device in found.devices if device in lost.get(found.domid or 0, ())]
        if found.recipe is Recipe.RECREATE and attempt.problem and not again and domain is not None:
            cost = [device for device in found.devices if device not in domain.devices]
        of_connection = found.required_recipe.kind is not RecipeKind.DEVICE
        return replace(attempt, repaired=not again and not (cost and of_connection), cost=tuple(cost))

    return tuple(judged(attempt) for attempt in attempts)


def _lost(before: Host, after: Host, domain: Domain) -> set[Sbdf]:
    """Find the devices that a domain used before, and that it has no more."""
    now = after.domains.get(domain.domid)
    if now is None:
        return set()
    marked = {device for device, domid in before.markers.items() if domid == domain.domid}
    own = {*domain.devices, *(marked if domain.device_model is None else ())}
    return {device for device in own if use.uses(before, domain, device)} - {*now.devices}
