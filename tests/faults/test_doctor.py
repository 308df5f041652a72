# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad states, each made for real: xen.pci.repair names them, prescribes without touching, and mends them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import test_hvm
from simulated import AMPLE, TWIN_0, TWIN_1, A, B, C, D, Host, marker

from ansible_collections.xen.pci.plugins.module_utils.decisions.faults import Fault

#: Seconds in which a run can also finish what an earlier one has left, which it watches for two seconds.
LONG_ENOUGH = 4
#: test_hvm.py has a test for it.
SILENT_DEVICE_MODEL = "silent_device_model"
Break = Callable[[Host], object]


def back(domid: int, node: str) -> str:
    return f"/local/domain/0/backend/pci/{domid}/0/{node}"


def front(domid: int, node: str) -> str:
    return f"/local/domain/{domid}/device/pci/0/{node}"


@dataclass(frozen=True)
class Sick:
    """A bad state. `found`: the faults named at first; `healed`: what guests have in the end.

    `asked`: the faults to name for repair; `wake`: what is done to the guest afterwards; `left`: no recipe helps;
    `noted`: what is reported without being a failure.
    """

    name: str
    before: Mapping[str, Collection[str]]
    make: Break
    found: Collection[str]
    healed: Mapping[str, Collection[str]]
    asked: Collection[str] = ()
    wake: Break | None = None
    left: Collection[str] = ()
    noted: Collection[str] = ()


def pause(host: Host, paused: bool = True) -> None:
    host.ask("pause", domain="g1", paused=paused)


def wake(host: Host) -> None:
    pause(host, False)


def acting(*steps: tuple[str, ...]) -> Break:
    return lambda host: host.act(*steps)


def in_turn(*breaks: Break) -> Break:
    def make(host: Host) -> None:
        for one in breaks:
            one(host)

    return make


def xl(*words: str) -> Break:
    return lambda host: host.xl(*words)


def sysfs_unbind(device: str) -> Break:
    return acting(("unbind", device))


def refused_by_pciback(host: Host) -> None:
    host.inject("refuse-export", device=B)
    host.xl("pci-attach", "g1", B)
    host.inject("refuse-export", device=B, refuse=False)


def wait(done: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + AMPLE
    while not done():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.01)


def until(host: Host, path: str, value: str) -> None:
    wait(lambda: host.nodes().get(path) == value, f"{path} is not {value}")


def stale_and_stuck(host: Host) -> None:
    """A removal that nobody compacted, and then another change on top of it."""
    host.act(("write", back(1, "state-0"), "5"), ("write", back(1, "state"), "7"))
    until(host, back(1, "state"), "4")
    host.act(("write", back(1, "state"), "7"))
    until(host, front(1, "state"), "7")


def uncompacted(host: Host) -> None:
    host.act(("write", back(1, "state-0"), "5"), ("write", back(1, "state"), "7"))
    until(host, back(1, "state"), "4")


def emptied(host: Host) -> None:
    uncompacted(host)
    gone = [("remove", back(1, f"{kind}-0")) for kind in ("dev", "key", "state", "vdev", "opts")]
    host.act(("write", back(1, "num_devs"), "0"), *gone)


def died(host: Host) -> None:
    host.ask("destroy", domain="g1")


def closed_by_guest(host: Host) -> None:
    """The guest reads no address of a device to remove, and gives up."""
    host.act(("remove", back(1, "vdev-0")), ("write", back(1, "state-0"), "5"), ("write", back(1, "state"), "7"))
    until(host, front(1, "state"), "5")
    until(host, back(1, "state"), "5")


def close_unanswered(host: Host) -> None:
    pause(host)
    host.act(("write", back(1, "online"), "0"), ("write", back(1, "state"), "5"))


def close_unfinished(host: Host) -> None:
    host.act(("write", back(1, "online"), "0"), ("write", back(1, "state"), "5"))
    until(host, back(1, "state"), "6")


