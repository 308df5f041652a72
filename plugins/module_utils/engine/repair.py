# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mend what is diagnosed, look again, and go on until nothing is left that a recipe could mend."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Callable

from ..decisions.diagnose import Finding, Signs, diagnose, in_words, title
from ..decisions.faults import Fault, Recipe
from ..decisions.mended import assuming_mended
from ..decisions.obstacles import is_tolerable
from ..interfaces.hypervisor import HypervisorError
from ..interfaces.libxl import LockError
from ..interfaces.libxl_config import ConfigError
from ..interfaces.sysfs import SysfsError
from ..interfaces.xen_backend import kernel_connections
from ..interfaces.xenstore import XenStoreError
from ..model.host import Host
from ..values.address import Sbdf
from .examine import SETTLE_SECONDS, examine, look, signs_of
from .loop import Clock, DeadlinePassed, Flow, Outcome, run
from .mend_connection import FLOWS, flow_of
from .mend_device import MENDERS
from .mend_device_model import unplugging_for
from .outside import Outside
from .report import DomainFailed

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
        Fault.GHOST_CONNECTION,
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

    def mends(self, finding: Finding) -> bool:
        """Whether it is covered and may be mended now."""
        asked = not finding.fault.on_request or finding.fault in self.named
        return self.covers(finding) and finding.recipe is not None and asked


@dataclass(frozen=True)
class Treatment:
    """What was done about one finding; `problem` is empty unless a step was refused.

    `cost_devices`: the fault is gone, and with it the devices that its guest was to have back.
    """

    finding: Finding
    problem: str = ""
    mended: bool = False
    cost_devices: bool = False


@dataclass(frozen=True)
class Repaired:
    """The faults found first, what was done, and the faults that are there afterwards; the host as it was and is."""

    findings: tuple[Finding, ...]
    treatments: tuple[Treatment, ...]
    left: tuple[Finding, ...]
    before: Host
    after: Host

    @property
    def changed(self) -> bool:
        """Whether anything was mended, or what could not be is not as it was."""
        touched = (_of_findings(host, [one.finding for one in self.treatments]) for host in (self.before, self.after))
        return any(one.mended for one in self.treatments) or len(set(touched)) > 1

    @property
    def in_vain(self) -> list[str]:
        """What was tried and did not help, with what refused it."""
        return [f"{title(one.finding)}: {one.problem}" for one in self.treatments if not one.mended and one.problem]


def _of_findings(host: Host, findings: Iterable[Finding]) -> frozenset[object]:
    """What a host says of the devices and domains that findings are about, as far as a repair changes it."""
    devices = {device for one in findings for device in one.devices}
    domains = [domain for one in findings if (domain := host.domains.get(one.domid or 0)) is not None]
    return frozenset(
        [
            *((device, host.xen_owners.get(device), host.markers.get(device)) for device in devices),
            *((domain.domid, domain.devices, domain.configured, domain.backend is None) for domain in domains),
        ]
    )


class RepairInterrupted(Exception):
    """Something was tried, and then nobody could see any more what came of it; the text says what, and why."""

    def __init__(self, treatments: Sequence[Treatment], why: Exception) -> None:
        tried = "; ".join(in_words(one.finding) for one in treatments)
        super().__init__(f"Tried to mend {tried}; what came of it cannot be seen ({why}), so repair again once it can")


def repair(outside: Outside, scope: Scope, timeout: float, settle: float = SETTLE_SECONDS) -> Repaired:
    """Mend everything within `scope`; each step's success is what a new diagnosis says. Raises RepairInterrupted."""
    deadline = time.monotonic() + timeout
    signs, findings = examine(outside, scope.covers, settle, timeout)
    return _mended(outside, signs, findings, scope.covers, scope.mends, deadline)


def finish_unfinished(outside: Outside, host: Host, scope: Scope, timeout: float) -> Repaired:
    """Finish what a killed run of ours left within `scope`, and nothing else; `host` is what was seen just now.

    A cycle under way is waited for until it is over or has not moved for a while. What is `left` forbids to call the
    domains' devices as declared, or is a cycle that goes on. Raises RepairInterrupted.
    """

    def matters(finding: Finding) -> bool:
        return scope.covers(finding) and (finding.fault in UNDER_WAY or not is_tolerable(finding.fault))

    def ours(finding: Finding) -> bool:
        return scope.covers(finding) and finding.fault in OUR_OWN

    at_first_sight = diagnose(Signs(host, kernel_connections(outside.sysfs.root)))
    if not any(map(matters, at_first_sight)):
        return Repaired((), (), (), host, host)
    deadline = time.monotonic() + timeout
    signs, findings = examine(outside, matters, SETTLE_SECONDS, timeout)
    return _mended(outside, signs, findings, matters, ours, deadline)


@dataclass(frozen=True)
class Foreseen:
    """What a run would mend, what it would leave, and the host as it would be then."""

    mended: tuple[Finding, ...]
    left: tuple[Finding, ...]
    host: Host


