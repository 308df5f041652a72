# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The complete plan for assignable devices: every refusal of a task in one answer, and none that only follows."""

from __future__ import annotations

from typing import Any

from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.model.boot_facts import BootFacts, PcibackKind
from ansible_collections.xen.pci.plugins.module_utils.model.device import BlockUse, PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.plan.assignment import AssignmentPlan, complete_plan, read_wanted
from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import checked_catalog, resolve_names
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B = Sbdf.parse("0000:01:00.0"), Sbdf.parse("0000:02:00.0")
LINE: dict[str, Any] = {"irq": 17, "interrupt_pin": 1}


def device(sbdf: Sbdf, driver: str | None, **facts: Any) -> PciDevice:
    return PciDevice(sbdf, "8086", "10d3", "", "", "020000", "", driver=driver, reset_methods=("flr",), **facts)


def planned(*devices: PciDevice, names: list[Any], catalog: Any = None, **options: Any) -> AssignmentPlan:
    host = Host(
        {one.sbdf: one for one in devices},
        {},
        drivers=frozenset({"pciback", "e1000e"}),
        boot=BootFacts(PcibackKind.ABSENT),
    )
    wanted = read_wanted(names, checked_catalog(catalog or {}), **options)
    return complete_plan(host, wanted, resolve_names(wanted.catalog.entries, host, wanted.known_names))


def test_a_task_says_all_that_is_wrong_with_it_at_once() -> None:
    disk = device(A, "nvme", block=(BlockUse("nvme0n1", ("nvme0n1 is mounted on /",)),))
    plan = planned(
        disk,
        names=[str(A), "uplnk", {"form": "nics"}],
        catalog={"uplink": {"address": str(B), "waive": {"bridge": "it must"}}},
        persistent=True,
        assume_free=["4"],
    )
    assert {code for code, _subject in codes(plan.refusals)} == {
        *("disk", "unknown-device", "device-request", "waiver", "address", "no-pciback"),
    }


def test_what_follows_from_an_unknown_device_is_not_refused_as_well() -> None:
    both = device(A, "e1000e", **LINE), device(B, "pciback", **LINE)
    assert ("shared-interrupt", str(A)) in codes(
        planned(device(A, "e1000e", **LINE), device(B, "e1000e", **LINE), names=[str(A)]).refusals
    )
    assert codes(planned(*both, names=[str(A), "typo"], exclusive=True).refusals) == [("unknown-device", "typo")]


def test_options_that_do_not_go_with_a_release_are_refused() -> None:
    plan = planned(device(A, "pciback"), names=[str(A)], present=False, exclusive=True, persistent=True)
    assert {code for code, _subject in codes(plan.refusals)} == {"exclusive-absent", "persistent-absent"}


def test_a_plan_knows_where_its_devices_are_to_be() -> None:
    plan = planned(device(A, "e1000e"), device(B, "pciback", permissive=True), names=[str(A)], exclusive=True)
    assert plan.refusals == ()
    assert plan.expected.drivers[A] == "pciback" and A in plan.expected.quarantined
    assert plan.expected.recorded_driver(A) == "e1000e"
    assert B not in plan.expected.quarantined and B not in plan.expected.permissive
