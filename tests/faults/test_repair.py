# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad states, each made for real: xen.pci.repair names them, prescribes without touching, and mends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import test_hvm
from fault_injection import back, closed_by_guest, leaked, pause, wake
from faulty_hosts import SICK, Sick
from simulated import A, B, C, D, Host, marker

from ansible_collections.xen.pci.plugins.module_utils.faults.table import Fault

#: Seconds in which a run can also finish what an earlier one has left, which it watches for two seconds.
LONG_ENOUGH = 4
#: test_hvm.py has a test for it.
SILENT_DEVICE_MODEL = "silent_device_model"


def names(findings: list[dict[str, Any]]) -> set[str]:
    return {finding["fault"] for finding in findings}


@pytest.mark.parametrize("sick", SICK, ids=[sick.name for sick in SICK])
def test_a_fault_is_named_prescribed_and_mended(
    host: Host, sick: Sick, record_property: Callable[[str, object], None]
) -> None:
    record_property("scenario", f"doctor: {sick.name}")
    result = (
        host.devices(**{name: list(devices) for name, devices in sick.before.items() if devices})
        if any(sick.before.values())
        else {}
    )
    assert not result.get("failed"), result["msg"]
    sick.make(host)

    before = host.ask("trace")
    prescribed = host.repair(check=True)
    assert names(prescribed["findings"]) == set(sick.found)
    assert host.ask("trace")[len(before) :] == []
    assert prescribed["changed"] or sick.left or sick.asked or sick.noted

    repaired = host.repair(faults=sorted(sick.asked))
    record_property(
        "happened",
        f"{', '.join(sorted(sick.found))}: " + ("; ".join(repaired["actions"]) or "nothing can be done from here"),
    )
    assert bool(repaired.get("failed")) == bool(sick.left), repaired.get("msg")
    for attempt in repaired["treatments"]:
        words = [attempt["fault"], *attempt["devices"], "mended: " + attempt["recipe"]]
        assert any(all(word in line for word in words) for line in repaired["log"]), repaired["log"]
    assert names(repaired["left"]) == {*sick.left, *sick.noted}
    if sick.left:
        assert all(finding["advice"] in repaired["msg"] for finding in repaired["left"])
    if sick.wake is not None:
        sick.wake(host)
    if not sick.left:
        assert host.settled(sick.healed) == []
        again = host.repair()
        assert (again["changed"], names(again["left"])) == (False, set(sick.noted))


@pytest.mark.parametrize("sick", [sick for sick in SICK if any(sick.before.values())], ids=lambda sick: sick.name)
def test_the_declaration_that_held_before_is_ok_only_if_it_holds_again(
    host: Host, sick: Sick, record_property: Callable[[str, object], None]
) -> None:
    """Most of these leave nothing to add or to remove, and yet the guests do not have what is declared.

    But for a device that is no guest's by any sign: Xen says that one owns it, and not which.
    """
    record_property("scenario", f"the same declaration again: {sick.name}")
    declared = {name: list(devices) for name, devices in sick.before.items()}
    assert not host.devices(**declared).get("failed")
    sick.make(host)
    again = host.devices(timeout=LONG_ENOUGH, **declared)
    record_property("happened", f"error: {again['msg'][:150]}" if again.get("failed") else "ok")
    if not again.get("failed") and set(sick.found) != {"unexplained_owner"}:
        assert host.settled(sick.before) == []


def unforeseen(sick: Sick) -> bool:
    """A guest that does not answer now may do so by then; and where connection and marker are lost, nothing tells whose
    device it was.
    """
    untold = "lost_entry" in sick.found and sick.healed != sick.before
    return sick.wake is not None or bool(sick.left) or bool(sick.asked) or untold


