# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts and domains that others than xl manage: seen, named, and left to their own tools."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_injection import back, name
from simulated import A, B, C, D, Host, marker

CHECK_MODES = pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
#: Written by libvirt, below the root: lasting definitions, those of domains that run, and networks.
DEFINED, RUNNING, NETWORKS = "etc/libvirt/libxl", "run/libvirt/libxl", "etc/libvirt/qemu/networks"
OTHER = "5f1c3a52-8d0e-4c1b-9a57-0d6f3b2e7c11"


@pytest.fixture(autouse=True)
def _no_files_are_left(host: Host) -> Iterator[None]:
    yield
    for directory in ("etc", "run/libvirt", "var/lib/qubes", "var/lib/xcp"):
        shutil.rmtree(host.directory / directory, ignore_errors=True)


def write(host: Host, file: str, text: str = "") -> Path:
    path = host.directory / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def hostdev(device: str, managed: str = "yes") -> str:
    segment, bus, rest = device.split(":")
    slot, function = rest.split(".")
    address = f"<address domain='0x{segment}' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/>"
    guest = "<address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>"
    return f"<hostdev mode='subsystem' type='pci' managed='{managed}'><source>{address}</source>{guest}</hostdev>"


def definition(called: str, uuid: str, *devices: str) -> str:
    usb = "<hostdev mode='subsystem' type='usb'><source><address bus='1' device='2'/></source></hostdev>"
    inside = f"<name>{called}</name><uuid>{uuid}</uuid><devices>{usb}{''.join(devices)}</devices>"
    return f"<!-- do not edit --><domain type='xen'>{inside}</domain>"


def refusals(result: dict[str, Any]) -> list[tuple[str, str]]:
    assert result.get("failed"), result
    return [(one["code"], one["subject"]) for one in result["refusals"]]


def started_by_libvirt(host: Host, called: str) -> str:
    """Store with the domain what libvirt stores with those that it starts; its UUID."""
    guest = host.guest(called)
    record = f"userdata-d.{guest['domid']}.{guest['uuid']}.libvirt-xml"
    write(host, f"var/lib/xen/{record}", definition(called, guest["uuid"]))
    return str(guest["uuid"])


def info(host: Host) -> dict[str, Any]:
    return host.run("host_info", {})


# ---- hosts that keep their own records


@CHECK_MODES
@pytest.mark.parametrize(
    ("file", "manager", "tool"),
    [
        ("etc/qubes-release", "qubes", "qvm-pci"),
        ("var/lib/qubes/qubes.xml", "qubes", "qvm-pci"),
        ("etc/xensource-inventory", "xapi", "xe "),
        ("var/lib/xcp/xapi", "xapi", "xe "),
    ],
)
def test_a_host_with_its_own_records_is_changed_by_its_own_tools(
    host: Host, file: str, manager: str, tool: str, check: bool
) -> None:
    write(host, file)
    seen = info(host)
    assert (seen["host"]["manager"], seen["host"]["manager_evidence"]) == (manager, f"/{file}")
    assert {one["manager"] for one in seen["domains"]} == {manager}
    host.act(("write", marker(A), "77"))
    began = host.ask("trace")
    for result in (
        host.devices(how={"check": check}, g1=[B]),
        host.run("assignable_devices", {"devices": [A], "state": "absent"}, check=check),
        host.repair(check=check),
    ):
        assert ("manager", "host") in refusals(result)
        assert tool in result["msg"]
    assert host.ask("trace")[len(began) :] == []


def test_what_is_as_declared_is_ok_on_any_host(host: Host) -> None:
    assert not host.devices(g1=[A]).get("failed")
    write(host, "etc/qubes-release")
    for done in (
        host.devices(g1=[A]),
        host.run("assignable_devices", {"devices": [A]}),
        host.run("assignable_devices", {"devices": [], "state": "absent"}),
        host.repair(),
    ):
        assert not done.get("failed") and not done["changed"], done


# ---- libvirt


@CHECK_MODES
def test_a_domain_of_libvirt_is_left_to_libvirt(host: Host, check: bool) -> None:
    started_by_libvirt(host, "g1")
    seen = info(host)
    assert {one["name"]: one["manager"] for one in seen["domains"]} == {"g1": "libvirt", "g2": "xl", "g3": "xl"}
    began = host.ask("trace")
    refused = host.devices(how={"check": check}, g1=[A], g2=[B])
    assert refusals(refused) == [("manager", "g1")] and "virsh attach-device g1" in refused["msg"]
    assert host.ask("trace")[len(began) :] == []
    if not check:
        assert not host.devices(g2=[B]).get("failed"), "a domain of xl beside it"
        assert not host.devices(g1=[]).get("failed"), "nothing to change"


def test_one_that_the_daemon_runs_is_its_own_also_without_a_record_of_libxl(host: Host) -> None:
    uuid = host.guest("g1")["uuid"]
    status = (
        f"<domstatus state='running' pid='1'>{definition('g1', uuid).removeprefix('<!-- do not edit -->')}</domstatus>"
    )
    write(host, f"{RUNNING}/g1.xml", status)
    assert [one["manager"] for one in info(host)["domains"]] == ["libvirt", "xl", "xl"]
    assert refusals(host.devices(g1=[A])) == [("manager", "g1")]


