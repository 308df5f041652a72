# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faulty hosts, each made for real: xen.pci.repair names the faults, in check mode with no change, and repairs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import test_hvm
from fault_injection import back, closed_by_guest, leaked, pause, wake
from faulty_hosts import FAULTY_HOSTS, FaultyHost
from refusal_codes import codes_in
from simulated import A, B, C, D, Host, marker

from ansible_collections.xen.pci.plugins.module_utils.faults.table import Fault

#: Seconds in which a run can also finish what an earlier one has left, which it watches for two seconds.
LONG_ENOUGH = 4
#: test_hvm.py and test_managers.py have tests for them.
ELSEWHERE = {"silent_device_model", "claimed_device", "other_definition"}


def names(findings: list[dict[str, Any]]) -> set[str]:
    return {finding["fault"] for finding in findings}


@pytest.mark.parametrize("faulty", FAULTY_HOSTS, ids=[faulty.name for faulty in FAULTY_HOSTS])
def test_a_fault_is_named_and_repaired(
    host: Host, faulty: FaultyHost, record_property: Callable[[str, object], None]
) -> None:
    record_property("scenario", f"repair: {faulty.name}")
    result = (
        host.devices(**{name: list(devices) for name, devices in faulty.before.items() if devices})
        if any(faulty.before.values())
        else {}
    )
    assert not result.get("failed"), result["msg"]
    faulty.make(host)

    before = host.ask("trace")
    expected = host.repair(check=True)
    assert names(expected["findings"]) == set(faulty.found)
    assert host.ask("trace")[len(before) :] == []
    assert expected["changed"] or faulty.left or faulty.asked or faulty.noted

    repaired = host.repair(faults=sorted(faulty.asked))
    record_property(
        "happened",
        f"{', '.join(sorted(faulty.found))}: " + ("; ".join(repaired["actions"]) or "nothing can be done from here"),
    )
    assert bool(repaired.get("failed")) == bool(faulty.left), repaired.get("msg")
    for attempt in repaired["attempts"]:
        words = [attempt["fault"], *attempt["devices"], "repaired: " + attempt["recipe"]]
        assert any(all(word in line for word in words) for line in repaired["log"]), repaired["log"]
    assert names(repaired["left"]) == {*faulty.left, *faulty.noted}
    if faulty.left:
        assert all(one["advice"] in repaired["msg"] for one in repaired["left"] if one["fault"] in faulty.left)
    if faulty.wake is not None:
        faulty.wake(host)
    if not faulty.left:
        assert host.settled(faulty.repaired) == []
        again = host.repair()
        assert (again["changed"], names(again["left"])) == (False, set(faulty.noted))


@pytest.mark.parametrize(
    "faulty", [faulty for faulty in FAULTY_HOSTS if any(faulty.before.values())], ids=lambda faulty: faulty.name
)
def test_the_declaration_that_held_before_is_ok_only_if_it_holds_again(
    host: Host, faulty: FaultyHost, record_property: Callable[[str, object], None]
) -> None:
    """Most of these leave nothing to add or to remove, and yet the guests do not have what is declared.

    But for a device that is no guest's by any sign: Xen says that one owns it, and not which.
    """
    record_property("scenario", f"the same declaration again: {faulty.name}")
    declared = {name: list(devices) for name, devices in faulty.before.items()}
    assert not host.devices(**declared).get("failed")
    faulty.make(host)
    again = host.devices(timeout=LONG_ENOUGH, **declared)
    record_property("happened", f"error: {again['msg'][:150]}" if again.get("failed") else "ok")
    skipped = {one["name"] for one in again.get("domains", ()) if one.get("skipped")}
    if skipped:  # it died, so it has nothing of what is declared, and the task says so
        assert all(any(name in str(warning) for warning in again["warnings"]) for name in skipped), again
    elif not again.get("failed") and set(faulty.found) != {"unexplained_owner"}:
        others = {name: devices for name, devices in faulty.repaired.items() if name not in faulty.before}
        assert host.settled({**others, **faulty.before}) == []


