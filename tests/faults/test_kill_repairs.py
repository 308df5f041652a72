# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xen.pci.repair is ended in its midst, by a kill or by a xenstored that fails, and run again.

The guests then have what they would have had without that, and what was begun is reported as far as it can be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fault_injection import back
from faulty_hosts import FAULTY_HOSTS, FaultyHost
from scenarios import Meanwhile, Scenario, both, inject
from simulated import Host

#: For each a state is made anew. A repair that makes more changes is killed at some of them; one that takes a
#: connection away to bring it back, behind every second.
MOST_POINTS = 2
CLOSED = next(one for one in FAULTY_HOSTS if one.found == {"closed_connection"})


@pytest.mark.parametrize(
    "faulty", [faulty for faulty in FAULTY_HOSTS if not faulty.left], ids=lambda faulty: faulty.name
)
def test_killed_and_repaired_again(
    running: Host, faulty: FaultyHost, record_property: Callable[[str, object], None]
) -> None:
    record_property("scenario", f"killed in a repair: {faulty.name}")
    host = running
    make_faulty(host, faulty)
    names = repair(host, faulty, count=True)["points"]
    points = [point for point, name in enumerate(names) if name.startswith("after ")]
    chosen = points[::2] if "closed_connection" in faulty.found else points[:: 1 + len(points) // MOST_POINTS]
    wrong = []
    for point in chosen:
        make_faulty(host, faulty)
        repair(host, faulty, kill_at=point)
        problems = wrong_after_the_next(host, faulty)
        if problems:
            wrong.append(f"point {point} ({names[point]}): {problems}")
    record_property("happened", f"{len(chosen)} of {len(points)} points, {len(wrong)} wrong")
    assert wrong == []


def make_faulty(host: Host, faulty: FaultyHost) -> None:
    host.restart()
    before = {name: list(devices) for name, devices in faulty.before.items() if devices}
    assert not before or not host.devices(**before).get("failed")
    faulty.make(host)


def repair(host: Host, faulty: FaultyHost, **how: object) -> dict[str, Any]:
    return host.run("repair", {"settle": 0.5, "timeout": 15, "faults": sorted(faulty.asked)}, **how)


def wrong_after_the_next(host: Host, faulty: FaultyHost) -> list[str]:
    """What is wrong after the next repair. Faults that were not asked for by name may be left by the first one."""
    second = repair(host, faulty) if not faulty.asked else host.repair()
    if faulty.asked:
        second = repair(host, faulty)
    problems = [str(second["msg"])] if second.get("failed") else []
    if faulty.wake is not None:
        faulty.wake(host)
    return problems + host.settled(faulty.repaired)


def test_a_connection_that_the_store_refuses_is_made_at_the_second_try(
    host: Host, record_property: Callable[[str, object], None]
) -> None:
    record_property("scenario", "repair: a connection that cannot be created again at first")
    make_faulty(host, CLOSED)
    names = repair(host, CLOSED, count=True)["points"]
    creating = names.index(f"before write {back(1, 'frontend')} #1")
    make_faulty(host, CLOSED)
    done = repair(host, CLOSED, refuse_at=creating)
    tried = [(one["fault"], one["problem"]) for one in done["attempts"]]
    record_property("happened", "; ".join(f"{fault}: {problem or 'repaired'}" for fault, problem in tried))
    assert [fault for fault, _problem in tried] == ["closed_connection", "unfinished_repair"]
    assert "xenstored answered ENOSPC" in tried[0][1] and not done.get("failed"), done.get("msg")
    assert host.settled(CLOSED.repaired) == []


@pytest.mark.parametrize("comes_back", [True, False], ids=["restarted", "gone"])
def test_a_xenstored_that_fails_in_the_midst(
    host: Host, comes_back: bool, record_property: Callable[[str, object], None]
) -> None:
    record_property(
        "scenario", f"repair: xenstored is {'restarted' if comes_back else 'gone'} in the midst of a repair"
    )
    make_faulty(host, CLOSED)
    ends = [inject("store-down"), *[inject("store-up")] * comes_back]
    begun = (back(1, "state"), "1")
    meanwhile = Meanwhile(host, Scenario("", {}, {}, meanwhile=both(*ends), when=begun))
    done = repair(host, CLOSED)
    meanwhile.join()
    record_property("happened", done.get("msg", "ok")[:150])
    assert done["changed"] and any("closed_connection" in line for line in done["log"]), done
    if comes_back:  # what the kernels have made of it meanwhile can be seen
        assert done.get("failed") or host.settled(CLOSED.repaired) == []
    else:
        assert done["failed"] and "g1: closed_connection" in done["msg"]
        host.inject("store-up")
    assert not repair(host, CLOSED).get("failed")
    assert host.settled(CLOSED.repaired) == []
