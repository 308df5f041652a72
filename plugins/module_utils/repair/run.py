# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mend what is diagnosed, look again, and go on until nothing is left that a recipe could mend."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Callable

from ..apply.loop import Clock, DeadlinePassed, Flow, Outcome, run
from ..apply.report import DomainFailed
from ..faults.diagnose import Finding, diagnose, in_words, title
from ..faults.simulate import simulate_repair
from ..faults.table import Fault, Recipe
from ..host.access import HostAccess
from ..host.hypervisor import HypervisorError
from ..host.observe import observe
from ..host.sysfs import SysfsError
from ..host.toolstack.contract import ConfigError, LockError
from ..host.xenstore import XenStoreError
from ..model.host import Host
from ..plan.blocking_faults import is_tolerable
from ..values.address import Sbdf
from .connection_recipes import CONNECTION_RECIPES, flow_of
from .device_model_recipes import unplugging_for
from .device_recipes import DEVICE_RECIPES
from .settle import SETTLE_SECONDS, examine

#: What a run of ours leaves that was killed: a later run finishes it without being asked to repair.
#: A marker is written before the first right is given and removed after the last is taken. A cycle that was
#: withdrawn may be answered late, by a guest that had read it already: that comes after any run of ours has ended.
#: So does the late ejection of a device by an HVM guest.
OUR_OWN = frozenset(
    {
        Fault.UNFINISHED_REPAIR,
        Fault.UNFINISHED_REMOVAL,
        Fault.UNFINISHED_CLOSE,
        Fault.LEFT_RIGHTS,
        Fault.DEAD_MARKER,
        Fault.ORPHANED_CONNECTION,
        Fault.STUCK_KERNEL_DEVICE,
        Fault.EMPTY_CONNECTION,
        Fault.LATE_ANSWER,
        Fault.STALE_RECORD,
        Fault.UNLISTED_DEVICE,
    }
)
#: What a cycle looks like while it goes on.
UNDER_WAY = frozenset(
    {
        Fault.SILENT_GUEST,
        Fault.STUCK_CYCLE,
        Fault.LOST_EVENT,
        Fault.NEVER_CONNECTED,
        Fault.REFUSED_CYCLE,
        Fault.CLOSED_CONNECTION,
        Fault.UNANSWERED_CLOSE,
    }
)
#: A connection that is to be mended may explain them, and its guest may still use the device.
_AFTER_CONNECTIONS = (Fault.LEFT_RIGHTS, Fault.UNEXPLAINED_OWNER)
#: Each pass mends one thing of each connection; a bound against two toolstacks that undo each other's work.
_MOST_PASSES = 40
#: Without them nothing can be seen.
_UNSEEN = (HypervisorError, SysfsError, XenStoreError)
_FAILURES = (*_UNSEEN, LockError, ConfigError, DomainFailed, DeadlinePassed)


@dataclass(frozen=True)
class Scope:
    """What is to be mended: faults of these domains (and of their stub domains), and of these devices wherever they
    are; both empty: all.

    `named`: these faults only, and then also those that are mended on request.
    """

    domains: frozenset[str] = frozenset()
    devices: frozenset[Sbdf] = frozenset()
    named: frozenset[Fault] = frozenset()

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is within domains, devices and faults asked for."""
        if self.named and finding.fault not in self.named:
            return False
        everything = not self.domains and not self.devices
        named = finding.domain in self.domains or finding.serves in self.domains
        return everything or named or not self.devices.isdisjoint(finding.devices)

    def repairs(self, finding: Finding) -> bool:
        """Whether it is covered and may be mended now."""
        asked = not finding.fault.on_request or finding.fault in self.named
        return self.covers(finding) and finding.recipe is not None and asked


@dataclass(frozen=True)
class RepairAttempt:
    """What was done about one finding; `problem` is empty unless a step was refused.

    `cost_devices`: the fault is gone, and with it the devices that its guest was to have back.
    """

    finding: Finding
    problem: str = ""
    repaired: bool = False
    cost_devices: bool = False


@dataclass(frozen=True)
class Repaired:
    """The faults found first, what was done, and the faults that are there afterwards; the host as it was and is."""

    findings: tuple[Finding, ...]
    attempts: tuple[RepairAttempt, ...]
    left: tuple[Finding, ...]
    before: Host
    after: Host

    @property
    def changed(self) -> bool:
        """Whether anything was mended, or what could not be is not as it was."""
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


class RepairInterrupted(Exception):
    """Something was tried, and then nobody could see any more what came of it; the text says what, and why."""

    def __init__(self, attempts: Sequence[RepairAttempt], why: Exception) -> None:
        tried = "; ".join(in_words(one.finding) for one in attempts)
        super().__init__(f"Tried to mend {tried}; what came of it cannot be seen ({why}), so repair again once it can")


def repair(access: HostAccess, scope: Scope, timeout: float, settle: float = SETTLE_SECONDS) -> Repaired:
    """Mend everything within `scope`; each step's success is what a new diagnosis says. Raises RepairInterrupted."""
    deadline = time.monotonic() + timeout
    host, findings = examine(access, scope.covers, settle, timeout)
    return _repaired(access, host, findings, scope.covers, scope.repairs, deadline)


