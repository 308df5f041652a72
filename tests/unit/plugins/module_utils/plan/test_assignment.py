# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The complete plan for assignable devices: every refusal of a task in one answer, and none that only follows."""

from __future__ import annotations

from typing import Any

from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.model.boot_facts import (
    MODPROBE,
    BootFacts,
    HideSetting,
    PcibackKind,
)
from ansible_collections.xen.pci.plugins.module_utils.model.device import BlockUse, PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.notes import GoneDevice, Note
from ansible_collections.xen.pci.plugins.module_utils.plan.assignment import AssignmentPlan, complete_plan, read_wanted
from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import checked_catalog, resolve_names
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.identity import Remembered

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
    )
    assert {code for code, _subject in codes(plan.refusals)} == {
        *("disk", "unknown-device", "device-request", "waiver", "no-pciback"),
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


def test_a_device_that_left_the_host_leaves_the_files_of_the_next_boot() -> None:
    """By its address, and by the name that was noted of it; what others keep is their business."""
    left, stays = Sbdf.parse("0000:09:00.0"), Sbdf.parse("0000:0a:00.0")
    boot = BootFacts(
        PcibackKind.MODULE,
        hide=(HideSetting(f"/{MODPROBE}", f"({left})({stays})", ours=True),),
        files={MODPROBE: f"options xen-pciback hide=({left})({stays})\n"},
    )
    gone = {left: GoneDevice(Note(name="disk", identity=Remembered("S1")), pciback_slots=1)}
    catalog = checked_catalog({"disk": {"nvme_serial": "S1"}})
    seen = Host({}, {}, boot=boot, gone=gone, driver_paths={left: "/sys/bus/pci/drivers/nvme"})
    for name in ("disk", str(left)):
        wanted = read_wanted([name], catalog, present=False)
        names = resolve_names(catalog.entries, seen, wanted.known_names, wanted.leaving)
        plan = complete_plan(seen, wanted, names)
        assert plan.refusals == ()
        assert [step.action for step in plan.devices.steps] == ["forget"]
        assert str(left) not in (plan.boot.files[MODPROBE] or "") and str(stays) in (plan.boot.files[MODPROBE] or "")
        assert plan.expected.after_reboot == frozenset()
        assert plan.expected.recorded_driver(left) is None


def test_a_device_that_moved_is_absent_where_it_was_as_well() -> None:
    here, was = Sbdf.parse("0000:03:00.0"), Sbdf.parse("0000:09:00.0")
    catalog = checked_catalog({"uplink": {"serial": "52-54-00-ff-ff-00-01-01", "address": str(was)}})
    seen = Host({here: device(here, "e1000e", serial="52-54-00-ff-ff-00-01-01")}, {})
    leaving = resolve_names(catalog.entries, seen, ["uplink"], ["uplink"])
    assert set(leaving.expand(["uplink"])) == {here, was}
    assert set(resolve_names(catalog.entries, seen, ["uplink"]).expand(["uplink"])) == {here}
    taken = Host({**seen.devices, was: device(was, "nvme")}, {})
    assert set(resolve_names(catalog.entries, taken, ["uplink"], ["uplink"]).expand(["uplink"])) == {here}
