# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Play an episode, a list of steps on one machine, until a rule is broken; find the shortest list that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import judge
from judge import Has, Run, Violation
from machines import Machine
from step import Step, act, declared, goal
from truth import NOTHING, Truth, Wrong
from world import Hung, World

TIMEOUT = 15
SETTLE = 0.5


@dataclass(frozen=True)
class Failure:
    """A broken rule, with the steps up to the one that broke it."""

    steps: tuple[Step, ...]
    violation: Violation


@dataclass
class Task:
    """A run of a module that is to be judged. `domains`: those it may change; `devices`: those whose driver it may."""

    module: str
    parameters: dict[str, Any]
    goal: Callable[[Truth], Has] | None = None
    domains: set[str] = field(default_factory=set)
    devices: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    all_domains: bool = False
    ok: Callable[[Run], Iterable[Violation]] = lambda _run: ()

    @property
    def timeout(self) -> float:
        return float(self.parameters.get("timeout", TIMEOUT))


class Episode:
    """One machine from its boot on. `known`: rights that xl and hands have left or taken, which nobody can read."""

    def __init__(self, world: World, machine: Machine) -> None:
        self.world = world
        self.known: Wrong = NOTHING
        self.results: list[str] = []
        world.boot(machine)

    def play(self, steps: Iterable[Step]) -> Failure | None:
        """Do all steps; the first broken rule ends it."""
        done: list[Step] = []
        try:
            for step in steps:
                done.append(step)
                violation = self.do(step)
                if violation is not None:
                    return Failure(tuple(done), violation)
        except AssertionError as error:  # of a look at the host while a step was chosen
            return Failure(tuple(done), Violation("rest", str(error)))
        return None

    def do(self, step: Step) -> Violation | None:
        """Do one step; the first rule that it breaks."""
        try:
            violation = next(self._judged(step), None)
        except Hung as hung:
            return Violation("hang", str(hung))
        except AssertionError as error:
            return Violation("crash", str(error)[-3000:])
        if violation is None and (log := (self.world.directory / "log").read_text()):
            violation = Violation("simulator", log[-2000:])
        return violation

    def _judged(self, step: Step) -> Iterator[Violation]:
        if step.kind in RUNS:
            yield from RUNS[step.kind](self, step)
            return
        before = self.world.truth()
        said = act(self.world, step)
        if "Traceback" in said:
            yield Violation("xl", said[-1500:])
        if step.kind not in ("fault", "pause"):
            self._not_ours(before, self.world.truth())

    def _not_ours(self, before: Truth, after: Truth) -> None:
        """Remember what others did to rights: nothing shows it to the modules."""
        old, new = before.wrong_rights(), after.wrong_rights()
        self.known = (self.known[0] | (new[0] - old[0]), self.known[1] | (new[1] - old[1]))

    # -- runs

    def _declare(self, step: Step) -> Iterator[Violation]:
        domains = declared(self.world, step.words)
        parameters = {"domains": domains, "timeout": int(step.options.get("timeout", TIMEOUT))}
        parameters["repair"] = step.options.get("repair", "never")
        task = Task("domain_devices", parameters, lambda truth: goal(domains, truth.all()), set(domains))
        if step.options.get("by") == "host":
            task.module, parameters["exclusive"] = "host_state", False
            task.devices = {device for wanted in domains.values() for device in wanted["devices"]}
        if parameters["repair"] == "first":  # which repairs the faults of the devices, too, whoever has them
            devices = {device for wanted in domains.values() for device in wanted["devices"]}
            task.shared = {name for name, has in self.world.truth().all().items() if has & devices}
        yield from self._run(task, step)

    def _hold(self, step: Step) -> Iterator[Violation]:
        devices = {self.world.address(name) for word in step.words for name in word.split(",")}
        state, rule = ("present", judge.held) if step.kind == "hold" else ("absent", judge.released)
        parameters = {"devices": sorted(devices), "state": state, "timeout": TIMEOUT}
        task = Task("assignable_devices", parameters, devices=devices, ok=lambda run: rule(run, devices))
        yield from self._run(task, step)

    def _functions(self, step: Step) -> Iterator[Violation]:
        name, _equals, count = step.words[0].partition("=")
        physical = self.world.address(name)
        parameters = {"physical_functions": [{"pf": physical, "count": int(count)}], "timeout": TIMEOUT}
        devices = {device for device in self.world.truth().devices if device.startswith(physical[:-1])} - {physical}

        def as_many(run: Run) -> Iterator[Violation]:
            found = run.after.devices[physical]["vfs"]
            if len(found) != int(count):
                yield Violation("functions", f"ok, but {physical} has {found}")

        yield from self._run(Task("virtual_functions", parameters, devices=devices, ok=as_many), step)

    def _repair(self, step: Step) -> Iterator[Violation]:
        parameters: dict[str, Any] = {"settle": SETTLE, "timeout": TIMEOUT}
        if "faults" in step.options:
            parameters["faults"] = step.options["faults"].split(",")
        yield from self._run(Task("repair", parameters, all_domains=True), step)

    def _info(self, _step: Step) -> Iterator[Violation]:
        run = self._play(Task("host_info", {}))
        yield from judge.answered(run.result, TIMEOUT)
        yield from judge.untouched(run, "host_info")
        if run.failed and not self.world.faults:
            yield Violation("info", f"host_info failed: {run.result['msg'][:600]}")
        if not run.failed and not run.before.problems(known=self.known) and not self.world.faults:
            shown = {one["name"]: {device["address"] for device in one["devices"]} for one in run.result["domains"]}
            for name, domain in run.before.domains.items():
                found = shown.get(name, set()) | shown.get(f"{name}-dm", set())  # whoever has the connection
                if not domain.ended and found != set(domain.sees):
                    yield Violation("info", f"host_info says that {name} has {found}, not {domain.sees}")
            if run.result.get("disagreements"):
                yield Violation("info", f"nothing is wrong, and host_info says {run.result['disagreements']}")

    def _both(self, step: Step) -> Iterator[Violation]:
        """Two declarations at once end as one after the other, in either order, or one of them alone."""
        middle = step.words.index("|")
        sides = [declared(self.world, words) for words in (step.words[:middle], step.words[middle + 1 :])]
        tasks = [{"domains": side, "timeout": TIMEOUT} for side in sides]
        before = self.world.truth()
        results = self.world.play_both("domain_devices", *tasks)
        after = self.world.truth()
        for result in results:
            yield from judge.answered(result, TIMEOUT)
        yield from judge.safe(before, after)
        if self.world.faults or before.problems(known=self.known):
            return
        failed = [result["msg"] for result in results if result.get("failed") and "refusals" not in result]
        if failed:
            yield Violation("both", f"nothing was wrong, and a run failed: {failed[0][:600]}")
        good = [side for side, result in zip(sides, results, strict=True) if not result.get("failed")]
        if not good:
            return
        old = before.all()
        orders = [good, good[::-1]] if len(good) == 2 else [good]
        possible = [
            goal(order[-1], goal(order[0], old)) if len(order) == 2 else goal(order[0], old) for order in orders
        ]
        if after.all() not in possible:
            yield Violation("both", f"{after.all()} is neither order of both: {possible}")
        if wrong := after.problems(known=self.known):
            yield Violation("both", "; ".join(map(str, wrong[:6])))

    def _run(self, task: Task, step: Step) -> Iterator[Violation]:
        """Check mode, perhaps a run that is killed, the run, and the same again."""
        calm = not self.world.faults
        sound = calm and not self._problems(self.world.truth())
        told = self._play(task, check=True)
        yield from judge.answered(told.result, task.timeout)
        yield from judge.untouched(told, "check mode")
        kill = step.options.get("kill")
        if kill is not None and not told.failed:
            killed = self._play(task, kill_at=int(kill) if kill.isdecimal() else kill)
            yield from judge.safe(killed.before, killed.after)
            yield from self._others(task, killed)
            if step.options.get("then") == "nothing":
                return
            if kill != "xl":
                told = self._play(task, check=True)
        done = replace(self._play(task), repeats=kill is not None)
        if kill == "xl":  # which went on while this was looked at
            done = replace(done, calm=False)
        yield from self._judge_run(task, done, step)
        if calm:
            yield from judge.foretold(told, done, sound, again=kill == "xl")
            if not done.failed:
                again = self._play(task)
                if again.failed or again.result.get("changed"):
                    said = again.result.get("msg") or again.result.get("actions")
                    yield Violation("again", f"a second run is not without changes: {said}")
                yield from judge.untouched(again, "a second run")

    def _judge_run(self, task: Task, run: Run, step: Step) -> Iterator[Violation]:
        yield from judge.answered(run.result, task.timeout)
        yield from judge.safe(run.before, run.after)
        yield from judge.honest(run)
        yield from self._others(task, run)
        if task.goal is not None:
            wanted = task.goal(run.before)
            if run.failed:
                yield from judge.old_or_new(run, wanted, task.domains)
            elif run.calm or not self._disturbed():
                yield from judge.as_declared(run, wanted, task.domains)
        if run.calm:
            yield from judge.kept(run, task.goal(run.before) if task.goal else None)
        if not run.failed:
            yield from task.ok(run)
        if task.module == "repair" and run.calm and "faults" not in step.options:
            yield from judge.repaired(run, not self._problems(run.before))
        yield from judge.asked(run, step.options.get("must", ""))

    def _others(self, task: Task, run: Run) -> Iterator[Violation]:
        if not task.all_domains:
            yield from judge.others_kept(run, task.domains | task.shared, self._disturbed())
        yield from judge.drivers_kept(run, task.devices)

    def _disturbed(self) -> set[str]:
        """Domains that do something by themselves because of a fault."""
        names = {str(arguments.get(key)) for _fault, arguments in self.world.faults for key in ("domain", "victim")}
        return set(self.world.machine.guests) if "0" in names else names - {"None"}

    def _problems(self, truth: Truth) -> list[Any]:
        return truth.problems(known=self.known)

    def _play(self, task: Task, **how: Any) -> Run:
        before, start = self.world.truth(), len(self.world.ask("trace"))
        result = self.world.play(task.module, task.parameters, **how)
        after = self.world.truth()
        self.results.append(
            f"{task.module} {how or ''}: {result.get('msg') or result.get('actions') or 'nothing'}"[:300]
        )
        doings = tuple(self.world.doings(start))
        return Run(task.module, before, after, result, doings, not self.world.faults, self.known)


