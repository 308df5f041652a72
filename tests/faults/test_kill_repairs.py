# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xen.pci.repair is killed after its changes, and run again: its patients have in the end what they would have had."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sick_hosts import SICK, Sick
from simulated import Host

#: For each a state is made anew. A repair that makes more changes is killed at some of them, except where it takes a
#: connection away to bring it back.
MOST_POINTS = 3


@pytest.mark.parametrize("sick", [sick for sick in SICK if not sick.left], ids=lambda sick: sick.name)
def test_killed_and_repaired_again(running: Host, sick: Sick, record_property: Callable[[str, object], None]) -> None:
    record_property("scenario", f"killed in a repair: {sick.name}")
    host = running
    fall_ill(host, sick)
    names = repair(host, sick, count=True)["points"]
    points = [point for point, name in enumerate(names) if name.startswith("after ")]
    chosen = points if "closed_connection" in sick.found else points[:: 1 + len(points) // MOST_POINTS]
    wrong = []
    for point in chosen:
        fall_ill(host, sick)
        repair(host, sick, kill_at=point)
        problems = healed_by_the_next(host, sick)
        if problems:
            wrong.append(f"point {point} ({names[point]}): {problems}")
    record_property("happened", f"{len(chosen)} of {len(points)} points, {len(wrong)} wrong")
    assert wrong == []


def fall_ill(host: Host, sick: Sick) -> None:
    host.restart()
    before = {name: list(devices) for name, devices in sick.before.items() if devices}
    assert not before or not host.devices(**before).get("failed")
    sick.make(host)


def repair(host: Host, sick: Sick, **how: object) -> dict[str, object]:
    return host.run("repair", {"settle": 0.5, "timeout": 15, "faults": sorted(sick.asked)}, **how)


def healed_by_the_next(host: Host, sick: Sick) -> list[str]:
    """What is wrong after the next repair. Faults that were not asked for by name may be left by the first one."""
    second = repair(host, sick) if not sick.asked else host.repair()
    if sick.asked:
        second = repair(host, sick)
    problems = [str(second["msg"])] if second.get("failed") else []
    if sick.wake is not None:
        sick.wake(host)
    return problems + host.settled(sick.healed)
