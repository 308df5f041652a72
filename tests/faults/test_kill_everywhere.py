# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module is killed before the first change that it makes and after each, and run again: all is as declared then.

Each play is run once to count its points, then once for each of them. Changes are changing requests to xenstored (in
transactions too), writes to sysfs, hypercalls, and libxl's file of a domain.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import pytest
from simulated import TWIN_0, TWIN_1, A, B, C, D, Host

SHARDS = 3


@dataclass(frozen=True)
class Play:
    """What guests have before and after; `paused` guests do not answer, and only wake up after the kill."""

    before: Mapping[str, Collection[str]]
    after: Mapping[str, Collection[str]]
    paused: bool = False


PLAYS = {
    "first devices": Play({"g1": []}, {"g1": [A, B]}),
    "more devices": Play({"g1": [A]}, {"g1": [A, B, C]}),
    "remove": Play({"g1": [A, TWIN_0, TWIN_1]}, {"g1": [TWIN_1]}),
    "mixed": Play({"g1": [A, B]}, {"g1": [B, C, D]}),
    "last device": Play({"g1": [A, B]}, {"g1": []}),
    "move": Play({"g1": [A, B], "g2": [C]}, {"g1": [B], "g2": [A, C]}),
    "guest paused": Play({"g1": [A, B]}, {"g1": [B, C]}, paused=True),
    "first, paused": Play({"g1": []}, {"g1": [A]}, paused=True),
}


def bring_to(host: Host, state: Mapping[str, Collection[str]]) -> None:
    everything = {"g1": [], "g2": [], **state}
    result = host.devices(**{name: list(devices) for name, devices in everything.items()})
    assert not result.get("failed"), result["msg"]
    assert host.settled(everything) == []


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS)
def test_killed_anywhere(
    running: Host,
    play: Play,
    shard: int,
    record_property: Callable[[str, object], None],
    request: pytest.FixtureRequest,
) -> None:
    host = running
    host.restart()
    names = count_points(host, play)
    # Whoever dies before a later change leaves what he would leave right after the one before it.
    points = [point for point, name in enumerate(names) if point == 0 or name.startswith("after ")]
    repaired, wrong = 0, []
    for point in points[shard::SHARDS]:
        problems, helped = kill_and_go_on(host, play, point)
        repaired += helped
        if problems:
            wrong.append(f"point {point} ({names[point]}): {problems}")
            host.restart()
    record_property("scenario", f"killed in {request.node.callspec.id}")
    done = f"{len(points[shard::SHARDS])} of {len(points)} points"
    record_property("happened", f"{done}, {repaired} with xen.pci.repair, {len(wrong)} wrong")
    assert wrong == []
    assert repaired == 0, "what our own run left must be finished without xen.pci.repair"


def count_points(host: Host, play: Play) -> list[str]:
    bring_to(host, play.before)
    pause(host, play, True)
    result = host.devices(1 if play.paused else 15, {"count": True}, **play.after)
    pause(host, play, False)
    assert bool(result.get("failed")) == play.paused, result.get("msg")
    names: list[str] = result["points"]
    assert len(names) > 20
    return names


def kill_and_go_on(host: Host, play: Play, point: int) -> tuple[list[str], bool]:
    """What is wrong after the kill and the next run, and whether it took a repair.

    A run that met fewer conflicts in the store has fewer points than the one that was counted: then it was not killed.
    """
    bring_to(host, play.before)
    pause(host, play, True)
    host.devices(1 if play.paused else 15, {"kill_at": point}, **play.after)
    pause(host, play, False)
    second, helped = host.devices(**play.after), False
    if second.get("failed"):
        repair, helped = host.repair(), True
        if repair.get("failed"):
            return [repair["msg"]], helped
        second = host.devices(**play.after)
    problems = [second["msg"]] if second.get("failed") else []
    problems += host.settled({"g1": [], "g2": [], **play.after}, within=3.0)
    third = host.repair(check=True, settle=0)
    problems += [f"left: {one['fault']}" for one in third["findings"] if one["fault"] != "unquarantined"]
    return problems, helped


def pause(host: Host, play: Play, paused: bool) -> None:
    if play.paused:
        for name in play.after:
            host.ask("pause", domain=name, paused=paused)


@pytest.mark.parametrize("name", ["remove", "mixed", "last device"])
def test_check_mode_foretells_what_a_run_does_after_a_kill(
    host: Host, name: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("scenario", f"killed in {name}: what check mode foretells")
    play = PLAYS[name]
    points = range(0, len(count_points(host, play)), 5)
    wrong = []
    for point in points:
        bring_to(host, play.before)
        host.devices(how={"kill_at": point}, **play.after)
        host.rest()
        told, done = (host.devices(how={"check": check}, **play.after) for check in (True, False))
        if any(told.get(key) != done.get(key) for key in ("failed", "changed", "actions")):
            wrong.append(f"point {point}: told {told.get('msg') or told['actions']}, done {done['actions']}")
    record_property("happened", f"{len(points)} points, {len(wrong)} wrong")
    assert wrong == []
