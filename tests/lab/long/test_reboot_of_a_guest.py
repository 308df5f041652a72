# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's devices over its reboot, its end and its save: with ours as with xl's own.

xl builds a rebooted guest from libxl's stored configuration, so what is not in there does not come back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import playbook
import pytest
from looks import attached_by_xl, drivers, traces_of

from xenlab import Host, topology

NIC, TWIN = topology.NICS[0], topology.DUAL_NIC[1]
PARTS = (NIC, TWIN)
#: What xl 4.17 itself stores of them.
STORED = [
    {"bus": 1, "vfunc_mask": 1, "rdm_policy": "strict"},
    {"func": 1, "dev": 8, "vfunc_mask": 1, "rdm_policy": "strict"},
]


def by_us(host: Host, *parts: topology.Device) -> None:
    """Declare exactly these devices for g2, and see it hold."""
    declared = {"g2": {"devices": [part.bdf for part in parts], "exclusive": True}}
    result = playbook.task(host, "xen.pci.domain_devices", {"domains": declared, "converge": "active", "timeout": 300})
    assert not result["failed"], result["msg"]


def by_xl(host: Host, *parts: topology.Device) -> None:
    """Attach one by one, each when the guest has the one before."""
    for count, part in enumerate(parts, 1):
        host.run(["xl", "pci-attach", "g2", part.bdf])
        eventually(lambda count=count: len(drivers(host.guest("g2"))) == count)


def from_outside(host: Host) -> None:
    host.run(["xl", "reboot", "g2"])


def from_inside(host: Host) -> None:
    host.guest("g2").run("reboot -f", timeout=5, check=False)  # nobody is left to answer


def reboot(host: Host, way: Callable[[Host], None]) -> None:
    """Until xl has built the guest anew and that answers; xl waits 10 s for each device of the old one."""
    old = host.guest("g2").domid
    way(host)
    eventually(lambda: host.run("xl domid g2", check=False).stdout.strip() not in ("", str(old)))
    eventually(lambda: host.guest("g2").run("true", timeout=20, check=False).status == 0)


def eventually(check: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(1)


def stored(host: Host) -> list[dict[str, Any]]:
    """Devices of g2 in libxl's stored configuration."""
    text = host.run("cat /var/lib/xen/userdata-d.$(xl domid g2).*.libxl-json").stdout
    assert text.endswith("}\n\0")
    return json.loads(text.rstrip("\0")).get("pcidevs", [])


def listed(host: Host) -> list[dict[str, Any]]:
    """Devices of g2 in what xl shows of its configuration."""
    [shown] = json.loads(host.run(["xl", "list", "-l", "g2"]).stdout)
    return shown["config"].get("pcidevs", [])


def saved(host: Host) -> list[dict[str, Any]]:
    """Save g2, which ends it; its devices in the configuration at the head of the file."""
    host.run("xl save g2 /root/g2.save", timeout=300)
    head = host.run("head -c 16384 /root/g2.save | tr -d '\\000' | tr -cd '[:print:]\\n'; rm /root/g2.save").stdout
    config, _end = json.JSONDecoder().raw_decode(head[head.index("{\n") :])
    return config.get("pcidevs", [])


@pytest.fixture
def assignable(host: Host) -> Iterator[Host]:
    """The devices with pciback and a fresh g2; afterwards again, and the devices with dom0."""
    for part in PARTS:
        host.run(["xl", "pci-assignable-add", part.bdf])
    yield host
    host.run("xl destroy g2", check=False)
    host.run("xl create -q /etc/xen/g2.cfg")
    host.guest("g2").run("true", timeout=120)
    for part in PARTS:
        host.run(["xl", "pci-assignable-remove", "-r", part.bdf])
    # xl leaves the closed connection of a guest that rebooted behind.
    assert not playbook.task(host, "xen.pci.repair", {})["failed"]


@pytest.mark.parametrize("attach", [by_us, by_xl])
@pytest.mark.parametrize("way", [from_outside, from_inside])
def test_devices_come_back_after_a_reboot_whoever_attached_them(
    assignable: Host, attach: Callable[..., None], way: Callable[[Host], None]
) -> None:
    host = assignable
    attach(host, *PARTS)
    assert stored(host) == listed(host) == STORED
    reboot(host, way)
    eventually(lambda: drivers(host.guest("g2")) == ["e1000e", "e1000e"])
    assert attached_by_xl(host, "g2") == {part.bdf for part in PARTS}
    assert stored(host) == listed(host) == STORED
    # The new guest's devices can be changed like any.
    by_us(host, TWIN)
    assert drivers(host.guest("g2")) == ["e1000e"]
    assert stored(host) == listed(host) == STORED[1:]
    by_us(host, TWIN, NIC)
    assert stored(host) == listed(host) == [STORED[1], STORED[0]]


@pytest.mark.parametrize("attach", [by_us, by_xl])
def test_what_we_detached_does_not_come_back(assignable: Host, attach: Callable[..., None]) -> None:
    host = assignable
    attach(host, *PARTS)
    by_us(host, NIC)
    assert stored(host) == listed(host) == STORED[:1]
    reboot(host, from_outside)
    eventually(lambda: drivers(host.guest("g2")) == ["e1000e"])
    assert attached_by_xl(host, "g2") == {NIC.bdf}
    by_us(host)
    assert stored(host) == listed(host) == []
    reboot(host, from_inside)
    assert drivers(host.guest("g2")) == []
    assert attached_by_xl(host, "g2") == set()


def test_an_attach_that_was_taken_back_does_not_come_back(assignable: Host) -> None:
    host = assignable
    by_us(host, NIC)
    host.run(["xl", "pause", "g2"])
    declared = {"g2": {"devices": [TWIN.bdf]}}
    result = playbook.task(host, "xen.pci.domain_devices", {"domains": declared, "timeout": 10})
    host.run(["xl", "unpause", "g2"])
    assert result["failed"] and "taken back" in result["msg"]
    assert stored(host) == STORED[:1]
    reboot(host, from_outside)
    eventually(lambda: drivers(host.guest("g2")) == ["e1000e"])
    assert attached_by_xl(host, "g2") == {NIC.bdf}


@pytest.mark.parametrize("attach", [by_us, by_xl])
def test_destroy_ends_all_of_it(assignable: Host, attach: Callable[..., None]) -> None:
    host = assignable
    attach(host, *PARTS)
    host.run("xl destroy g2")
    assert traces_of(host, PARTS) == []
    assert set(host.run("xl pci-assignable-list").lines) == {part.bdf for part in PARTS}
    host.run("xl create -q /etc/xen/g2.cfg")
    assert host.guest("g2").run("lspci", timeout=120).stdout == ""
    assert stored(host) == []


@pytest.mark.parametrize("attach", [by_us, by_xl])
@pytest.mark.parametrize(("kept", "expected"), [(PARTS, STORED), ((), [])])
def test_a_save_takes_along_what_is_attached_at_the_time(
    assignable: Host,
    attach: Callable[..., None],
    kept: Sequence[topology.Device],
    expected: list[dict[str, Any]],
) -> None:
    """Restoring is another matter: Linux 6.1 dies of it as soon as it has ever had a device with an interrupt line."""
    host = assignable
    attach(host, *PARTS)
    if not kept:
        by_us(host)
    assert saved(host) == expected
