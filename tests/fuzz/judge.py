# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules: what must hold of a run of a module, given what was true before and after it. No I/O, no product.

A rule that was broken is a Violation. Its name is what shrinking keeps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from truth import NOTHING, QUARANTINE, Problem, Truth, Wrong, differences

#: Faults that repair may name on a host on which nothing is wrong: they are suspicions, or do no harm.
NOT_WRONG = {"unquarantined", "leaked_hold", "stale_configuration", "stray_slot", "sticky_permissive"}
Has = Mapping[str, frozenset[str]]
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Violation:
    """A rule that was broken."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"[{self.rule}] {self.text}"


@dataclass(frozen=True)
class Run:
    """One run of a module, with what was true before and after it, and what clients and Xen did meanwhile.

    `calm`: no fault is active and nobody else acts; `known`: rights that are another program's doing; `repeats`: a
    killed run has done a part of it, perhaps one that nothing shows.
    """

    module: str
    before: Truth
    after: Truth
    result: Result
    doings: tuple[str, ...]
    calm: bool = True
    known: Wrong = NOTHING
    repeats: bool = False

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed"))

    @property
    def changes(self) -> list[str]:
        return differences(self.before.substance(), self.after.substance())

    @property
    def wrote(self) -> list[str]:
        """What was changed through xenstored, Xen and sysfs."""
        others = ("A", "xen", "dom0")
        writes = self.after.state["sysfs_writes"] - self.before.state["sysfs_writes"]
        return [
            *(one for one in self.doings if one.startswith(others)),
            *([f"{writes} writes to sysfs"] * bool(writes)),
        ]

    @property
    def words(self) -> str:
        """What the result says of a failure."""
        parts = [self.result.get("msg"), *(one.get("error") for one in self.result.get("domains", ()))]
        return json.dumps([*parts, self.result.get("left"), self.result.get("refusals")])


def answered(result: Result, timeout: float) -> Iterator[Violation]:
    """Each run ends in time, with an answer in words."""
    message = str(result.get("msg", "")) + str(result.get("exception", ""))
    if "Traceback" in message or "MODULE FAILURE" in message:
        yield Violation("traceback", message[-1500:])
    if result.get("elapsed", 0) > 2 * timeout + 60:
        yield Violation("late", f"it took {result['elapsed']:.0f} s with a timeout of {timeout:.0f} s")
    if result.get("failed") and not result.get("msg"):
        yield Violation("silent", "it failed without a word")


def untouched(run: Run, what: str) -> Iterator[Violation]:
    """Nothing was changed, and nothing was written that changes nothing."""
    for changed in (run.changes, run.wrote):
        if changed:
            yield Violation("untouched", f"{what} changed {'; '.join(changed[:6])}")
            return


def foretold(told: Run, done: Run, strict: bool, again: bool = False) -> Iterator[Violation]:
    """Check mode says what a run does. `strict`: nothing was wrong, so a run has no reason to fail in the middle.

    `again`: an earlier run has done a part of it meanwhile.
    """
    if told.failed and not done.failed:
        yield Violation("foretold", f"check mode failed ({told.result['msg'][:400]}), the run did not")
    elif done.failed and not told.failed and (strict or "refusals" in done.result):
        yield Violation("foretold", f"check mode was fine, the run failed: {done.result['msg'][:600]}")
    elif not told.failed and not done.failed and not again:
        # A repair may uncover a fault that could not be seen before, and says so.
        for key in ("changed",) if told.module == "repair" else ("changed", "actions"):
            if told.result.get(key) != done.result.get(key):
                said, did = told.result.get(key), done.result.get(key)
                yield Violation("foretold", f"check mode said {key}: {said}, the run {did}")


def honest(run: Run) -> Iterator[Violation]:
    """`changed` is true if something changed and only then, notes aside; a refusal changes nothing."""
    changed = run.result.get("changed")
    if run.failed:
        if "refusals" in run.result and not run.result.get("repaired") and run.calm:
            yield from untouched(run, "a refused run")
    elif changed and not run.changes and not _resets(run) and not run.repeats:
        yield Violation("changed", f"changed is true, nothing changed but notes: {run.result.get('actions')}")
    elif not changed and run.changes and run.calm:
        yield Violation("changed", f"changed is false, but {'; '.join(run.changes[:6])}")


def _resets(run: Run) -> bool:
    resets = [{device: facts["resets"] for device, facts in one.devices.items()} for one in (run.before, run.after)]
    return resets[0] != resets[1]


def as_declared(run: Run, goal: Has, declared: set[str]) -> Iterator[Violation]:
    """An ok means that the declared domains have exactly what was declared, on all sides."""
    devices = {device for name in declared for one in (goal, run.before.all()) for device in one.get(name, ())}
    earlier = run.before.problems(known=run.known)
    of_devices = {(one.device, one.text) for one in earlier}
    for problem in run.after.problems(goal, run.known):
        if not problem.domain and (problem.device, problem.text) in of_devices:
            continue
        if problem in earlier and (problem.harmless or problem.domain in json.dumps(run.result.get("warnings", []))):
            continue
        if problem.domain in declared or (problem.device in devices and problem not in earlier):
            yield Violation("as declared", f"ok, but {problem}")


def old_or_new(run: Run, goal: Has, declared: set[str]) -> Iterator[Violation]:
    """A failure leaves each domain with what it had or with what it was to have.

    Or it names all devices that have changed, or all that are not as declared.
    """
    for name in sorted(declared & run.after.domains.keys() & run.before.domains.keys()):
        if run.after.domains[name].domid != run.before.domains[name].domid:
            continue  # it died, and the one that has come back has nothing
        old, new, now = run.before.has(name), goal.get(name, frozenset()), run.after.has(name)
        unnamed = [[device for device in sorted(now ^ other) if device not in run.words] for other in (old, new)]
        if all(unnamed):
            yield Violation("named", f"{name} has {sorted(now)}; not a word of {unnamed} in {run.words[:600]}")


def others_kept(run: Run, declared: set[str], disturbed: set[str]) -> Iterator[Violation]:
    """A domain that was not declared is as it was."""
    for name in run.before.domains.keys() - declared - disturbed:
        if run.before.view(name) != run.after.view(name) or run.after.lacks(name) - run.before.lacks(name):
            yield Violation("others", f"{name} was not declared and has changed: {'; '.join(run.changes[:6])}")


def kept(run: Run, goal: Has | None) -> Iterator[Violation]:
    """What works in a guest and is to stay goes on to work, without being taken away meanwhile.

    A run that fails may have cost a device if it says so.
    """
    for name, device in sorted(run.before.working()):
        if goal is not None and device not in goal.get(name, ()):
            continue
        if device not in run.after.devices:
            yield Violation("kept", f"{name} has lost {device}, which the host does not have any more")
        elif not run.after.works(name, device):
            if not (run.failed and device in run.words):
                yield Violation("kept", f"{name} had {device} working, and it does not any more: {run.words[:600]}")
        elif run.after.devices[device]["resets"] > run.before.devices[device]["resets"]:
            yield Violation("kept", f"{device} was reset while {name} used it, although it was to keep it")


def safe(before: Truth, after: Truth) -> Iterator[Violation]:
    """Whatever was done: no device is reachable for one domain while it is another's, or the host's."""
    old = set(_unsafe(before))
    for text in _unsafe(after):
        if text not in old:
            yield Violation("safe", text)


def _unsafe(truth: Truth) -> Iterator[str]:
    rights = truth.rights()
    for domain in truth.domains.values():
        for device in domain.sees:
            facts = truth.devices.get(device)
            if facts is None or domain.oops:
                continue
            touches = any(one in rights for one in truth.due_rights({domain.name: [device]}))
            if touches and facts["owner"] not in (domain.domid, QUARANTINE, 0):
                yield f"{domain.name} sees {device} and may touch it, and domain {facts['owner']} owns it"
            if touches and facts["driver"] not in ("pciback", None):
                yield f"{domain.name} sees {device} and may touch it, and {facts['driver']} of the host drives it"
    for device, facts in truth.devices.items():
        if facts["driver"] not in ("pciback", None) and facts["owner"] not in (0, QUARANTINE):
            yield f"{facts['driver']} of the host drives {device}, which domain {facts['owner']} owns"


def drivers_kept(run: Run, meant: set[str]) -> Iterator[Violation]:
    """A device of the host that was not named keeps its driver."""
    after = run.after.drivers()
    for device, driver in run.before.drivers().items():
        if device not in meant and after.get(device) != driver:
            named = run.failed and device in run.words
            if not named:
                yield Violation("driver", f"{device} had the driver {driver} and has {after.get(device)}")


def held(run: Run, devices: set[str]) -> Iterator[Violation]:
    """An ok of assignable_devices present: pciback holds the devices, in quarantine or for a guest."""
    guests = {device for name in run.after.domains for device in run.after.has(name)}
    for device in sorted(devices):
        facts = run.after.devices.get(device)
        if facts is None or facts["driver"] != "pciback" or device not in run.after.state["slots"]:
            yield Violation("held", f"ok, but {device} is not held by pciback: {facts}")
        elif facts["owner"] != QUARANTINE and device not in guests:
            yield Violation("held", f"ok, but {device} is not in quarantine: {facts}")


def released(run: Run, devices: set[str]) -> Iterator[Violation]:
    """An ok of assignable_devices absent: the devices are the host's, with the driver that fits them."""
    for device in sorted(devices):
        facts = run.after.devices.get(device)
        if facts is not None and (facts["driver"], facts["owner"]) != (facts["fits"], 0):
            yield Violation("released", f"ok, but {device} has {facts['driver']}, not {facts['fits']}: {facts}")


