# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a take and of a release on a real kernel: whoever began it and wherever it was killed, one run ends it.

The fault suite does the same on the simulator, with more drivers and more ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from independent_view import driver_in_dom0, traces_of
from module_runner import Modules, modules

from xenlab import Host, topology

NIC = topology.NICS[2]


@pytest.fixture(scope="module")
def running(host: Host) -> Iterator[Modules]:
    with modules(host) as started:
        yield started
        host.run(f"echo > /sys/bus/pci/devices/{NIC.bdf}/driver_override")
        assert not assign(started, state="absent").get("failed")


def assign(running: Modules, how: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return running.run("assignable_devices", {"devices": [NIC.bdf], **options}, **(how or {}))


def override(host: Host) -> str:
    return host.run(f"cat /sys/bus/pci/devices/{NIC.bdf}/driver_override").stdout.strip()


@pytest.mark.parametrize(
    ("begun", "other", "driver"), [("absent", "present", NIC.driver), ("present", "absent", "pciback")]
)
def test_killed_and_run_again(host: Host, running: Modules, begun: str, other: str, driver: str) -> None:
    """At each write to sysfs; the fault suite does it at each change."""
    assert not assign(running, state=other).get("failed")
    points = assign(running, {"count": True}, state=begun)["points"]
    assert driver_in_dom0(host, NIC.bdf) == driver
    writes = [number for number, point in enumerate(points) if "sysfs" in point]
    assert writes, points
    for number in writes:
        before = assign(running, state=other)
        assert not before.get("failed"), (points[number], before["msg"])
        assert assign(running, {"kill_at": number}, state=begun) == {"killed": 9}
        again = assign(running, state=begun)
        assert not again.get("failed"), (points[number], again["msg"])
        assert driver_in_dom0(host, NIC.bdf) == driver, points[number]
        assert [one["quarantined"] for one in again["devices"]] == [begun == "present"], points[number]
    assert not assign(running, state=begun)["changed"]
    assert traces_of(host, [NIC]) == []


@pytest.mark.parametrize("kept_for", ["none-such", "pciback", "vfio-pci"])
def test_a_device_that_is_reserved_for_a_driver_is_taken_and_released(
    host: Host, running: Modules, kept_for: str
) -> None:
    assert not assign(running, state="absent").get("failed")
    host.run(f"echo {kept_for} > /sys/bus/pci/devices/{NIC.bdf}/driver_override")
    taken = assign(running)
    assert not taken.get("failed"), taken["msg"]
    assert driver_in_dom0(host, NIC.bdf) == "pciback"
    released = assign(running, state="absent")
    assert not released.get("failed"), released["msg"]
    assert driver_in_dom0(host, NIC.bdf) == NIC.driver
    assert override(host) == "(null)"


def test_an_override_that_keeps_the_driver_away_is_named(host: Host, running: Modules) -> None:
    assert not assign(running, state="absent").get("failed")
    host.run(f"cd /sys/bus/pci/devices/{NIC.bdf}; echo none-such > driver_override; echo {NIC.bdf} > driver/unbind")
    refused = assign(running, state="absent")
    assert refused["failed"] and "driver_override" in refused["msg"] and "none-such" in refused["msg"]
    host.run(f"echo > /sys/bus/pci/devices/{NIC.bdf}/driver_override")
    done = assign(running, state="absent")
    assert not done.get("failed"), done["msg"]
    assert driver_in_dom0(host, NIC.bdf) == NIC.driver


def test_what_a_hand_began_is_ended(host: Host, running: Modules) -> None:
    """Taken from pciback by sysfs: no driver has it then, and nothing is recorded."""
    pciback = "/sys/bus/pci/drivers/pciback"
    host.run(
        f"cd /sys/bus/pci/devices/{NIC.bdf}; echo {NIC.bdf} > driver/unbind; echo {NIC.bdf} > {pciback}/new_slot;"
        f" echo {NIC.bdf} > {pciback}/bind; echo {NIC.bdf} > {pciback}/unbind"
    )
    assert driver_in_dom0(host, NIC.bdf) is None
    done = assign(running, state="absent")
    assert not done.get("failed") and done["changed"], done
    assert driver_in_dom0(host, NIC.bdf) == NIC.driver
    assert NIC.bdf not in host.run(f"cat {pciback}/slots").stdout
    assert not assign(running, state="absent")["changed"]
