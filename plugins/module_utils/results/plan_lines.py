# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of a plan: of repairs, virtual functions, what pciback holds, and the devices of domains.

Each function makes the lines of what is planned, and with what was seen afterwards, the lines of what was done. Where
all went as planned, these are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..faults.finding import Finding, where
from ..model.device import PCIBACK
from ..model.host import Host
from ..model.physical_function import VfSettings
from ..plan.assignment import AssignmentPlan
from ..plan.assignment_state import AssignmentState
from ..plan.device_steps import FinishRelease, Forget, MakePermissive, Quarantine, Rebind, Release, Step, Take
from ..plan.domain_plan import DomainsPlan
from ..plan.file_plan import FileChange, devices_in
from ..plan.function_plan import Configure, FunctionPlan, SetAutoprobe, SetCount
from ..values.address import Sbdf
from ..values.words import listed
from .device_labels import DeviceLabels
from .domain_report import DomainReport
from .plan_text import CHANGES, GAINS, LOSES, Part, PlanLine


def first_repair_lines(findings: Iterable[Finding]) -> Iterator[PlanLine]:
    """Make a line for each domain of which something is repaired before a plan; which faults shows only on the way."""
    for subject in sorted({where(finding) for finding in findings}):
        yield PlanLine(Part.REPAIRS, subject, CHANGES, change="repaired first")


def repair_lines(labels: DeviceLabels, findings: Iterable[Finding]) -> Iterator[PlanLine]:
    """Make the lines of faults that are repaired, or were, when nothing else is asked for."""
    for finding in findings:
        subject, change = where(finding), f"repair {finding.fault.code}"
        if not finding.devices:
            yield PlanLine(Part.REPAIRS, subject, CHANGES, change=change)
        for device in finding.devices:
            yield labels.line(Part.REPAIRS, subject, CHANGES, device, change)


def domain_lines(
    labels: DeviceLabels,
    plan: DomainsPlan,
    files: Sequence[FileChange] = (),
    reports: Sequence[DomainReport] | None = None,
) -> Iterator[PlanLine]:
    """Make the lines of the devices that domains gain and lose; `reports` and `files` are those from after a run.

    Also what a repair takes from a domain before, and what the domain gets back after a repair.
    """
    if reports is None:
        after = {step.domain.name: step.after for step in plan.domains}
        cleared = set(after)
    else:
        after = {report.name: report.after for report in reports}
        cleared = {report.name for report in reports if report.unlisted}
    moves = {}
    for step in plan.domains:
        first = labels.host.domains.get(step.domain.domid, step.domain).devices
        end = after.get(step.domain.name, first)
        had, kept = {*first, *step.domain.devices}, {*first}.intersection(step.domain.devices)
        moves[step.domain.name] = (had.difference(end), set(end) - kept)
    yield from _moves(labels, plan, moves)
    for step in plan.domains:
        for device in step.unlisted if step.domain.name in cleared else ():
            change = "removed from its stored configuration"
            yield labels.line(Part.DOMAINS, step.domain.name, CHANGES, device, change)
    deferred = {step.domain.name: step.deferred for step in plan.domains}
    for file in files:
        yield from _moves_in_file(labels, file, deferred.get(file.want.name, ()))


def _moves(
    labels: DeviceLabels, plan: DomainsPlan, moves: Mapping[str, tuple[set[Sbdf], set[Sbdf]]]
) -> Iterator[PlanLine]:
    """Make the lines of domains with the devices that they lose and gain; one that moves has a line at both ends."""
    givers = {device: name for name, (lost, _gained) in moves.items() for device in lost}
    takers = {device: name for name, (_lost, gained) in moves.items() for device in gained}
    options = {(step.domain.name, device): step.options[device] for step in plan.domains for device in step.options}
    for name, (lost, gained) in moves.items():
        for device in lost:
            yield labels.line(Part.DOMAINS, name, LOSES, device, f"to {takers[device]}" if device in takers else "")
        for device in gained:
            words = [f"from {givers[device]}"] if device in givers else []
            words += [f"with {options[name, device]}"] if options.get((name, device)) else []
            yield labels.line(Part.DOMAINS, name, GAINS, device, ", ".join(words))


def _moves_in_file(labels: DeviceLabels, file: FileChange, deferred: Sequence[Sbdf]) -> Iterator[PlanLine]:
    """Make the lines of a domain that does not run, and of devices that a running one gets when created again."""
    before, after = devices_in(file.before), devices_in(file.after)
    why = "until it is created again" if file.running else "as it does not run"
    for sign, devices in ((LOSES, set(before) - set(after)), (GAINS, set(after) - set(before))):
        for device in devices:
            if not file.running or device in deferred:
                yield labels.line(Part.DOMAINS, file.want.name, sign, device, f"in its file only, {why}")