RUNS: dict[str, Callable[[Episode, Step], Iterator[Violation]]] = {
    "declare": Episode._declare,
    "both": Episode._both,
    "hold": Episode._hold,
    "release": Episode._hold,
    "functions": Episode._functions,
    "repair": Episode._repair,
    "info": Episode._info,
}


def shrink(world: World, machine: Machine, failure: Failure, tries: int = 40) -> Failure:
    """The same rule broken by fewer and shorter steps, as far as so many more episodes find out."""
    progress = True
    while progress and tries > 0:
        progress = False
        for steps in _shorter(failure.steps):
            tries -= 1
            again = Episode(world, machine).play(steps)
            if again is not None and again.violation.rule == failure.violation.rule:
                failure, progress = again, True
                break
            if tries <= 0:
                break
    return failure


def _shorter(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Without half of the steps, without one step, and with one word or option less."""
    if len(steps) > 3:
        yield list(steps[len(steps) // 2 :])
    for index in range(len(steps) - 1):
        yield [*steps[:index], *steps[index + 1 :]]
    for index, step in enumerate(steps):
        for simpler in _simpler(step):
            yield [*steps[:index], simpler, *steps[index + 1 :]]


def _simpler(step: Step) -> Iterator[Step]:
    for name in step.options:
        yield replace(step, options={key: value for key, value in step.options.items() if key != name})
    if step.kind not in ("declare", "hold", "release"):
        return
    for number, word in enumerate(step.words):
        if len(step.words) > 1:
            yield replace(step, words=(*step.words[:number], *step.words[number + 1 :]))
        head, sign, devices = word.rpartition("=")
        names = devices.split(",")
        for name in names if len(names) > 1 else ():
            fewer = f"{head}{sign}{','.join(one for one in names if one != name)}"
            yield replace(step, words=(*step.words[:number], fewer, *step.words[number + 1 :]))