@CHECK_MODES
def test_a_device_that_libvirt_would_take_goes_to_no_domain_of_xl(host: Host, check: bool) -> None:
    write(host, f"{DEFINED}/db.xml", definition("db", OTHER, hostdev(A)))
    refused = host.devices(how={"check": check}, g1=[A, B])
    assert refusals(refused) == [("manager", A)] and "domain db" in refused["msg"]
    for state in ("present", "absent"):
        refused = host.run("assignable_devices", {"devices": [A], "state": state, "exclusive": False}, check=check)
        if state == "absent":
            assert refusals(refused) == [("manager", A)]
    seen = info(host)
    assert {one["address"]: one["libvirt"] for one in seen["devices"]}[A] == ["domain db"]
    free = {one["address"]: one["free"] for one in seen["devices"]}
    assert not free[A] and free[B]
    assert seen["host"]["libvirt"]["claims"][0]["managed"]


def test_a_device_that_libvirt_does_not_manage_is_made_assignable_for_it(host: Host) -> None:
    assert not host.run("assignable_devices", {"devices": [A], "state": "absent"}).get("failed")
    write(host, f"{DEFINED}/db.xml", definition("db", OTHER, hostdev(A)))
    assert refusals(host.run("assignable_devices", {"devices": [A]})) == [("manager", A)]
    write(host, f"{DEFINED}/db.xml", definition("db", OTHER, hostdev(A, managed="no")))
    assert host.run("assignable_devices", {"devices": [A]})["changed"]
    assert refusals(host.run("assignable_devices", {"devices": [A], "state": "absent"})) == [("manager", A)]


def test_a_device_of_a_guest_that_libvirt_would_reset_is_named(host: Host) -> None:
    assert not host.devices(g1=[A]).get("failed")
    write(host, f"{DEFINED}/db.xml", definition("db", OTHER, hostdev(A)))
    (found,) = info(host)["findings"]
    assert (found["fault"], found["domain"], found["devices"]) == ("claimed_device", "g1", [A])
    again = host.devices(g1=[A])
    assert not again.get("failed") and not again["changed"]
    assert not host.devices(g1=[]).get("failed"), "it may be taken away"


def test_what_libvirt_would_start_with_other_devices_is_named(host: Host) -> None:
    assert not host.devices(g1=[A]).get("failed")
    uuid = started_by_libvirt(host, "g1")
    write(host, f"{DEFINED}/g1.xml", definition("g1", uuid, hostdev(A), hostdev(B)))
    found = {one["fault"]: one["devices"] for one in info(host)["findings"]}
    assert found == {"other_definition": [B]}
    write(host, f"{DEFINED}/g1.xml", definition("g1", uuid, hostdev(A)))
    assert info(host)["findings"] == []


@CHECK_MODES
@pytest.mark.parametrize("text", ["<domain>", "", "<!DOCTYPE x [<!ENTITY y 'z'>]><domain/>", "<pool/>"])
def test_a_definition_that_cannot_be_read_may_name_any_device(host: Host, text: str, check: bool) -> None:
    path = write(host, f"{DEFINED}/db.xml", text)
    refused = host.devices(how={"check": check}, g1=[A])
    assert refusals(refused) == [("manager", str(path))]
    assert len(info(host)["host"]["libvirt"]["unreadable"]) == 1
    assert not host.devices(g1=[]).get("failed"), "nothing is given"


@CHECK_MODES
def test_a_repair_leaves_what_libvirt_has(host: Host, check: bool) -> None:
    assert not host.devices(g1=[A], g2=[B]).get("failed")
    started_by_libvirt(host, "g1")
    host.act(("remove", marker(A)), ("remove", marker(B)))
    assert refusals(host.repair(check=check)) == [("manager", "g1")]
    assert not host.repair(check=check, domains=["g2"]).get("failed")
    refused = host.devices(how={"check": check}, g1={"devices": [], "exclusive": True})
    assert ("manager", "g1") in refusals(refused)
    assert marker(A) not in host.nodes(), "nothing was repaired first"


def test_what_a_dead_domain_of_libvirt_has_left_is_removed(host: Host) -> None:
    """libvirt leaves a backend when a guest reboots; that is nobody's any more."""
    assert not host.devices(g1=[A]).get("failed")
    write(host, f"{DEFINED}/g1.xml", definition("g1", started_by_libvirt(host, "g1"), hostdev(A)))
    host.ask("destroy", domain="g1", leave=True)
    host.rest()
    host.act(("remove", name(1)))
    repaired = host.repair(devices=[], faults=["orphaned_connection", "dead_marker"])
    assert not repaired.get("failed"), repaired.get("msg")
    assert back(1, "state") not in host.nodes() and marker(A) not in host.nodes()


def test_other_places_of_a_definition(host: Host) -> None:
    """Interfaces, NVMe disks and networks name devices as well, and so does what a network hands out."""
    interface = hostdev(A).replace("hostdev", "interface").replace("mode='subsystem' type='pci'", "type='hostdev'")
    disk = hostdev(B, "no").replace("hostdev", "disk").replace("<source>", "<source type='pci' managed='yes'>")
    write(host, f"{DEFINED}/db.xml", definition("db", OTHER, interface, disk))
    address = "<address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x0'/>"
    assert C == "0000:03:00.0" != D
    forward = f"<forward mode='hostdev' managed='yes'>{address}</forward>"
    network = f"<network><name>vfs</name><uuid>{OTHER}</uuid>{forward}</network>"
    write(host, f"{NETWORKS}/vfs.xml", network)
    claims = {one["device"]: (one["owner"], one["managed"]) for one in info(host)["host"]["libvirt"]["claims"]}
    assert claims == {A: ("domain db", True), B: ("domain db", True), C: ("network vfs", True)}
    assert sorted(refusals(host.devices(g1=[A, B, C, D]))) == [("manager", one) for one in (A, B, C)]
