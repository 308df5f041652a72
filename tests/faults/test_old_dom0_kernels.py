# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dom0 kernels from the oldest that is supported on, with virtual functions.

Before 5.14 pciback publishes function 0 of a virtual function and answers at its real one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from simulated import VF_1, VF_2, VF_3, A, C, Host, started

KERNELS = ("5.10", "5.13", "5.14")


@pytest.fixture(scope="module", params=KERNELS)
def old(request: pytest.FixtureRequest) -> Iterator[Host]:
    with started(linux=request.param) as host:
        yield host


@pytest.fixture
def host(old: Host) -> Host:
    """A host just booted, whose virtual functions pciback has."""
    old.restart()
    taken = old.run("assignable_devices", {"devices": [VF_1, VF_2, VF_3]})
    assert not taken.get("failed"), taken["msg"]
    return old


CHANGES = {
    "one leaves, another device stays": ({"g2": [VF_1, C]}, {"g2": [C]}),
    "one leaves, another one stays": ({"g2": [VF_1, VF_2]}, {"g2": [VF_2]}),
    "one in place of another": ({"g1": [VF_1, C]}, {"g1": [VF_3]}),
    "two guests swap": ({"g1": [VF_1, A], "g2": [VF_2, C]}, {"g1": [VF_2, A], "g2": [VF_1, C]}),
    "all leave": ({"g1": [VF_1, VF_2]}, {"g1": []}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_virtual_functions_come_and_leave(
    host: Host, change: tuple[dict[str, list[str]], dict[str, list[str]]]
) -> None:
    before, after = change
    assert not host.devices(**before).get("failed")
    told, done = (host.devices(how={"check": check}, **after) for check in (True, False))
    assert not done.get("failed"), done["msg"]
    assert told["actions"] == done["actions"]
    assert host.settled(after) == []
    assert not host.devices(**after)["changed"]


def test_what_xl_could_not_take_stays_with_its_guest(host: Host) -> None:
    """xl takes the rights first, and then neither kernel finds the device where the entry says that it is."""
    assert not host.devices(g2=[VF_1, C]).get("failed")
    host.xl("pci-detach", "g2", VF_1)
    host.rest()
    repaired = host.repair()
    assert not repaired.get("failed"), repaired["msg"]
    has = {one["host"] for one in host.guest("g2")["devices"].values()}
    assert host.settled({"g2": sorted(has)}) == []
    assert C in has
    for wanted in ([C], [VF_1, C], []):
        done = host.devices(g2=wanted)
        assert not done.get("failed"), done["msg"]
        assert host.settled({"g2": sorted(wanted)}) == []
