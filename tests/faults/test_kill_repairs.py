# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xen.pci.repair is ended in its midst, by a kill or by a xenstored that fails, and run again: its patients have in the
end what they would have had, and what was begun is told by whoever can still tell it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fault_injection import back
from faulty_hosts import SICK, Sick
from scenarios import Meanwhile, Scenario, both, inject
from simulated import Host

#: For each a state is made anew. A repair that makes more changes is killed at some of them; one that takes a
#: connection away to bring it back, behind every second.
MOST_POINTS = 2
CLOSED = next(one for one in SICK if one.found == {"closed_connection"})


@pytest.mark.parametrize("sick", [sick for sick in SICK if not sick.left], ids=lambda sick: sick.name)
def test_killed_and_repaired_again(running: Host, sick: Sick, record_property: Callable[[str, object], None]) -> None:
    record_property("scenario", f"killed in a repair: {sick.name}")
    host = running
    fall_ill(host, sick)
    names = repair(host, sick, count=True)["points"]
    points = [point for point, name in enumerate(names) if name.startswith("after ")]
    chosen = points[::2] if "closed_connection" in sick.found else points[:: 1 + len(points) // MOST_POINTS]
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


def repair(host: Host, sick: Sick, **how: object) -> dict[str, Any]:
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


def test_a_connection_that_the_store_refuses_is_made_at_the_second_try(
    host: Host, record_property: Callable[[str, object], None]
) -> None:
    record_property("scenario", "doctor: a connection that cannot be created anew at first")
    fall_ill(host, CLOSED)
    names = repair(host, CLOSED, count=True)["points"]
    creating = names.index(f"before write {back(1, 'frontend')} #1")
    fall_ill(host, CLOSED)
    done = repair(host, CLOSED, refuse_at=creating)
    tried = [(one["fault"], one["problem"]) for one in done["treatments"]]
    record_property("happened", "; ".join(f"{fault}: {problem or 'mended'}" for fault, problem in tried))
    assert [fault for fault, _problem in tried] == ["closed_connection", "unfinished_repair"]
    assert "xenstored answered ENOSPC" in tried[0][1] and not done.get("failed"), done.get("msg")
    assert host.settled(CLOSED.healed) == []


@pytest.mark.parametrize("comes_back", [True, False], ids=["restarted", "gone"])
def test_a_xenstored_that_fails_in_the_midst(
    host: Host, comes_back: bool, record_property: Callable[[str, object], None]
) -> None:
    record_property(
        "scenario", f"doctor: xenstored is {'restarted' if comes_back else 'gone'} in the midst of a repair"
    )
    fall_ill(host, CLOSED)
    ends = [inject("store-down"), *[inject("store-up")] * comes_back]
    begun = (back(1, "state"), "1")
    meanwhile = Meanwhile(host, Scenario("", {}, {}, meanwhile=both(*ends), when=begun))
    done = repair(host, CLOSED)
    meanwhile.join()
    record_property("happened", done.get("msg", "ok")[:150])
    assert done["changed"] and any("closed_connection" in line for line in done["log"]), done
    if comes_back:  # what the kernels have made of it meanwhile can be seen
        assert done.get("failed") or host.settled(CLOSED.healed) == []
    else:
        assert "g1: closed_connection" in done["msg"] and "what came of it cannot be seen" in done["msg"]
        host.inject("store-up")
    assert not repair(host, CLOSED).get("failed")
    assert host.settled(CLOSED.healed) == []