@pytest.mark.parametrize("sick", [sick for sick in SICK if not unforeseen(sick)], ids=lambda sick: sick.name)
def test_check_mode_foretells_a_run_that_mends_first(
    host: Host, sick: Sick, record_property: Callable[[str, object], None]
) -> None:
    record_property("scenario", f"what check mode foretells of a run that mends first: {sick.name}")
    if any(sick.before.values()):
        assert not host.devices(**{name: list(devices) for name, devices in sick.before.items()}).get("failed")
    sick.make(host)
    alive = {domain["name"] for domain in host.ask("list")}
    declared = {name: {"devices": list(devices), "exclusive": True} for name, devices in sick.before.items()}
    declared = {name: one for name, one in declared.items() if name in alive} or {"g2": {"devices": [D]}}
    task = {"domains": declared, "repair": "first", "timeout": 15}
    told, done = (host.run("domain_devices", task, check=check) for check in (True, False))
    record_property("happened", done.get("msg", "ok")[:150])
    assert told.get("failed") == done.get("failed"), (told.get("msg"), done.get("msg"))
    assert told["actions"] == done["actions"]
    assert set(told["repaired"]) <= set(done["repaired"]), "one may make another on its way"
    assert told["changed"] == done["changed"]


def test_every_fault_has_a_scenario_and_every_recipe_a_success() -> None:
    """A new fault needs one in which it is named; if something mends it, one in which it is; else one that says so."""
    of_hvm_guests = {fault for _make, fault, _healed in test_hvm.LEFT.values()}
    told = {fault for sick in SICK for fault in (*sick.left, *sick.noted)} | {SILENT_DEVICE_MODEL}
    repaired = {fault for sick in SICK for fault in {*sick.found} - {*sick.left, *sick.noted}} | of_hvm_guests
    produced = {fault for sick in SICK for fault in sick.found} | of_hvm_guests | {SILENT_DEVICE_MODEL}
    assert produced == {fault.code for fault in Fault}
    assert {fault.code for fault in Fault if fault.recipe is not None} <= repaired
    assert {fault.code for fault in Fault if fault.recipe is None} <= told | repaired


def test_a_complaint_of_pciback_vanishes_with_the_next_change_that_succeeds(host: Host) -> None:
    assert not host.devices(g1=[A]).get("failed")
    leaked(host)
    assert names(host.repair(check=True)["findings"]) == {"leaked_hold"}
    host.inject("refuse-export", device=B, refuse=False)
    assert host.devices(g1=[A, B])["changed"]
    assert host.repair(check=True)["findings"] == []
    assert host.settled({"g1": [A, B]}) == []


def test_a_device_that_fell_off_the_bus_hides_nothing_of_the_others(host: Host) -> None:
    """Its guest cannot let it go in a cycle, so that is for the doctor; the other domain of the task is told of."""
    assert not host.devices(g1=[A, B], g2=[C]).get("failed")
    host.pull_out(A)
    refused = host.devices(g1=[B], g2=[])
    assert refused["failed"] and "g1: device_gone" in refused["msg"] and "repair: first" in refused["msg"]
    everything = {"domains": {"g1": {"devices": [B], "exclusive": True}, "g2": {"devices": [], "exclusive": True}}}
    done = host.run("domain_devices", {**everything, "repair": "first", "timeout": 15})
    assert not done.get("failed"), done["msg"]
    assert any(f"{C} " in line and "from g2 to the pool" in line for line in done["log"])
    assert host.settled({"g1": [B], "g2": []}) == []


def test_what_a_driver_of_the_host_has_by_now_is_taken_from_the_guest_and_not_reset(host: Host) -> None:
    """Somebody unbound it and gave it back to its driver while a guest had it."""
    assert not host.devices(g1=[A]).get("failed")
    host.act(("unbind", A), ("bind", A, "e1000e"))
    resets = host.ask("devices")[A]["resets"]
    assert not host.devices(g1=[]).get("failed")
    assert host.settled({}) == []
    assert host.ask("devices")[A]["resets"] == resets


@pytest.mark.parametrize("marked", [True, False], ids=["", "marker lost"])
def test_an_entry_in_disorder_costs_its_guest_no_right(host: Host, marked: bool) -> None:
    """No driver in the guest runs the device, so only the guest knows that it has it: a run that is not asked to mend
    leaves it alone, and one that is does not take it first.
    """
    host.inject("driver", domain="g1", manner="refuse")
    assert not host.devices(g1=[A, B]).get("failed")
    host.act(("remove", back(1, "dev-0")), *([] if marked else [("remove", marker(A))]))
    refused = host.devices(g1=[A, B])
    assert refused["failed"] and not refused["changed"]
    repaired = host.repair()
    repaired = [one["fault"] for one in repaired["treatments"]]
    assert repaired == (["disordered_entries"] if marked else ["disordered_entries", "missing_marker"])
    assert host.settled({"g1": [A, B]}) == []


