# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HVM guest on real Xen: devices come, go and move by the same declaration, and xl agrees.

The tests go on from each other: the guest takes a minute to boot. They are not among the others because they need a
host of their own, see machine.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import playbook
import pytest
from independent_view import attached_by_xl, drivers, interface, traces_of

from xenlab import Guest, Host, topology

NIC, NVME, EDU = topology.NICS[0], topology.NVMES[0], topology.EDUS[0]
PARTS = (NIC, NVME, EDU)
H1, G1 = topology.HVM_GUEST, "g1"
PATIENCE = 300


@pytest.fixture(scope="module")
def host(hvm_host: Host) -> Host:
    return hvm_host


@pytest.fixture(scope="module")
def guest(host: Host) -> Iterator[Guest]:
    for part in PARTS:
        host.run(["xl", "pci-assignable-add", part.bdf])
    yield host.start_guest(H1)
    host.run(["xl", "destroy", H1])
    for bdf in attached_by_xl(host, G1):
        host.run(["xl", "pci-detach", G1, bdf])
    for part in PARTS:
        host.run(["xl", "pci-assignable-remove", "-r", part.bdf])


def have(host: Host, level: str = "connected", **domains: tuple[topology.Device, ...]) -> Mapping[str, Any]:
    """Declare that these guests have exactly these devices, and see what xl says."""
    declared = {name: {"devices": [part.bdf for part in parts], "exclusive": True} for name, parts in domains.items()}
    arguments = {"domains": declared, "converge": level, "timeout": PATIENCE}
    result = playbook.task(host, "xen.pci.domain_devices", arguments)
    assert not result["failed"], result["msg"]
    for name, parts in domains.items():
        assert attached_by_xl(host, name) == {part.bdf for part in parts}
    return result


def found_by_repair(host: Host) -> list[str]:
    """Names of the guest's faults, except what xl leaves of each device that it detaches."""
    result = playbook.task(host, "xen.pci.repair", {"domains": [H1]}, options=["--check"])
    return [one["fault"] for one in result["findings"] if one["fault"] != "stale_configuration"]


def io_memory(host: Host, domid: int) -> str:
    """What Xen lets a domain map of devices, in its own words (debug key q)."""
    host.run("xl dmesg -c > /dev/null; xl debug-keys q; sleep 1")
    lines = host.run("xl dmesg").lines
    start = next(
        number for number, line in enumerate(lines) if re.search(rf"General information for domain {domid}:", line)
    )
    return next(line for line in lines[start:] if "I/O Memory" in line)


def test_it_is_ready(host: Host, guest: Guest) -> None:
    facts = playbook.task(host, "xen.pci.host_info", {})
    [found] = [one for one in facts["domains"] if one["name"] == H1]
    assert (found["kind"], found["hotplug_ready"]) == ("hvm", "yes"), found


def test_a_device_comes_and_works(host: Host, guest: Guest) -> None:
    result = have(host, "active", h1=(NIC,))
    [told] = result["domains"][0]["devices"]
    assert (told["converged"], told["guest_address"]) == ("active", "0000:00:03.00")
    assert "e1000e" in drivers(guest)
    name = interface(guest, NIC.mac)
    guest.run(f"ip link set {name} up; ip address add 10.0.{NIC.network}.9/24 dev {name}")
    guest.run(f"ping -c 1 -W 60 {NIC.gateway}", timeout=90)


def test_two_more_come_and_nothing_is_done_twice(host: Host, guest: Guest) -> None:
    result = have(host, h1=(NIC, NVME, EDU))
    assert result["actions"] == [f"{H1}: add {NVME.bdf}", f"{H1}: add {EDU.bdf}"]
    again = have(host, h1=(NIC, NVME, EDU))
    assert (again["changed"], again["actions"]) == (False, [])
    assert {"e1000e", "nvme"} <= set(drivers(guest))


def test_one_goes(host: Host, guest: Guest) -> None:
    have(host, h1=(NIC, EDU))
    assert "nvme" not in drivers(guest)
    assert traces_of(host, [NVME]) == []


def test_one_moves_to_a_pv_guest_and_back(host: Host, guest: Guest) -> None:
    declared = {H1: {"devices": [EDU.bdf], "exclusive": True}, G1: {"devices": [NIC.bdf]}}
    refused = playbook.task(host, "xen.pci.domain_devices", {"domains": declared, "timeout": PATIENCE})
    assert playbook.codes(refused) == [("kept-by-pciback", NIC.bdf)]
    have(host, h1=(), g1=(NIC,))
    assert drivers(host.guest(G1)) == ["e1000e"]
    assert "e1000e" not in drivers(guest)
    have(host, h1=(NIC, EDU), g1=())
    assert drivers(host.guest(G1)) == []