def unexpected(faulty: FaultyHost) -> bool:
    """A guest that does not answer now may do so by then; and where connection and marker are lost, nothing tells whose
    device it was.
    """
    untold = "lost_entry" in faulty.found and faulty.repaired != faulty.before
    return faulty.wake is not None or bool(faulty.left) or bool(faulty.asked) or untold


@pytest.mark.parametrize(
    "faulty", [faulty for faulty in FAULTY_HOSTS if not unexpected(faulty)], ids=lambda faulty: faulty.name
)
def test_check_mode_expects_what_a_run_that_repairs_first_does(
    host: Host, faulty: FaultyHost, record_property: Callable[[str, object], None]
) -> None:
    record_property("scenario", f"what check mode expects of a run that repairs first: {faulty.name}")
    if any(faulty.before.values()):
        assert not host.devices(**{name: list(devices) for name, devices in faulty.before.items()}).get("failed")
    faulty.make(host)
    alive = {domain["name"] for domain in host.ask("list")}
    declared = {name: {"devices": list(devices), "exclusive": True} for name, devices in faulty.before.items()}
    declared = {name: one for name, one in declared.items() if name in alive} or {"g2": {"devices": [D]}}
    task = {"domains": declared, "repair": "first", "timeout": 15}
    told, done = (host.run("domain_devices", task, check=check) for check in (True, False))
    record_property("happened", done.get("msg", "ok")[:150])
    assert told.get("failed") == done.get("failed"), (told.get("msg"), done.get("msg"))
    assert told["actions"] == done["actions"]
    assert set(told["repaired"]) <= set(done["repaired"]), "one may make another on its way"
    assert told["changed"] == done["changed"]


@pytest.mark.parametrize("faulty", FAULTY_HOSTS, ids=[faulty.name for faulty in FAULTY_HOSTS])
def test_host_info_names_the_same_faults(host: Host, faulty: FaultyHost) -> None:
    if any(faulty.before.values()):
        declared = {name: list(devices) for name, devices in faulty.before.items() if devices}
        assert not host.devices(**declared).get("failed")
    faulty.make(host)
    by_repair = host.repair(check=True)["findings"]
    assert names(by_repair) == set(faulty.found)
    assert host.run("host_info", {"gather": []})["findings"] == by_repair


def test_every_fault_has_a_scenario_and_every_recipe_a_success() -> None:
    """A new fault needs one in which it is named; with a recipe, one in which it is repaired, else one that says so."""
    of_hvm_guests = {fault for _make, fault, _repaired in test_hvm.LEFT.values()}
    told = {fault for faulty in FAULTY_HOSTS for fault in (*faulty.left, *faulty.noted)} | ELSEWHERE
    repaired = {
        fault for faulty in FAULTY_HOSTS for fault in {*faulty.found} - {*faulty.left, *faulty.noted}
    } | of_hvm_guests
    produced = {fault for faulty in FAULTY_HOSTS for fault in faulty.found} | of_hvm_guests | ELSEWHERE
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
    """No cycle can remove it, so its recipe does what is declared; the task reports the other domain beside it."""
    assert not host.devices(g1=[A, B], g2=[C]).get("failed")
    host.pull_out(A)
    done = host.devices(g1=[B], g2=[])
    assert not done.get("failed"), done["msg"]
    assert any("device_gone" in one for one in done["repaired"])
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
    """No driver in the guest runs the device, so only the guest knows that it has it: a run that is not asked to repair
    leaves it alone, and one that is does not take it first.
    """
    host.inject("driver", domain="g1", manner="refuse")
    assert not host.devices(g1=[A, B]).get("failed")
    host.act(("remove", back(1, "dev-0")), *([] if marked else [("remove", marker(A))]))
    refused = host.devices(g1=[A, B])
    assert refused["failed"] and not refused["changed"]
    repaired = host.repair()
    repaired = [one["fault"] for one in repaired["attempts"]]
    assert repaired == (["disordered_entries"] if marked else ["disordered_entries", "missing_marker"])
    assert host.settled({"g1": [A, B]}) == []