def missed_connect(host: Host) -> None:
    """A guest before Linux 6.1 sleeps when dom0 connects, and an impatient toolstack asks for the next change."""
    host.ask("destroy", domain="g1")
    host.ask("create", config={"name": "g1", "linux": "5.10"})
    number = host.guest("g1")["domid"]
    host.inject("pause-at", domain="0", step="backend:3", victim="g1")
    host.xl("pci-attach", "g1", A)
    until(host, back(number, "state"), "4")
    host.xl("pci-attach", "g1", B)
    wake(host)


def answered_late(host: Host) -> None:
    """The guest had read the request when it was paused; then the request was withdrawn."""
    host.inject("pause-at", domain="g1", step="frontend:7")
    host.devices(1, g1=[A, B])
    wake(host)
    until(host, front(1, "state"), "7")


def torn_down(host: Host) -> None:
    """Somebody tidied up in xenstore: neither kernel looks at that, and the guest goes on with its devices."""
    host.act(("remove", back(1, "").rpartition("/1/")[0]))


def unbound(host: Host) -> None:
    """And then tried to have dom0's kernel let go: its device stays on the bus."""
    torn_down(host)
    driver = host.directory / "sys" / "bus" / "xen-backend" / "drivers" / "xen-pciback"
    (driver / "unbind").write_text("pci-1-0")
    wait(lambda: not (driver / "pci-1-0").exists(), "pciback still has it")


def unheard_end(host: Host) -> None:
    """The connection vanishes while dom0's kernel hears nothing, as after a xenstored that lost its watches."""
    host.inject("deaf", domain="0")
    host.act(("remove", back(1, "")[:-1]), ("remove", front(1, "")[:-1]))
    host.inject("deaf", domain="0", deaf=False)


def leaked(host: Host) -> None:
    """pciback holds a device for a connection that failed, so it refuses it to everybody."""
    host.inject("refuse-export", device=B)
    host.xl("pci-attach", "g1", B)
    host.repair()


def stored(host: Host, name: str) -> Path:
    """libxl's stored configuration of a guest."""
    domid = host.guest(name)["domid"]
    return next((host.directory / "var" / "lib" / "xen").glob(f"userdata-d.{domid}.*.libxl-json"))


def unconfigured(host: Host) -> None:
    """Another toolstack attached it: xenstore has it, libxl's configuration does not."""
    file = stored(host, "g1")
    config = json.loads(file.read_text().rstrip("\0"))
    config["pcidevs"] = [one for one in config["pcidevs"] if one["bus"] != 1]
    file.write_text(json.dumps(config) + "\0")


def unmarked(host: Host) -> None:
    """The guest let A go, entry and marker were tidied away, but no right was taken: nothing names an owner."""
    host.act(("write", back(1, "state-1"), "5"), ("write", back(1, "state"), "7"))
    until(host, back(1, "state"), "4")
    gone = [("remove", back(1, f"{kind}-1")) for kind in ("dev", "key", "state", "vdev", "opts")]
    host.act(("write", back(1, "num_devs"), "1"), *gone, ("remove", marker(A)))