def half_mended(host: Host) -> None:
    """A device that cannot be reset is taken from its guest nonetheless, and the marker says that something is left."""
    host.act(("write", marker(A), "1"), ("assign", "1", A))
    host.inject("reset-fails", device=A)


def test_what_could_not_be_mended_but_changed_the_host_is_told_with_the_reason(host: Host) -> None:
    half_mended(host)
    first, second = host.repair(), host.repair()
    for one in (first, second):
        assert one["failed"] and f"{A} could not be reset" in one["msg"]
    assert (first["changed"], second["changed"]) == (True, False)
    host.restart()
    half_mended(host)
    first, second = host.devices(g1=[B]), host.devices(g1=[B])
    for one in (first, second):
        assert one["failed"] and f"Tried in vain to mend g1: left_rights ({A}): {A} could not be reset" in one["msg"]
    assert (first["changed"], second["changed"]) == (True, False)
    host.inject("reset-fails", device=A, fails=False)
    assert host.devices(g1=[B])["changed"]
    assert host.settled({"g1": [B]}) == []


def test_a_connection_that_does_not_come_back_is_not_mended(host: Host) -> None:
    """The fault is gone and everything is tidy, but the guest has lost its devices."""
    assert not host.devices(g1=[A, B]).get("failed")
    closed_by_guest(host)
    pause(host)
    repaired = host.repair(timeout=300)
    assert repaired["failed"] and "g1 did not connect again in time and has lost them" in repaired["msg"]
    assert {one["fault"]: one["mended"] for one in repaired["treatments"]} == {
        "closed_connection": False,
        "left_rights": True,
    }
    wake(host)
    assert not host.devices(g1=[A, B]).get("failed")
    assert host.settled({"g1": [A, B]}) == []


@pytest.mark.parametrize("check", [True, False], ids=["check mode", "run"])
def test_a_name_that_no_domain_has_does_not_pass_for_healthy(host: Host, check: bool) -> None:
    assert not host.devices(g1=[A]).get("failed")
    host.act(("remove", marker(A)))
    refused = host.repair(check=check, domains=["g1", "gl"])
    assert refused["msg"] == "Nothing was changed: no domain named gl runs on this host (running: g1, g2, g3)"
    assert host.nodes().get(marker(A)) is None
    assert not host.repair(domains=["g1"]).get("failed")


def test_check_mode_foretells_no_fault_that_is_not_there(host: Host) -> None:
    wanted = {"domains": {"g1": {"devices": [A]}}, "repair": "first"}
    told, done = (host.run("domain_devices", wanted, check=check) for check in (True, False))
    assert told["repaired"] == done["repaired"] == []


@pytest.mark.parametrize("check", [True, False], ids=["check mode", "run"])
def test_a_device_that_nothing_names_does_not_pass_for_healthy(host: Host, check: bool) -> None:
    nowhere = "0000:77:00.0"
    refused = host.repair(check=check, devices=[A, nowhere])
    assert refused["msg"] == f"Nothing was changed: this host has no device {nowhere}, and nothing on it names one"
    host.act(("write", marker(nowhere), "77"))
    assert names(host.repair(check=check, devices=[nowhere])["findings"]) == {"dead_marker"}


@pytest.mark.parametrize(("settle", "timeout"), [(-1, 15), (2, 2), ("nan", 15), ("inf", 15)])
def test_a_time_in_which_nothing_could_be_mended_is_refused(host: Host, settle: object, timeout: int) -> None:
    """Check mode would foretell what the run then has no time for."""
    host.act(("write", marker(A), "77"))
    for check in (True, False):
        refused = host.repair(check=check, settle=settle, timeout=timeout)
        assert refused["failed"] and "settle must be from 0 to less than timeout" in refused["msg"]
