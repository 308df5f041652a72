# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that work, and somebody damages what xenstore says of them: no run and no repair costs them a device.

What counts is what the guest's kernel sees, and that nothing was reset or taken away on the way.
"""

from __future__ import annotations

import pytest
from fault_injection import Break, acting, back, front, in_turn, torn_down, until
from simulated import A, B, C, Host, marker

BOTH = {"g1": [A, B]}
NODES = ("dev", "key", "state", "vdev", "opts")


def wrote(path: str, value: str | None) -> Break:
    return acting(("remove", path)) if value is None else acting(("write", path, value))


def back_is(value: str | None) -> tuple[str, Break, str]:
    return f"dom0's state is {value}", wrote(back(1, "state"), value), "altered_state"


def front_is(value: str, fault: str) -> tuple[str, Break, str]:
    return f"the guest's state is {value}", wrote(front(1, "state"), value), fault


def entry_is(node: str, value: str | None, fault: str = "disordered_entries") -> tuple[str, Break, str]:
    return f"{node} is {value}", wrote(back(1, node), value), fault


def renamed(value: str | None) -> Break:
    return in_turn(wrote(back(1, "dev-0"), value), wrote(back(1, "key-0"), value))


#: What is written, and the fault that it is: each is repaired, and the guest keeps what it has.
REPAIRED: list[tuple[str, Break, str]] = [
    *(back_is(value) for value in (None, "", "0", "1", "3", "9", "x")),
    *(front_is(value, "altered_state") for value in ("1", "2", "3", "8")),
    front_is("7", "late_answer"),
    ("both states are 1", in_turn(wrote(back(1, "state"), "1"), wrote(front(1, "state"), "1")), "altered_state"),
    entry_is("state-0", "5", "altered_entry"),
    entry_is("state-1", "1", "altered_entry"),
    *(entry_is("state-0", value) for value in ("9", None)),
    *(entry_is("num_devs", value) for value in ("1", "3", "x", "", None)),
    *(entry_is("dev-0", value) for value in (None, "zzz", C, B)),
    ("key-0 is another's", wrote(back(1, "key-0"), C), "disordered_entries"),
    *((f"dev-0 and key-0 are {value}", renamed(value), "disordered_entries") for value in (None, "zzz", C)),
    ("the entry names another, and its marker is gone",
     in_turn(renamed(C), acting(("remove", marker(A)))), "disordered_entries"),
    ("the marker is gone", acting(("remove", marker(A))), "missing_marker"),
    ("the marker is no number", wrote(marker(A), "abc"), "missing_marker"),
]  # fmt: skip
#: What cannot be repaired while the guest runs.
LEFT: list[tuple[str, Break, str]] = [
    *(entry_is("vdev-0", value, "lost_place") for value in (None, "here", "0000:00:2f.00")),
    ("vdev-0 and dev-0 are gone", acting(("remove", back(1, "vdev-0")), ("remove", back(1, "dev-0"))), "lost_place"),
]


def names(damages: list[tuple[str, Break, str]]) -> list[str]:
    return [name for name, _make, _fault in damages]


def uses(host: Host, name: str = "g1") -> dict[str, str | None]:
    return {one["host"]: one["driver"] for one in host.guest(name)["devices"].values()}


def untouched(host: Host, start: int) -> bool:
    """Whether nothing was reset or taken since then."""
    words = [line.split("]", 1)[1].split() for line in host.ask("trace", start=start)]
    return not any(action in ("reset", "deassign") for _writer, action, *_rest in words)


@pytest.mark.parametrize(("_name", "make", "fault"), REPAIRED, ids=names(REPAIRED))
def test_a_repair_costs_a_guest_that_works_nothing(host: Host, _name: str, make: Break, fault: str) -> None:
    assert not host.devices(g1=[A, B]).get("failed")
    start = len(host.ask("trace"))
    make(host)
    host.rest()
    expected = host.repair(check=True)
    assert fault in {one["fault"] for one in expected["findings"]}
    assert all(not one["costs"] for one in expected["findings"])
    repaired = host.repair()
    assert not repaired.get("failed"), repaired["msg"]
    assert untouched(host, start)
    assert host.settled(BOTH) == []
    assert host.repair(check=True)["findings"] == []
    done = host.devices(g1=[B], g2=[A])
    assert not done.get("failed"), done["msg"]
    assert host.settled({"g1": [B], "g2": [A]}) == []


@pytest.mark.parametrize(("_name", "make", "fault"), [*REPAIRED, *LEFT], ids=names([*REPAIRED, *LEFT]))
def test_a_run_that_is_not_to_repair_costs_it_nothing(host: Host, _name: str, make: Break, fault: str) -> None:
    assert not host.devices(g1=[A, B]).get("failed")
    start = len(host.ask("trace"))
    make(host)
    host.rest()
    told, done = (host.run("domain_devices", task(A, B), check=check) for check in (True, False))
    assert untouched(host, start)
    assert bool(told.get("failed")) == bool(done.get("failed"))
    assert done.get("failed") or host.settled(BOTH) == []
    assert set(uses(host).values()) == {"e1000e"} and set(uses(host)) == {A, B}


def task(*devices: str) -> dict[str, object]:
    return {"domains": {"g1": {"devices": list(devices), "exclusive": True}}, "timeout": 15}


@pytest.mark.parametrize(("_name", "make", "fault"), LEFT, ids=names(LEFT))
def test_what_cannot_be_repaired_stays_as_it_is(host: Host, _name: str, make: Break, fault: str) -> None:
    """All devices of the guest at once can be taken from it all the same."""
    assert not host.devices(g1=[A, B]).get("failed")
    start = len(host.ask("trace"))
    make(host)
    for repaired in (host.repair(), host.repair()):
        assert repaired["failed"] and {one["fault"] for one in repaired["left"]} == {fault}
    assert untouched(host, start)
    assert uses(host) == {A: "e1000e", B: "e1000e"}
    done = host.devices(g1=[], g2=[A])
    assert not done.get("failed"), done["msg"]
    assert host.settled({"g2": [A]}) == []


def test_what_would_cost_a_guest_its_devices_is_done_only_if_it_is_asked_for(host: Host) -> None:
    """Neither kernel has noticed that the connection is gone from xenstore."""
    assert not host.devices(g1=[A, B]).get("failed")
    start = len(host.ask("trace"))
    torn_down(host)
    [found] = host.repair(check=True)["findings"]
    assert (found["fault"], found["costs"], found["repaired_by"]) == (
        "stuck_kernel_device", [A, B], "a repair that names it",
    )  # fmt: skip
    for refused in (
        host.repair(),
        host.run("domain_devices", task(A, B)),
        host.run("domain_devices", {**task(A, B), "repair": "first"}),
        host.run("domain_devices", {**task(A, B), "repair": "first"}, check=True),
    ):
        assert refused["failed"] and A in refused["msg"] and "faults of xen.pci.repair" in refused["msg"]
    assert untouched(host, start) and uses(host) == {A: "e1000e", B: "e1000e"}
    asked = ["stuck_kernel_device", "left_rights"]
    assert any(f"takes {A}" in line for line in host.repair(check=True, faults=asked)["actions"])
    repaired = host.repair(faults=asked)
    assert repaired["failed"] and f"g1 has lost {A}, {B}, which it used" in repaired["msg"]
    assert host.settled({"g1": []}) == []
    assert not host.devices(g1=[A, B]).get("failed")
    assert host.settled(BOTH) == []


# ---- a lost event


def deaf_during(host: Host, change: Break) -> None:
    """dom0's kernel does not hear the guest's answer, as after an xenstored that lost its watches."""
    host.inject("deaf", domain="0")
    change(host)
    host.inject("deaf", domain="0", deaf=False)


def test_an_answer_that_pciback_missed_is_written_again_before_anything_goes(host: Host) -> None:
    assert not host.devices(g1=[A, B]).get("failed")
    deaf_during(host, lambda host: host.devices(2, g1=[B]))
    repaired = host.repair()
    assert not repaired.get("failed"), repaired["msg"]
    assert {one["fault"] for one in repaired["findings"]} >= {"stuck_cycle"}
    assert host.settled({"g1": [B]}) == []


def test_a_guest_does_not_find_again_what_xl_has_taken_the_rights_of(host: Host) -> None:
    assert not host.devices(g1=[A, B]).get("failed")
    deaf_during(host, lambda host: (host.xl("pci-detach", "g1", A), until(host, front(1, "state"), "7")))
    repaired = host.repair()
    assert not repaired.get("failed"), repaired["msg"]
    assert host.guest("g1")["oops"] is None
    assert host.settled({"g1": [B]}) == []


# ---- libxl's records


def test_a_marker_that_names_no_domain_is_found_and_removed(host: Host) -> None:
    for text in ("", "abc", "-1", "1 ", "99999999999"):
        host.act(("write", marker(A), text))
        found = host.repair(check=True)["findings"]
        assert [(one["fault"], one["devices"]) for one in found] == [("unreadable_marker", [A])], text
        assert host.run("host_info", {"gather": []})["findings"] == found
        for check in (True, False):
            refused = host.run("domain_devices", task(A), check=check)
            assert "unreadable_marker" in {one["code"] for one in refused["refusals"]}
        assert not host.repair().get("failed")
        assert host.nodes().get(marker(A)) is None
    host.act(("write", marker(A), "abc"))
    told, done = (host.run("domain_devices", {**task(A), "repair": "first"}, check=check) for check in (True, False))
    assert not done.get("failed"), done["msg"]
    assert told["actions"] == done["actions"] and len(told["repaired"]) == 1
    assert host.settled({"g1": [A]}) == []


@pytest.mark.parametrize("text", ["", "{", "[]", None], ids=["empty", "cut", "no object", "gone"])
def test_a_configuration_that_cannot_be_read_is_found_before_it_must_be_changed(host: Host, text: str | None) -> None:
    assert not host.devices(g1=[A]).get("failed")
    [file] = (host.directory / "var/lib/xen").glob(f"userdata-d.{host.guest('g1')['domid']}.*.libxl-json")
    kept = file.read_text()
    file.unlink() if text is None else file.write_text(text)
    start = len(host.ask("trace"))
    repaired = host.repair()
    assert repaired["failed"] and [one["fault"] for one in repaired["left"]] == ["unreadable_configuration"]
    for check in (True, False):
        refused = host.run("domain_devices", task(A, B), check=check)
        assert [one["code"] for one in refused["refusals"]] == ["unreadable_configuration"]
    assert untouched(host, start) and uses(host) == {A: "e1000e"}
    file.write_text(kept)
    assert not host.devices(g1=[A, B]).get("failed")
