# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules can be broken: what others do to a host is given out as the work of a run, and the rule says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import judge
import pytest
from episode import Episode
from judge import Run, Violation
from machines import CARDS, MACHINES
from step import act, parse
from world import World

Rule = Callable[[Run], Iterable[Violation]]
A, B, C, _D = CARDS.values()
OK = {"changed": True, "actions": []}
FAILED = {"failed": True, "msg": "no"}


def pretend(world: World, machine: str, before: str, meanwhile: str, result: dict[str, Any]) -> Run:
    """A run that did what others did."""
    episode = Episode(world, MACHINES[machine])
    assert episode.play(parse(before)) is None
    old, start = world.truth(), len(world.ask("trace"))
    for step in parse(meanwhile):
        act(world, step)
    return Run("pretended", old, world.truth(), result, tuple(world.doings(start)))


CASES: dict[str, tuple[str, str, dict[str, Any], Rule]] = {
    "ok without the device": ("", "", OK, lambda run: judge.as_declared(run, {"g1": frozenset({A})}, {"g1"})),
    "ok without the right to the line": (
        "declare g1=A,C",
        "xl pci-detach g1 A",
        OK,
        lambda run: judge.as_declared(run, {"g1": frozenset({C})}, {"g1"}),
    ),
    "ok without the marker": (
        "declare g1=A",
        "remove marker:A",
        OK,
        lambda run: judge.as_declared(run, {"g1": frozenset({A})}, {"g1"}),
    ),
    "ok without the stored configuration": (
        "declare g1=A",
        "stored g1 A",
        OK,
        lambda run: judge.as_declared(run, {"g1": frozenset({A})}, {"g1"}),
    ),
    "check mode that writes": ("declare g1=A", "write back:g1/domain g1", OK, lambda run: judge.untouched(run, "it")),
    "changed without a change": ("declare g1=A", "write /tool/xen-pci/x 1", OK, judge.honest),
    "a change without changed": ("declare g1=A", "xl pci-detach g1 A", {"changed": False}, judge.honest),
    "a refusal that changes": ("declare g1=A", "xl pci-detach g1 A", {**FAILED, "refusals": []}, judge.honest),
    "a failure in the middle": (
        "declare g1=A",
        "xl pci-detach g1 A",
        FAILED,
        lambda run: judge.old_or_new(run, {"g1": frozenset({A, B})}, {"g1"}),
    ),
    "another domain": ("declare g2=A", "xl pci-detach g2 A", OK, lambda run: judge.others_kept(run, {"g1"}, set())),
    "a device that is lost": ("declare g1=A", "pull A", OK, lambda run: judge.kept(run, None)),
    "a device that is taken away for a moment": (
        "declare g1=A,B",
        "xl pci-detach g1 A; xl pci-attach g1 A",
        OK,
        lambda run: judge.kept(run, None),
    ),
    "the host drives a guest's device": (
        "declare g1=A",
        "remove back:g1; xl pci-assignable-remove -r A; unbind A; rescan; pull A; rescan",
        OK,
        lambda run: judge.safe(run.before, run.after),
    ),
    "a driver that is gone": ("", "xl pci-assignable-add E", OK, lambda run: judge.drivers_kept(run, set())),
    "taken, but not held": ("", "", OK, lambda run: judge.held(run, {MACHINES["pv"].devices["E"]})),
    "released, but driverless": ("", "unbind A", OK, lambda run: judge.released(run, {A})),
    "a repair that makes it worse": (
        "declare g1=A",
        "remove back:g1/vdev-0",
        OK,
        lambda run: judge.repaired(run, False),
    ),
    "a repair that sees nothing": ("write marker:A 77", "", OK, lambda run: judge.repaired(run, False)),
    "a repair that invents": (
        "",
        "",
        {**OK, "findings": [{"fault": "lost_event", "devices": [], "domain": "g1"}]},
        lambda run: judge.repaired(run, True),
    ),
    "check mode that knows better": (
        "",
        "",
        OK,
        lambda run: judge.foretold(run, Run("x", run.before, run.after, {**FAILED, "refusals": []}, ()), False),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_broken_rule_is_seen(world: World, case: tuple[str, str, dict[str, Any], Rule]) -> None:
    before, meanwhile, result, rule = case
    assert list(rule(pretend(world, "pv", before, meanwhile, result)))


def test_a_traceback_and_a_hanging_run_are_seen() -> None:
    assert [one.rule for one in judge.answered({"failed": True, "msg": "Traceback (most recent"}, 15)] == ["traceback"]
    assert [one.rule for one in judge.answered({"elapsed": 200}, 15)] == ["late"]
    assert [one.rule for one in judge.answered({"failed": True}, 15)] == ["silent"]
    assert not list(judge.answered({"changed": True}, 15))
