# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""domain_devices is killed at places of its work on real Xen, and run again: all is as declared then.

The fault suite does it at every place there is, on the simulator. The places have the names that the process of the
modules gives them (tests/support/module_process.py), by what is written there: the numbers of transactions may change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from disposable_host import Ward, ward

from xenlab import Host, topology

PARTS = (topology.NICS[0], topology.EDUS[0])
A, E = (part.bdf for part in PARTS)
PLAYS = {"first": ([], [A]), "more": ([A], [A, E]), "remove": ([A, E], [A]), "last": ([A], [])}

#: In a transaction that changes the connection, whose commit makes it so.
WRITTEN, REMOVED = "after write /local/domain/0/backend", "after rm /local/domain/0/backend"

#: In an order in which most begin with what the one before has left.
PLACES = [
    ("first", "after xen iomem", "after the first right"),
    ("last", f"{WRITTEN}, then after commit", "the guest is asked to close"),
    ("first", "before rm /local/domain/0/error", "all rights given, nothing said to the guest"),
    ("last", REMOVED, "both ends closed, not removed"),
    ("first", f"{WRITTEN}, then after commit", "the connection begun"),
    ("last", f"{REMOVED}, then after commit", "the connection removed, all rights there"),
    ("first", WRITTEN, "in the midst of the transaction"),
    ("more", "after xen assign", "rights without an entry"),
    ("remove", f"{WRITTEN}, then after commit", "the guest is asked to let go"),
    ("more", f"{WRITTEN}, then after commit", "the guest is asked to look"),
    ("remove", REMOVED, "let go, not compacted"),
    ("remove", "after xen deassign", "half of the rights taken"),
    ("last", "before rm /libxl/pci", "all rights taken, still marked"),
]


@pytest.fixture(scope="module")
def lab(host: Host) -> Iterator[Ward]:
    with ward(host, PARTS) as running:
        yield running


@pytest.mark.parametrize(("play", "place", "_when"), PLACES, ids=[f"{one[0]}: {one[2]}" for one in PLACES])
def test_killed_and_run_again(lab: Ward, play: str, place: str, _when: str, happened: Callable[[str], None]) -> None:
    try:
        happened(is_finished_by_the_next_run(lab, play, place))
    except BaseException:
        lab.renew()
        raise


def is_finished_by_the_next_run(lab: Ward, play: str, place: str) -> str:
    before, after = ({"g1": devices} for devices in PLAYS[play])
    begun = lab.modules.devices(before)
    assert not begun.get("failed"), begun["msg"]
    assert lab.modules.devices(after, how={"kill_at": place}) == {"killed": 9}
    second = lab.modules.devices(after)
    assert not second.get("failed"), second["msg"]
    assert lab.wrong(after) == []
    assert lab.modules.repair(check=True)["findings"] == []
    return f"killed {place}; the next run finished it, with {len(second.get('repaired', []))} repairs"