def test_the_first_one_stays_known_after_it_has_left(host: Host, guest: Guest) -> None:
    """pciback does not learn that it has left, and keeps it until the guest has no device."""
    have(host, h1=(EDU,))
    declared = {G1: {"devices": [NIC.bdf]}}
    refused = playbook.task(host, "xen.pci.domain_devices", {"domains": declared, "timeout": PATIENCE})
    assert playbook.codes(refused) == [("kept-by-pciback", NIC.bdf)]
    host.run(["xl", "pci-attach", G1, NIC.bdf])
    time.sleep(5)
    # pciback refuses it, and it depends on the guest's speed what the connection looks like then.
    looks = ["refused_cycle", "never_connected", "closed_connection", "left_rights", "stale_configuration"]
    repaired = playbook.task(host, "xen.pci.repair", {"domains": [G1], "faults": looks, "timeout": PATIENCE})
    assert not repaired["failed"], repaired["msg"]
    assert attached_by_xl(host, G1) == set()
    found = playbook.task(host, "xen.pci.repair", {"devices": [NIC.bdf]}, options=["--check"])
    assert "kept_hold" in [one["fault"] for one in found["findings"]]
    have(host, h1=(), g1=(NIC,))  # once the task empties the guest, it can move on
    have(host, h1=(NIC, EDU), g1=())


def test_a_guest_that_does_not_let_go(host: Host, guest: Guest) -> None:
    """It is paused, and ejects the device when it wakes up: libxl lists it still, and xl cannot detach it any more.

    A guest that is still taking the device in when it is paused may never eject it.
    """
    deadline = time.monotonic() + PATIENCE
    while "e1000e" not in drivers(guest):
        assert time.monotonic() < deadline
        time.sleep(1)
    host.run(["xl", "pause", H1])
    declared = {H1: {"devices": [EDU.bdf], "exclusive": True}}
    failed = playbook.task(host, "xen.pci.domain_devices", {"domains": declared, "timeout": 5})
    assert failed["failed"] and NIC.bdf in failed["msg"]
    assert attached_by_xl(host, H1) == {NIC.bdf, EDU.bdf}
    host.run(["xl", "unpause", H1])
    deadline = time.monotonic() + PATIENCE
    found: Mapping[str, Any] = {"findings": []}
    while not found["findings"] and time.monotonic() < deadline:
        found = playbook.task(host, "xen.pci.repair", {"domains": [H1]}, options=["--check"])
    assert [one["fault"] for one in found["findings"]] == ["stale_record"]
    assert host.run(["xl", "pci-detach", H1, NIC.bdf], check=False).status != 0
    result = have(host, h1=(EDU,))
    assert any("stale_record" in one for one in result["repaired"])


def test_a_device_that_xl_has_no_record_of(host: Host, guest: Guest) -> None:
    """The guest's QEMU has it, and xl was killed before it wrote that down: the guest ejects it."""
    have(host, "active", h1=(EDU, NIC))
    backend, key = f"/local/domain/0/backend/pci/{guest.domid}/0", NIC.bdf.replace(":", "-").replace(".", "-")
    entry = " ".join(f"{backend}/{node}-1" for node in ("dev", "key", "opts", "state", "vdev", "vdevfn"))
    host.run(f"for node in {entry} /libxl/pci/{key}/domid; do xenstore-rm $node 2> /dev/null; done", check=False)
    host.run(["xenstore-write", f"{backend}/num_devs", "1"])
    assert attached_by_xl(host, H1) == {EDU.bdf}
    assert "e1000e" in drivers(guest)
    assert found_by_repair(host) == ["unlisted_device"]
    assert "e1000e" in drivers(guest), "check mode has touched it"
    repaired = playbook.task(host, "xen.pci.repair", {"domains": [H1], "timeout": PATIENCE})
    assert not repaired["failed"], repaired["msg"]
    assert found_by_repair(host) == []
    assert "e1000e" not in drivers(guest)
    assert attached_by_xl(host, H1) == {EDU.bdf}
    assert traces_of(host, [NIC]) == []


def test_a_device_model_that_does_not_answer(host: Host, guest: Guest) -> None:
    """Nobody knows what the guest has then, so nothing is declared good; it is again when QEMU runs on."""
    qemu = host.run(["xenstore-read", f"/local/domain/{guest.domid}/image/device-model-pid"]).stdout.strip()
    declared = {H1: {"devices": [EDU.bdf], "exclusive": True}}
    host.run(["kill", "-STOP", qemu])
    try:
        assert found_by_repair(host) == ["silent_device_model"]
        refused = playbook.task(host, "xen.pci.domain_devices", {"domains": declared, "timeout": 5})
        assert refused["failed"]
        assert playbook.codes(refused) == [("silent_device_model", H1)]
    finally:
        host.run(["kill", "-CONT", qemu])
    assert found_by_repair(host) == []
    again = have(host, h1=(EDU,))
    assert (again["changed"], again["actions"]) == (False, [])


def test_all_go_and_nothing_is_left(host: Host, guest: Guest) -> None:
    have(host, h1=())
    assert traces_of(host, PARTS) == []
    # Before Xen 4.18, libxl leaves a guest the right to map what it had.
    assert re.search(r"I/O Memory\s*\{ *\}", io_memory(host, guest.domid))
    found = playbook.task(host, "xen.pci.repair", {"domains": [H1, G1]}, options=["--check"])
    assert found["findings"] == []
