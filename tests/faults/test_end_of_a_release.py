# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release has one end, whoever began it and wherever it was cut short: the host's driver has the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from described_host import DescribedHost, booted
from simulated import QUARANTINE

NIC, USB, EDU, BARE = "0000:01:00.0", "0000:00:14.0", "0000:02:00.0", "0000:03:00.0"
MACHINE: dict[str, Any] = {
    "devices": [
        {"at": "00:00.0", "model": "host-bridge"},
        {"at": "00:03.0", "model": "e1000e", "mac": "52:54:00:0a:00:01", "name": "mgmt0", "up": True},
        {"at": "00:14.0", "model": "xhci"},
        {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01", "name": "eth0"},
        {"at": "02:00.0", "model": "edu"},
        {"at": "03:00.0", "model": "gpu"},
    ],
    "domains": [{"name": "g1"}, {"name": "w1", "type": "hvm"}],
}
UNWANTED = {"etc/modprobe.d/gpu.conf": "blacklist nouveau\n"}


@pytest.fixture
def host() -> Iterator[DescribedHost]:
    with booted(MACHINE) as made:
        yield made


@pytest.fixture(scope="module")
def restarted() -> Iterator[DescribedHost]:
    with booted({**MACHINE, "hidden": ["01:00.0"]}) as made:
        yield made


def by_hand(device: str) -> tuple[tuple[str, ...], ...]:
    """Give a device to pciback and take it from there again, as an administrator does half."""
    return ("unbind", device), ("add_slot", device), ("bind", device, "pciback"), ("unbind", device)


def released(host: DescribedHost, device: str, driver: str | None) -> dict[str, Any]:
    """Release it, and see that its driver has it, that check mode says so, and that nothing is left to do."""
    planned = host.assign(device, state="absent", check=True)
    done = host.assign(device, state="absent")
    assert not done.get("failed"), done["msg"]
    assert [one["driver_after"] for one in done["devices"]] == [driver] == [host.driver(device)]
    assert (planned["actions"], planned["changed"]) == (done["actions"], done["changed"])
    again = host.assign(device, state="absent")
    assert not again.get("failed") and not again["changed"]
    return done


def test_what_a_hand_began_ends_with_the_driver_that_fits(host: DescribedHost) -> None:
    host.act(*by_hand(USB))
    assert released(host, USB, "xhci_hcd")["changed"]


def test_a_device_that_just_lost_its_driver_gets_it_back(host: DescribedHost) -> None:
    host.act(("unbind", USB))
    assert released(host, USB, "xhci_hcd")["changed"]


def test_exclusive_leaves_alone_what_others_took_from_its_driver(host: DescribedHost) -> None:
    host.act(("unbind", USB))
    done = host.assign(NIC, exclusive=True)
    assert not done.get("failed") and host.driver(USB) is None


def test_without_a_driver_is_right_where_none_fits(host: DescribedHost) -> None:
    assert not released(host, EDU, None)["changed"]
    host.assign(EDU)
    assert released(host, EDU, None)["changed"]


def test_without_a_driver_is_right_where_the_host_wants_none() -> None:
    with booted({**MACHINE, "files": UNWANTED}) as host:
        host.act(("unbind", BARE))
        assert not host.assign(BARE, state="absent")["changed"]
        assert host.driver(BARE) is None


@pytest.mark.parametrize("recorded", [False, True], ids=["no record", "with a record"])
@pytest.mark.parametrize("override", ["pciback", "vfio-pci", "(null)"])
def test_an_override_is_no_obstacle_once_the_former_driver_is_known_or_it_is_ours(
    host: DescribedHost, override: str, recorded: bool
) -> None:
    if recorded:
        host.assign(USB)
    else:
        host.act(*by_hand(USB))
    host.act(("set_driver_override", USB, override))
    if override == "vfio-pci":
        assert host.facts(USB)["driver_override"] == "vfio-pci"
    if override == "vfio-pci" and not recorded:
        done = host.assign(USB, state="absent")
        assert not done.get("failed") and host.driver(USB) == "vfio-pci", "the only driver that may have it"
        return
    released(host, USB, "xhci_hcd")
    assert host.facts(USB)["driver_override"] is None


def test_an_override_that_keeps_the_driver_away_is_named(host: DescribedHost) -> None:
    host.act(("set_driver_override", USB, "none"), ("unbind", USB))
    done = host.assign(USB, state="absent")
    assert done["failed"] and "driver_override" in done["msg"] and "none" in done["msg"]
    assert host.facts(USB)["driver_override"] == "none"


@pytest.mark.parametrize("override", ["vfio-pci", "none", "(null)", "pciback"])
def test_a_take_clears_an_override(host: DescribedHost, override: str) -> None:
    host.act(("set_driver_override", USB, override))
    done = host.assign(USB)
    assert not done.get("failed"), done["msg"]
    assert host.driver(USB) == "pciback"
    released(host, USB, "xhci_hcd")


def points_of(host: DescribedHost, **options: Any) -> list[str]:
    return list(host.run("assignable_devices", {"devices": [NIC], **options}, count=True)["points"])


def test_a_killed_release_of_a_device_from_boot_is_finished(restarted: DescribedHost) -> None:
    host = restarted
    points = points_of(host, state="absent")
    assert host.driver(NIC) == "e1000e"
    for point in range(len(points)):
        host.restart()
        host.assign(NIC, state="absent", kill_at=point)
        again = host.assign(NIC, state="absent")
        assert not again.get("failed"), (points[point], again["msg"])
        assert host.driver(NIC) == "e1000e", points[point]
        assert not host.assign(NIC, state="absent")["changed"], points[point]


def test_a_killed_take_is_undone_by_a_release(host: DescribedHost) -> None:
    points = points_of(host)
    for point in range(len(points)):
        host.restart()
        host.assign(NIC, kill_at=point)
        again = host.assign(NIC, state="absent")
        assert not again.get("failed"), (points[point], again["msg"])
        assert host.driver(NIC) == "e1000e", points[point]
        assert not host.assign(NIC, state="absent")["changed"], points[point]


@pytest.mark.parametrize("guest", ["g1", "w1"])
def test_what_a_guest_had_and_gave_back_needs_no_second_quarantine(restarted: DescribedHost, guest: str) -> None:
    host = restarted
    host.restart()
    for wanted in ([NIC], []):
        done = host.devices(**{guest: wanted})
        assert not done.get("failed"), done["msg"]
    again = host.assign(NIC)
    assert not again.get("failed") and not again["changed"], again


def test_a_virtual_function_that_its_driver_refuses_is_released_without_one() -> None:
    physical = {"at": "04:00.0", "model": "nvme-sriov", "numvfs": 2}
    with booted({**MACHINE, "devices": [*MACHINE["devices"], physical]}) as host:
        function = next(one["address"] for one in host.info()["devices"] if one["physfn"])
        assert not host.assign(function).get("failed")
        done = host.assign(function, state="absent")
        assert not done.get("failed") and done["changed"], done.get("msg")
        again = host.assign(function, state="absent")
        assert not again.get("failed") and not again["changed"], "an offer that no driver takes changes nothing"


def test_a_killed_take_ends_in_quarantine(host: DescribedHost) -> None:
    points = points_of(host)
    wrong = []
    for point in range(len(points)):
        host.restart()
        host.assign(NIC, kill_at=point)
        again = host.assign(NIC)
        assert not again.get("failed"), (points[point], again["msg"])
        if host.ask("devices")[NIC]["owner"] != QUARANTINE or host.assign(NIC)["changed"]:
            wrong.append(points[point])
    assert wrong == []