def half_repaired(host: Host) -> None:
    """A device that cannot be reset is taken from its guest nonetheless, and the marker says that something is left."""
    host.act(("write", marker(A), "1"), ("assign", "1", A))
    host.inject("reset-fails", device=A)


def test_what_could_not_be_repaired_but_changed_the_host_is_reported_with_the_reason(host: Host) -> None:
    half_repaired(host)
    first, second = host.repair(), host.repair()
    for one in (first, second):
        assert one["failed"] and [A in attempt["problem"] for attempt in one["attempts"]] == [True]
    assert (first["changed"], second["changed"]) == (True, False)
    host.restart()
    half_repaired(host)
    first, second = host.devices(g1=[B]), host.devices(g1=[B])
    for one in (first, second):
        assert one["failed"] and f"g1: left_rights ({A}): " in one["msg"]
    assert (first["changed"], second["changed"]) == (True, False)
    host.inject("reset-fails", device=A, fails=False)
    assert host.devices(g1=[B])["changed"]
    assert host.settled({"g1": [B]}) == []


def test_a_connection_that_does_not_come_back_is_not_repaired(host: Host) -> None:
    """The fault is gone and everything is tidy, but the guest has lost its devices."""
    assert not host.devices(g1=[A, B]).get("failed")
    closed_by_guest(host)
    pause(host)
    repaired = host.repair(timeout=300)
    assert repaired["failed"]
    assert {one["fault"]: one["repaired"] for one in repaired["attempts"]} == {
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
    assert refused["failed"] and codes_in(refused) == [("unknown-domain", "gl")]
    (refusal,) = host.repair(check=check, domains=["g11"])["refusals"]
    assert "'g1'" in refusal["advice"]
    assert host.nodes().get(marker(A)) is None
    assert not host.repair(domains=["g1"]).get("failed")


def test_check_mode_expects_no_fault_that_is_not_there(host: Host) -> None:
    wanted = {"domains": {"g1": {"devices": [A]}}, "repair": "first"}
    told, done = (host.run("domain_devices", wanted, check=check) for check in (True, False))
    assert told["repaired"] == done["repaired"] == []


@pytest.mark.parametrize("check", [True, False], ids=["check mode", "run"])
def test_a_device_that_nothing_names_does_not_pass_for_healthy(host: Host, check: bool) -> None:
    nowhere = "0000:77:00.0"
    refused = host.repair(check=check, devices=[A, nowhere])
    assert refused["failed"] and codes_in(refused) == [("unknown-device", nowhere)]
    host.act(("write", marker(nowhere), "77"))
    assert names(host.repair(check=check, devices=[nowhere])["findings"]) == {"dead_marker"}


@pytest.mark.parametrize(("settle", "timeout"), [(-1, 15), (2, 2), ("nan", 15), ("inf", 15)])
def test_a_time_in_which_nothing_could_be_repaired_is_refused(host: Host, settle: object, timeout: int) -> None:
    """Check mode would foretell what the run then has no time for."""
    host.act(("write", marker(A), "77"))
    for check in (True, False):
        refused = host.repair(check=check, settle=settle, timeout=timeout)
        assert refused["failed"] and codes_in(refused) == [("settle", "settle")]


def test_all_that_is_wrong_with_a_task_is_said_at_once(host: Host) -> None:
    refused = host.repair(domains=["gl"], devices=["0000:77:00.0", "77:00"], settle=20)
    expected = {
        ("settle", "settle"),
        ("address", "devices"),
        ("unknown-domain", "gl"),
        ("unknown-device", "0000:77:00.0"),
    }
    assert refused["failed"] and not refused["changed"] and set(codes_in(refused)) == expected
    assert all(one["reason"] in refused["msg"] for one in refused["refusals"])
