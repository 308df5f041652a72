# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any change that the module makes is refused, or its answer never comes: it is told in words, and never as done.

The changes are those of test_kill_everywhere.py: what a full store, a full disk, Xen and a broken device refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest
from simulated import A, B, C, D, Host
from test_kill_everywhere import Play, bring_to

PLAYS = {
    "first devices": Play({"g1": [], "g2": [C]}, {"g1": [A, B], "g2": [C]}),
    "mixed": Play({"g1": [A, B], "g2": [C]}, {"g1": [B, D], "g2": [C]}),
    "last device": Play({"g1": [A], "g2": [C]}, {"g1": [], "g2": [C]}),
    "swap": Play({"g1": [A, B], "g2": [C]}, {"g1": [B, C], "g2": [A]}),
}
#: All points take minutes; an odd step meets each kind of change in one of the plays.
STEP = 3
WAYS = {"refused": "refuse_at", "answer lost": "lose_at"}


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS)
def test_refused_anywhere(
    running: Host,
    play: Play,
    how: str,
    record_property: Callable[[str, object], None],
    request: pytest.FixtureRequest,
) -> None:
    host = running
    host.restart()
    bring_to(host, play.before)
    names = host.devices(how={"count": True}, **play.after)["points"]
    points = [point for point, name in enumerate(names) if name.startswith("before ")]
    if how == "lose_at":
        points = [point for point in points if names[point].split()[1] in ("commit", "rm", "write")]
    wrong = []
    for point in points[::STEP]:
        bring_to(host, play.before)
        problems = judged(host, host.devices(5, {how: point}, **play.after), play.after)
        again = host.devices(**play.after)
        problems += [again["msg"]] if again.get("failed") else []
        problems += host.settled({"g1": [], "g2": [], **play.after}, within=3.0)
        if problems:
            wrong.append(f"point {point} ({names[point]}): {problems}")
            host.restart()
    record_property("scenario", f"changes fail: {request.node.callspec.id}")
    record_property("happened", f"{len(points[::STEP])} of {len(points)} points, {len(wrong)} wrong")
    assert wrong == []


def judged(host: Host, result: Mapping[str, Any], after: Mapping[str, Collection[str]]) -> list[str]:
    """What is wrong with an answer."""
    if not result.get("failed"):
        return host.settled(after, within=3.0)
    if "domains" not in result:
        return [f"the fate of the domains is not told: {result['msg']}"]
    errors = {domain["name"]: domain["error"] for domain in result["domains"]}
    problems = [f"an error says too little: {error}" for error in errors.values() if error and ":" not in error]
    changed = {one["name"] for one in result["domains"] if sorted(one["before"]) != sorted(one["after"])}
    return problems + ([f"a change is not told: {changed}"] if changed and not result["changed"] else [])