def assignment_lines(
    labels: DeviceLabels, plan: AssignmentPlan, seen: AssignmentState | None = None
) -> Iterator[PlanLine]:
    """Make the lines of the devices that pciback gains, loses or holds in another way; `seen` is from after a run."""
    after = seen or plan.expected
    steps: dict[Sbdf, list[Step]] = {}
    for step in plan.devices.steps:
        if seen is None or _is_done(step, labels.host, seen):
            steps.setdefault(step.sbdf, []).append(step)
    for sbdf in after.drivers:
        taken = [_step_words(step) for step in steps.get(sbdf, ())]
        signs = [_sign(step) for step in steps.get(sbdf, ())]
        words = [*taken, *_reboot_words(labels.host, sbdf, after, GAINS in signs, LOSES in signs)]
        if words:
            sign = next((sign for sign in signs if sign != CHANGES), CHANGES)
            yield labels.line(Part.ASSIGNMENT, PCIBACK, sign, sbdf, ", ".join(filter(None, words)))
    for stage in plan.boot.stages:
        yield PlanLine(Part.BOOT, "boot", CHANGES, stage.value, change="rebuilt")


def _sign(step: Step) -> str:
    if isinstance(step, Take):
        return GAINS
    return LOSES if isinstance(step, (Release, FinishRelease, Forget)) else CHANGES


def _step_words(step: Step) -> str:
    if isinstance(step, Take):
        return f"from {step.driver}" if step.driver else "from no driver"
    if isinstance(step, Forget):
        return "forgotten, since this host does not have it"
    if isinstance(step, (Release, FinishRelease)):
        bound = isinstance(step, FinishRelease) and step.bound
        return "release finished" if bound else f"back to {step.driver or 'the host'}"
    words = {Quarantine: "into quarantine", Rebind: "not permissive any more", MakePermissive: "permissive"}
    return words[type(step)]


def _is_done(step: Step, before: Host, seen: AssignmentState) -> bool:
    """Whether what was seen after a run shows that the step was taken."""
    sbdf = step.sbdf
    held = seen.drivers.get(sbdf) == PCIBACK
    if isinstance(step, FinishRelease) and not step.bound and step.record is None:
        # An offer to the host's drivers; whether one of them has it now, or pciback's list named it.
        return not held and bool(seen.drivers.get(sbdf) or before.devices[sbdf].pciback_slots)
    if isinstance(step, (Release, FinishRelease, Forget)):
        return not held
    if isinstance(step, Quarantine):
        return sbdf in seen.quarantined
    return held and (isinstance(step, Take) or (sbdf in seen.permissive) is isinstance(step, MakePermissive))


def _reboot_words(host: Host, sbdf: Sbdf, after: AssignmentState, gains: bool, loses: bool) -> Iterator[str]:
    """Say who holds a device after a reboot, if that changes or is worth knowing beside the rest of the line."""
    before = AssignmentState.seen(host, [sbdf])
    was, becomes = (
        "not known" if sbdf in state.unknown else "held" if sbdf in state.after_reboot else "with the host"
        for state in (before, after)
    )
    if gains and becomes == "with the host":
        yield "until a reboot"
    elif gains or (was != becomes and not (loses and becomes == "with the host")):
        yield f"after a reboot: {becomes}"


def function_lines(labels: DeviceLabels, plan: FunctionPlan, seen: Host | None = None) -> Iterator[PlanLine]:
    """Make the lines of physical functions and the settings of their virtual ones; `seen` is from after a run."""
    changes: dict[Sbdf, list[str]] = {}
    for step in plan.steps:
        if isinstance(step, SetCount):
            count = step.count if seen is None else len(seen.devices[step.pf].virtfns)
            words = [f"virtual functions {step.before} -> {count}"] if count != step.before else []
            changes.setdefault(step.pf, []).extend(words)
        elif isinstance(step, SetAutoprobe):
            changes.setdefault(step.pf, []).append(f"drivers_autoprobe {'on' if step.offer else 'off'}")
        elif seen is None or _is_set(step, seen):
            called = f"{labels.name(step.pf) or step.pf} vf {step.index}"
            yield PlanLine(Part.FUNCTIONS, "host", CHANGES, called, change=str(step.settings))
    for pf, words in changes.items():
        if words:
            yield labels.line(Part.FUNCTIONS, "host", CHANGES, pf, listed(sorted(words, reverse=True)))


def _is_set(step: Configure, seen: Host) -> bool:
    physical = seen.functions.get(step.pf)
    now = physical.settings.get(step.index, VfSettings()) if physical is not None else VfSettings()
    return step.settings.missing_in(now) == VfSettings()