def foresee(outside: Outside, host: Host, scope: Scope, everything: bool) -> Foreseen:
    """What a run would do before anything else; by one look, `host`.

    `everything`: all that has a recipe, as `repair` does; else what `finish_unfinished` does.
    """
    signs, mended = signs_of(outside, host), dict[object, Finding]()
    for _pass in range(_MOST_PASSES):
        findings = [one for one in diagnose(signs) if scope.covers(one) and one.key not in mended]
        now = [one for one in findings if (scope.mends(one) if everything else one.fault in OUR_OWN)]
        if not now:
            break
        by_device, by_connection = _next(now)
        chosen = [*by_device, *by_connection.values()]
        mended.update((one.key, one) for one in chosen)
        signs = assuming_mended(signs, chosen)
    return Foreseen(tuple(mended.values()), tuple(findings), signs.host)


def _mended(
    outside: Outside,
    signs: Signs,
    findings: Sequence[Finding],
    matters: Callable[[Finding], bool],
    mends: Callable[[Finding], bool],
    deadline: float,
) -> Repaired:
    treatments = _mend_all(outside, signs, findings, mends, deadline)
    if not treatments:
        return Repaired(tuple(findings), (), tuple(findings), signs.host, signs.host)
    try:
        with outside.answering() as seeing:
            after = look(seeing)
    except _UNSEEN as error:
        raise RepairInterrupted(treatments, error) from error
    left = [one for one in diagnose(after) if matters(one)]
    return Repaired(tuple(findings), _judged(treatments, left, after.host), tuple(left), signs.host, after.host)


def _mend_all(
    outside: Outside,
    signs: Signs,
    findings: Sequence[Finding],
    mends: Callable[[Finding], bool],
    deadline: float,
) -> list[Treatment]:
    """Pass after pass: mend, look, and stop once nothing new is left or time is over."""
    treatments: list[Treatment] = []
    tried: set[object] = set()
    for _pass in range(_MOST_PASSES):
        now = [one for one in findings if mends(one) and one.key not in tried]
        if not now or time.monotonic() >= deadline:
            break
        done = _mend_once(outside, signs, now, deadline)
        tried.update(treatment.finding.key for treatment in done)
        treatments += done
        try:
            signs = look(outside)
        except _UNSEEN:
            break  # what is left has to wait; what came of this is looked at once more
        findings = diagnose(signs)
    return treatments


def _mend_once(outside: Outside, signs: Signs, findings: Sequence[Finding], deadline: float) -> list[Treatment]:
    """All that concerns single devices, then one recipe for each connection, side by side."""
    by_device, chosen = _next(findings)
    treatments = [_mend_device(outside, signs, finding) for finding in by_device]
    flows: dict[str, tuple[Flow, Clock]] = {}
    for domid, finding in chosen.items():
        clock = Clock(deadline)
        unplugging = unplugging_for(outside, signs, finding, clock)
        if unplugging is not None:
            flows[unplugging.token] = (unplugging.flow(), clock)
        else:
            flows[f"xen.pci-repair-{domid}"] = (flow_of(outside, signs, finding, clock), clock)
    outcomes = run(outside.store, flows) if flows else {}
    for (domid, finding), outcome in zip(chosen.items(), outcomes_in_order(flows, outcomes)):
        treatments.append(Treatment(finding, _problem(outcome, domid)))
    return treatments


def _next(findings: Sequence[Finding]) -> tuple[list[Finding], dict[int, Finding]]:
    """What is to be mended in one pass: of single devices, and one thing of each connection.

    But what a connection may explain waits until none is to be mended any more.
    """
    chosen: dict[int, Finding] = {}
    for finding in findings:
        by_flow = finding.recipe in FLOWS or finding.recipe in (Recipe.UNPLUG, Recipe.DROP_RECORD)
        if by_flow and finding.domid is not None:
            chosen.setdefault(finding.domid, finding)
    by_device = [one for one in findings if one.recipe in MENDERS and not (chosen and one.fault in _AFTER_CONNECTIONS)]
    return by_device, chosen


def outcomes_in_order(tokens: Iterable[str], outcomes: dict[str, Outcome]) -> list[Outcome]:
    """Outcomes in the order of their tokens: the loop returns them as they end."""
    return [outcomes[token] for token in tokens]


def _mend_device(outside: Outside, signs: Signs, finding: Finding) -> Treatment:
    try:
        problems = MENDERS[finding.prescription](outside, signs, finding)
    except _FAILURES as error:
        problems = [str(error)]
    return Treatment(finding, "; ".join(problems))


def _problem(outcome: Outcome, domid: int) -> str:
    if outcome.error is None:
        return str(outcome.value or "")
    if isinstance(outcome.error, DeadlinePassed):
        return f"time was over before domain {domid} answered"
    if isinstance(outcome.error, _FAILURES):
        return str(outcome.error)
    raise outcome.error


def _judged(treatments: Sequence[Treatment], left: Sequence[Finding], after: Host) -> tuple[Treatment, ...]:
    """A fault is mended if it is not found again; never because a recipe ran to its end."""
    remaining = {(one.fault, one.domid, device) for one in left for device in one.devices or (None,)}

    def judged(one: Treatment) -> Treatment:
        found = one.finding
        again = any((found.fault, found.domid, device) in remaining for device in found.devices or (None,))
        domain = after.domains.get(found.domid or 0)
        are_back = domain is None or set(domain.devices).issuperset(found.devices)
        cost = found.recipe is Recipe.RECREATE and bool(one.problem) and not again and not are_back
        return replace(one, mended=not again and not cost, cost_devices=cost)

    return tuple(judged(one) for one in treatments)
