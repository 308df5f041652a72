# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job, as a user does it: one inventory, one playbook run; then the inventory changes.

The tests of this file are one story and run in order, on a host with all devices at dom0's drivers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import playbook
import pytest
from independent_view import attached_by_xl, driver_in_dom0, drivers, interface, nic_works, read_block

from xenlab import Host, disks, topology
from xenlab.logs import WARNING, Line

NICS, DUAL = topology.NICS, topology.DUAL_NIC
NV1, NV2 = topology.NVMES
PARTS = (*NICS, *DUAL, NV1, NV2)

CATALOGUE = {
    **{nic.name: {"vendor": "8086", "serial": nic.device_serial} for nic in NICS},
    **{nic.name: {"address": nic.bdf, "vendor": "8086", "device": "10d3"} for nic in DUAL},
    **{nvme.name: {"class": "0108", "nvme_serial": nvme.serial} for nvme in (NV1, NV2)},
}
FIRST = {
    "g1": [nic.name for nic in (*NICS, *DUAL)] + [NV1.name],
    "g2": [NV2.name],
}
#: nic4 and nvme1 move to g2, nic3 is dropped.
SECOND = {
    "g1": [nic.name for nic in (*NICS[:2], *DUAL)],
    "g2": [NV2.name, NICS[3].name, NV1.name],
}

#: What Linux 6.1 prints in a guest whatever the toolstack does, and with xl alike. When a connection
#: ends: a line for the Closing itself, and a stack trace, since pcifront unregisters its bridge before the
#: bus below it (pcifront_free_roots) and frees its event channel twice (free_pdev: unbind_from_irqhandler
#: closes the port, xenbus_free_evtchn then gets EINVAL).
PCIFRONT_TRACE = re.compile(r"freeing event channel")
GUEST_KNOWN = re.compile(
    r"pcifront pci-0: backend going away!"
    # The nvme driver enables MSI-X anew with another number of vectors, which pciback refuses (EALREADY).
    r"|nvme .*: enable msix get err|nvme .*: Xen PCI frontend error: -114!"
    # The clock of a machine that is emulated on a busy one.
    r"|clocksource: .*skipping watchdog check"
)
#: dom0's pciback mentions, once per device, that the guest's kernel cleared AER status bits.
PCIBACK_AER = re.compile(r"read-only configuration space field|permissive attribute|report problems to the xen-devel")


TASK = "xen.pci.apply : Bring the host to what is declared"


def declaration(devices: dict[str, list[str]], **more: object) -> dict[str, object]:
    return {
        "xen_pci_devices": CATALOGUE,
        "xen_pci_domains": {name: {"devices": names} for name, names in devices.items()},
        "xen_pci_converge": "active",
        "xen_pci_timeout": 300,
        **more,
    }


def bdfs(names: list[str]) -> set[str]:
    return {part.bdf for part in PARTS if part.name in names}


@dataclass(frozen=True)
class Marks:
    """Where all logs ended before the story began."""

    host: Host
    dom0: Line | None
    xen: Line | None
    guests: dict[str, Line | None]

    @classmethod
    def now(cls, host: Host) -> Marks:
        guests = {name: host.guest(name).kernel_log().mark for name in ("g1", "g2")}
        return cls(host, host.kernel_log().mark, host.xen_log().mark, guests)


@pytest.fixture(scope="module")
def marks(host: Host) -> Iterator[Marks]:
    yield Marks.now(host)


def test_the_plan_is_shown_before_anything_is_touched(host: Host, marks: Marks) -> None:
    planned = playbook.apply(host, declaration(FIRST), ["--check", "--diff"])
    assert planned.status == 0, planned.output
    assert planned.changed
    actions = planned.tasks[TASK]["actions"]
    assert len(actions) == 2 * len(PARTS), "pciback takes each, and a guest gets it"
    assert all(any(f"g1: add {bdf}" == action for action in actions) for bdf in bdfs(FIRST["g1"]))
    for name, names in FIRST.items():
        assert all(re.search(rf"^{name} +\+ {part} +0000:", planned.output, re.MULTILINE) for part in names)
    assert all(driver_in_dom0(host, part.bdf) == part.driver for part in PARTS)
    assert attached_by_xl(host, "g1") == set()