SICK = [
    Sick(
        "a change that pciback refused",
        {"g1": [A]},
        refused_by_pciback,
        {"refused_cycle"},
        {"g1": [A]},
        noted={"leaked_hold"},
    ),
    Sick("a removal met twice", {"g1": [A, B]}, stale_and_stuck, {"stuck_cycle"}, {"g1": [B]}),
    Sick(
        "xl attached to a paused guest",
        {"g1": [A]},
        in_turn(pause, xl("pci-attach", "g1", B)),
        {"silent_guest"},
        {"g1": [A]},
        wake=wake,
    ),
    Sick(
        "xl detached from a paused guest: rights gone, entry left",
        {"g1": [A, B]},
        in_turn(pause, xl("pci-detach", "g1", B)),
        {"silent_guest", "rights_missing", "missing_marker"},
        {"g1": [A, B]},
        wake=wake,
    ),
    Sick("dom0's Connected was missed", {}, missed_connect, {"missed_connect"}, {"g1": [A]}),
    Sick("a request answered after it was withdrawn", {"g1": [A]}, answered_late, {"late_answer"}, {"g1": [A]}),
    Sick("a removal without compaction", {"g1": [A, B]}, uncompacted, {"unfinished_removal"}, {"g1": [B]}),
    Sick("the last removal without compaction", {"g1": [A]}, uncompacted, {"unfinished_removal"}, {"g1": []}),
    Sick(
        "an entry that pciback never saw",
        {"g1": [A]},
        acting(
            ("write", back(1, "dev-1"), B),
            ("write", back(1, "key-1"), B),
            ("write", back(1, "state-1"), "1"),
            ("write", back(1, "num_devs"), "2"),
        ),
        {"unexported_entry", "missing_marker"},
        {"g1": [A]},
    ),
    Sick(
        "an entry that lost its dev-N",
        {"g1": [A, B]},
        acting(("remove", back(1, "dev-0"))),
        {"disordered_entries", "lost_entry"},
        {"g1": [A, B]},
    ),
    Sick(
        "a hole where a device was removed",
        {"g1": [A, B, C]},
        in_turn(
            uncompacted, acting(*[("remove", back(1, f"{kind}-0")) for kind in ("dev", "key", "state", "vdev", "opts")])
        ),
        {"disordered_entries", "left_rights"},
        {"g1": [B, C]},
    ),
    Sick(
        "num_devs too low",
        {"g1": [A, B]},
        acting(("write", back(1, "num_devs"), "1")),
        {"disordered_entries", "lost_entry"},
        {"g1": [A, B]},
    ),
    Sick(
        "num_devs lost",
        {"g1": [A, B]},
        acting(("remove", back(1, "num_devs"))),
        {"disordered_entries", "lost_entry"},
        {"g1": [A, B]},
    ),
    Sick(
        "compaction that stopped half-way: an entry twice",
        {"g1": [A, B]},
        in_turn(
            uncompacted,
            acting(
                ("write", back(1, "dev-0"), B),
                ("write", back(1, "key-0"), B),
                ("write", back(1, "state-0"), "3"),
                ("write", back(1, "vdev-0"), "0000:00:01.00"),
            ),
        ),
        {"disordered_entries", "left_rights"},
        {"g1": [B]},
    ),
    Sick("num_devs=0", {"g1": [A]}, emptied, {"empty_connection", "left_rights"}, {"g1": []}),
    Sick("a guest that died", {"g1": [A, B]}, died, {"ghost_connection"}, {}),
    Sick("a marker of a domain long gone", {"g1": []}, acting(("write", marker(A), "99")), {"dead_marker"}, {"g1": []}),
    Sick(
        "a marker and rights without an entry",
        {"g1": []},
        acting(("write", marker(A), "1"), ("assign", "1", A)),
        {"left_rights"},
        {"g1": []},
    ),
    Sick("an owner and nothing else", {"g1": [B]}, acting(("assign", "1", A)), {"unexplained_owner"}, {"g1": [B]}),
    Sick(
        "an owner, with windows and interrupt, that nothing names",
        {"g1": [B, A]},
        unmarked,
        {"unexplained_owner", "stale_configuration"},
        {"g1": [B]},
    ),
    Sick("rights taken from under a guest", {"g1": [A]}, acting(("deassign", "1", A)), {"rights_missing"}, {"g1": [A]}),
    Sick("a marker lost", {"g1": [A]}, acting(("remove", marker(A))), {"missing_marker"}, {"g1": [A]}),
    Sick("a marker of another guest", {"g1": [A]}, acting(("write", marker(A), "2")), {"wrong_marker"}, {"g1": [A]}),
    Sick("a device unbound under a guest", {"g1": [A, B]}, sysfs_unbind(A), {"not_in_pciback"}, {"g1": [B]}),
    Sick("the only device unbound under a guest", {"g1": [A]}, sysfs_unbind(A), {"not_in_pciback"}, {"g1": []}),
    Sick("a guest closed its end", {"g1": [A, B]}, closed_by_guest, {"closed_connection"}, {"g1": [A, B]}),
    Sick(
        "a request to close, not answered", {"g1": [A]}, close_unanswered, {"unanswered_close"}, {"g1": [A]}, wake=wake
    ),
    Sick("a closed connection, not removed", {"g1": [A]}, close_unfinished, {"unfinished_close"}, {"g1": []}),
    Sick(
        "a state that pciback did not follow",
        {"g1": [A]},
        acting(("write", back(1, "state"), "8")),
        {"lost_event"},
        {"g1": [A]},
    ),
    Sick(
        "xl attached to a guest without pcifront",
        {},
        xl("pci-attach", "g3", A),
        {"never_connected"},
        {"g3": []},
        asked={"never_connected", "left_rights"},
    ),
    Sick(
        "a permissive setting that stuck",
        {"g1": []},
        acting(("set_permissive", A)),
        {"sticky_permissive"},
        {"g1": []},
        asked={"sticky_permissive"},
    ),
    Sick("a device that is not in quarantine", {"g1": []}, acting(("remove", "/tool/xen-pci")), {"unquarantined"}, {}),
    Sick(
        "a device in two connections",
        {"g1": [A], "g2": [B]},
        acting(
            ("write", back(2, "dev-1"), A),
            ("write", back(2, "key-1"), A),
            ("write", back(2, "state-1"), "3"),
            ("write", back(2, "vdev-1"), "0000:00:01.00"),
            ("write", back(2, "num_devs"), "2"),
        ),
        {"shared_device"},
        {},
        left={"shared_device"},
    ),
    Sick(
        "a PCI error that the guest cannot handle",
        {"g1": [A]},
        lambda host: host.inject("aer", domain="g1"),
        {"aer_failure"},
        {"g1": [A]},
        left={"aer_failure"},
    ),
    Sick(
        "a device that fell off the bus",
        {"g1": [A, B]},
        lambda host: host.pull_out(A),
        {"device_gone"},
        {"g1": [B]},
    ),
    Sick("dom0's kernel missed the end", {"g1": [A]}, unheard_end, {"stuck_kernel_device"}, {"g1": []}),
    Sick("connections removed under both kernels", {"g1": [A, B]}, torn_down, {"stuck_kernel_device"}, {"g1": []}),
    Sick("and dom0's then unbound", {"g1": [A]}, unbound, {"stuck_kernel_device"}, {"g1": []}),
    Sick(
        "a device that pciback holds for nobody",
        {"g1": [A]},
        leaked,
        {"leaked_hold"},
        {"g1": [A]},
        noted={"leaked_hold"},
    ),
    Sick("a device that libxl's configuration lost", {"g1": [A, B]}, unconfigured, {"not_configured"}, {"g1": [A, B]}),
    Sick(
        "a device that xl detached, still in libxl's configuration",
        {"g1": [A, B]},
        xl("pci-detach", "g1", B),
        {"stale_configuration"},
        {"g1": [A]},
        asked={"stale_configuration"},
    ),
    Sick(
        "two guests sick at once",
        {"g1": [A, TWIN_0], "g2": [C, D]},
        in_turn(uncompacted, acting(("deassign", "2", D), ("remove", marker(C)))),
        {"unfinished_removal", "rights_missing", "missing_marker"},
        {"g1": [TWIN_0], "g2": [C, D]},
    ),
    Sick(
        "one of two twins left: the line they share stays",
        {"g1": [TWIN_0, TWIN_1]},
        uncompacted,
        {"unfinished_removal"},
        {"g1": [TWIN_1]},
    ),
]


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
    for treatment in repaired["treatments"]:
        words = [treatment["fault"], *treatment["devices"], "mended: " + treatment["recipe"]]
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


def test_every_fault_has_a_scenario_and_every_recipe_a_success() -> None:
    """A new fault needs one in which it is named; if something mends it, one in which it is; else one that says so."""
    of_hvm_guests = {fault for _make, fault, _healed in test_hvm.LEFT.values()}
    told = {fault for sick in SICK for fault in (*sick.left, *sick.noted)} | {SILENT_DEVICE_MODEL}
    mended = {fault for sick in SICK for fault in {*sick.found} - {*sick.left, *sick.noted}} | of_hvm_guests
    produced = {fault for sick in SICK for fault in sick.found} | of_hvm_guests | {SILENT_DEVICE_MODEL}
    assert produced == {fault.code for fault in Fault}
    assert {fault.code for fault in Fault if fault.recipe is not None} <= mended
    assert {fault.code for fault in Fault if fault.recipe is None} <= told | mended


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