def finish_unfinished(access: HostAccess, host: Host, scope: Scope, timeout: float) -> Repaired:
    """Finish what a killed run of ours left within `scope`, and nothing else; `host` is what was seen just now.

    A cycle under way is waited for until it is over or has not moved for a while. What is `left` forbids to call the
    domains' devices as declared, or is a cycle that goes on. Raises RepairInterrupted.
    """

    def matters(finding: Finding) -> bool:
        return scope.covers(finding) and (finding.fault in UNDER_WAY or not is_tolerable(finding.fault))

    def ours(finding: Finding) -> bool:
        return scope.covers(finding) and finding.fault in OUR_OWN

    at_first_sight = diagnose(host)
    if not any(map(matters, at_first_sight)):
        return Repaired((), (), (), host, host)
    deadline = time.monotonic() + timeout
    host, findings = examine(access, matters, SETTLE_SECONDS, timeout)
    return _repaired(access, host, findings, matters, ours, deadline)


@dataclass(frozen=True)
class ExpectedRepair:
    """What a run would mend, what it would leave, and the host as it would be then."""

    repaired: tuple[Finding, ...]
    left: tuple[Finding, ...]
    host: Host


def expected_repair(host: Host, scope: Scope, everything: bool) -> ExpectedRepair:
    """What a run would do before anything else; by one look, `host`.

    `everything`: all that has a recipe, as `repair` does; else what `finish_unfinished` does.
    """
    repaired = dict[object, Finding]()
    for _pass in range(_MOST_PASSES):
        findings = [one for one in diagnose(host) if scope.covers(one) and one.key not in repaired]
        now = [one for one in findings if (scope.repairs(one) if everything else one.fault in OUR_OWN)]
        if not now:
            break
        by_device, by_connection = _next(now)
        chosen = [*by_device, *by_connection.values()]
        repaired.update((one.key, one) for one in chosen)
        host = simulate_repair(host, chosen)
    return ExpectedRepair(tuple(repaired.values()), tuple(findings), host)


def _repaired(
    access: HostAccess,
    host: Host,
    findings: Sequence[Finding],
    matters: Callable[[Finding], bool],
    repairs: Callable[[Finding], bool],
    deadline: float,
) -> Repaired:
    attempts = _repair_all(access, host, findings, repairs, deadline)
    if not attempts:
        return Repaired(tuple(findings), (), tuple(findings), host, host)
    try:
        with access.answering() as seeing:
            after = observe(seeing)
    except _UNSEEN as error:
        raise RepairInterrupted(attempts, error) from error
    left = [one for one in diagnose(after) if matters(one)]
    return Repaired(tuple(findings), _judged(attempts, left, after), tuple(left), host, after)