def repaired(run: Run, host_sound: bool) -> Iterator[Violation]:
    """A repair makes nothing worse, and an ok that names nothing means that all is well."""
    before, after = (one.problems(known=run.known) for one in (run.before, run.after))
    if len(after) > len(before):
        new = [str(one) for one in after if one not in before]
        yield Violation("worse", f"a repair made it worse: {'; '.join(new[:6])}")
    unseen = [str(one) for one in after if not _named(one, run.result) and not one.harmless]
    if not run.failed and unseen:
        yield Violation("unseen", f"repair is content and says nothing of this: {'; '.join(unseen[:6])}")
    if host_sound and (found := {one["fault"] for one in run.result.get("findings", ())} - NOT_WRONG):
        yield Violation("invented", f"nothing was wrong, and repair found {found}")


def _named(problem: Problem, result: Result) -> bool:
    """Whether a repair has said that something is wrong with this device, or with this domain."""
    findings = [one for one in result.get("findings", ()) if one["fault"] not in NOT_WRONG] + [*result.get("left", ())]
    if problem.device:
        return any(problem.device in one["devices"] for one in findings)
    return any(problem.domain == one["domain"] for one in findings)


def asked(run: Run, must: str) -> Iterator[Violation]:
    """What a fixed episode asks for beyond the rules."""
    message = run.result.get("msg", "")[:600]
    if must == "ok" and run.failed:
        yield Violation("must", f"it must not fail: {message}")
    elif must == "failed" and not run.failed:
        yield Violation("must", f"it must fail: {run.result.get('actions')}")
    elif must == "untouched":
        yield from untouched(run, "a run that must not touch anything")
    elif must == "better" and run.failed:
        before, after = (set(one.problems(known=run.known)) for one in (run.before, run.after))
        if new := after - before:
            yield Violation("must", f"it failed and left what was not there: {'; '.join(map(str, new))}")