def test_one_run_gives_all_devices_to_both_guests(host: Host, marks: Marks) -> None:
    applied = playbook.apply(host, declaration(FIRST))
    assert applied.status == 0, applied.output
    reports = {report["name"]: report for report in applied.tasks[TASK]["domains"]}
    assert [len(report["cycles"]) for report in reports.values()] == [1, 1]
    assert {device["converged"] for report in reports.values() for device in report["devices"]} == {"active"}
    for name, names in FIRST.items():
        assert attached_by_xl(host, name) == bdfs(names)


def test_the_guests_work_with_their_devices(host: Host, marks: Marks) -> None:
    g1, g2 = host.guest("g1"), host.guest("g2")
    assert drivers(g1) == ["e1000e"] * 6 + ["nvme"]
    assert drivers(g2) == ["nvme"]
    assert read_block(g1, NV1, 4711) == disks.block("NV1", 4711)
    assert read_block(g2, NV2, 1) == disks.block("NV2", 1)
    for nic in (NICS[0], DUAL[1]):
        assert nic_works(g1, nic)
        g1.run(f"ip link set {interface(g1, nic.mac)} down")


def test_the_second_run_changes_nothing(host: Host, marks: Marks) -> None:
    again = playbook.apply(host, declaration(FIRST))
    assert again.status == 0, again.output
    assert not again.changed
    assert again.tasks[TASK]["actions"] == []


def test_a_changed_inventory_moves_two_devices_and_drops_one_in_one_run(host: Host, marks: Marks) -> None:
    planned = playbook.apply(host, declaration(SECOND), ["--check"]).tasks[TASK]
    moved = playbook.apply(host, declaration(SECOND))
    assert moved.status == 0, moved.output
    assert moved.tasks[TASK]["actions"] == planned["actions"]
    for name, names in SECOND.items():
        assert attached_by_xl(host, name) == bdfs(names)
    assert drivers(host.guest("g1")) == ["e1000e"] * 4
    assert drivers(host.guest("g2")) == ["e1000e", "nvme", "nvme"]
    assert read_block(host.guest("g2"), NV1, 99) == disks.block("NV1", 99)
    assert not playbook.apply(host, declaration(SECOND)).changed


def test_everything_is_released_to_the_drivers_of_dom0(host: Host, marks: Marks) -> None:
    nothing = declaration({"g1": [], "g2": []}, xen_pci_devices={}, xen_pci_release_undeclared=True)
    planned = playbook.apply(host, nothing, ["--check"])
    assert planned.status == 0, planned.output
    released = playbook.apply(host, nothing)
    assert released.status == 0, released.output
    plans = {name: task["actions"] for name, task in planned.tasks.items() if "actions" in task}
    assert plans and {name: released.tasks[name]["actions"] for name in plans} == plans
    assert drivers(host.guest("g1")) == drivers(host.guest("g2")) == []
    assert attached_by_xl(host, "g1") == attached_by_xl(host, "g2") == set()
    assert host.run("xl pci-assignable-list").stdout.strip() == ""
    assert {part.bdf: driver_in_dom0(host, part.bdf) for part in PARTS} == {part.bdf: part.driver for part in PARTS}
    left = host.run("xenstore-ls -f /libxl/pci; xenstore-ls -f /local/domain/0/backend/pci", check=False).stdout
    assert "domid" not in left and "dev-" not in left and "driver_path" not in left
    assert not playbook.apply(host, nothing).changed


def test_no_kernel_and_no_hypervisor_warned(host: Host, marks: Marks) -> None:
    dom0 = [line for line in host.kernel_log().since(marks.dom0).warnings() if not PCIBACK_AER.search(line.text)]
    assert [str(line) for line in dom0] == []
    assert [str(line) for line in host.xen_log().since(marks.xen).warnings()] == []
    for name, mark in marks.guests.items():
        assert [str(line) for line in _without_pcifront_trace(host.guest(name).kernel_log().since(mark).lines)] == []


def _without_pcifront_trace(lines: tuple[Line, ...]) -> list[Line]:
    """Warnings, except what is known, and stack traces that lead to pcifront's double free."""
    found: list[Line] = []
    trace: list[Line] = []
    for line in lines:
        if "cut here" in line.text:
            trace = [line]
        elif trace:
            trace.append(line)
            if PCIFRONT_TRACE.search(line.text):
                trace = []
        elif line.level <= WARNING and not PCIFRONT_TRACE.search(line.text) and not GUEST_KNOWN.search(line.text):
            found.append(line)
    return found + [line for line in trace if line.level <= WARNING]