def _repair_all(
    access: HostAccess,
    host: Host,
    findings: Sequence[Finding],
    repairs: Callable[[Finding], bool],
    deadline: float,
) -> list[RepairAttempt]:
    """Pass after pass: mend, look, and stop once nothing new is left or time is over."""
    attempts: list[RepairAttempt] = []
    tried: set[object] = set()
    for _pass in range(_MOST_PASSES):
        now = [one for one in findings if repairs(one) and one.key not in tried]
        if not now or time.monotonic() >= deadline:
            break
        done = _repair_once(access, host, now, deadline)
        tried.update(attempt.finding.key for attempt in done)
        attempts += done
        try:
            host = observe(access)
        except _UNSEEN:
            break  # what is left has to wait; what came of this is looked at once more
        findings = diagnose(host)
    return attempts


def _repair_once(access: HostAccess, host: Host, findings: Sequence[Finding], deadline: float) -> list[RepairAttempt]:
    """All that concerns single devices, then one recipe for each connection, side by side."""
    by_device, chosen = _next(findings)
    attempts = [_repair_device(access, host, finding) for finding in by_device]
    flows: dict[str, tuple[Flow, Clock]] = {}
    for domid, finding in chosen.items():
        clock = Clock(deadline)
        unplugging = unplugging_for(access, host, finding, clock)
        if unplugging is not None:
            flows[unplugging.token] = (unplugging.flow(), clock)
        else:
            flows[f"xen.pci-repair-{domid}"] = (flow_of(access, host, finding, clock), clock)
    outcomes = run(access.store, flows) if flows else {}
    for (domid, finding), outcome in zip(chosen.items(), outcomes_in_order(flows, outcomes)):
        attempts.append(RepairAttempt(finding, _problem(outcome, domid)))
    return attempts


def _next(findings: Sequence[Finding]) -> tuple[list[Finding], dict[int, Finding]]:
    """What is to be mended in one pass: of single devices, and one thing of each connection.

    But what a connection may explain waits until none is to be mended any more.
    """
    chosen: dict[int, Finding] = {}
    for finding in findings:
        by_flow = finding.recipe in CONNECTION_RECIPES or finding.recipe in (Recipe.UNPLUG, Recipe.DROP_RECORD)
        if by_flow and finding.domid is not None:
            chosen.setdefault(finding.domid, finding)
    by_device = [
        one for one in findings if one.recipe in DEVICE_RECIPES and not (chosen and one.fault in _AFTER_CONNECTIONS)
    ]
    return by_device, chosen


def outcomes_in_order(tokens: Iterable[str], outcomes: dict[str, Outcome]) -> list[Outcome]:
    """Outcomes in the order of their tokens: the loop returns them as they end."""
    return [outcomes[token] for token in tokens]


def _repair_device(access: HostAccess, host: Host, finding: Finding) -> RepairAttempt:
    try:
        problems = DEVICE_RECIPES[finding.required_recipe](access, host, finding)
    except _FAILURES as error:
        problems = [str(error)]
    return RepairAttempt(finding, "; ".join(problems))


def _problem(outcome: Outcome, domid: int) -> str:
    if outcome.error is None:
        return str(outcome.value or "")
    if isinstance(outcome.error, DeadlinePassed):
        return f"time was over before domain {domid} answered"
    if isinstance(outcome.error, _FAILURES):
        return str(outcome.error)
    raise outcome.error


def _judged(attempts: Sequence[RepairAttempt], left: Sequence[Finding], after: Host) -> tuple[RepairAttempt, ...]:
    """A fault is mended if it is not found again; never because a recipe ran to its end."""
    remaining = {(one.fault, one.domid, device) for one in left for device in one.devices or (None,)}

    def judged(one: RepairAttempt) -> RepairAttempt:
        found = one.finding
        again = any((found.fault, found.domid, device) in remaining for device in found.devices or (None,))
        domain = after.domains.get(found.domid or 0)
        are_back = domain is None or set(domain.devices).issuperset(found.devices)
        cost = found.recipe is Recipe.RECREATE and bool(one.problem) and not again and not are_back
        return replace(one, repaired=not again and not cost, cost_devices=cost)

    return tuple(judged(one) for one in attempts)
