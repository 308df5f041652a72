# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which domain a task means: Xen says which ones there are, a name is a label, and nothing is guessed."""

from __future__ import annotations

from typing import Any

import pytest
from fault_injection import back, front, name
from simulated import A, B, C, Host, marker

CHECK_MODES = pytest.mark.parametrize("check", [True, False], ids=["check", "run"])


def refusals(result: dict[str, Any]) -> list[tuple[str, str]]:
    assert result["failed"], result
    return [(one["code"], one["subject"]) for one in result["refusals"]]


def faults(host: Host) -> dict[str, list[int]]:
    """Numbers of the domains that each fault of the host is about."""
    found: dict[str, list[int]] = {}
    for finding in host.run("host_info", {})["findings"]:
        found.setdefault(finding["fault"], []).append(finding["domid"])
    return found


def exclusive(devices: list[str], **more: Any) -> dict[str, Any]:
    return {"devices": devices, "exclusive": True, **more}


def uuid_of(host: Host, guest: str) -> str:
    return str(host.guest(guest)["uuid"])


@CHECK_MODES
def test_two_domains_of_one_name_are_refused_by_their_numbers(host: Host, check: bool) -> None:
    assert not host.devices(g1=[A]).get("failed")
    host.act(("write", name(2), "g1"))
    began = host.ask("trace")
    refused = host.devices(how={"check": check}, g1=[B])
    assert refusals(refused) == [("ambiguous-domain", "g1")]
    assert all(f"({domid}) with UUID {uuid_of(host, f'g{domid}')}" in refused["msg"] for domid in (1, 2))
    assert refusals(host.repair(check=check, domains=["g1"])) == [("ambiguous-domain", "g1")]
    assert host.ask("trace")[len(began) :] == []


def test_a_twin_of_the_toolstack_is_as_ambiguous(host: Host) -> None:
    host.ask("create", config={"name": "g1", "twin": True})
    assert refusals(host.devices(g1=[A])) == [("ambiguous-domain", "g1")]
    assert faults(host)["shared_name"] == [1, 4]


@pytest.mark.parametrize("form", [str, str.upper], ids=["lower", "upper"])
def test_a_uuid_says_which_one(host: Host, form: Any) -> None:
    host.act(("write", name(2), "g1"))
    first, second = (form(uuid_of(host, guest)) for guest in ("g1", "g2"))
    declared = {"g1": exclusive([A], uuid=first), "standby": exclusive([B], uuid=second)}
    done = host.devices(**declared)
    assert not done.get("failed"), done["msg"]
    assert [(one["name"], one["domid"]) for one in done["domains"]] == [("g1", 1), ("standby", 2)]
    assert host.settled({"g1": [A], "g2": [B]}) == []
    again = host.devices(**declared)
    assert not again.get("failed") and not again["changed"]
    assert not host.devices(**{first: [A], second: [C]}).get("failed"), "a UUID in place of a name"
    assert host.settled({"g1": [A], "g2": [C]}) == []
    assert not host.repair(domains=[second]).get("failed")


@CHECK_MODES
def test_a_domain_is_declared_once(host: Host, check: bool) -> None:
    declared = {"g1": exclusive([A]), uuid_of(host, "g1"): exclusive([B])}
    refused = host.devices(how={"check": check}, **declared)
    assert ("same-domain", "g1") in refusals(refused)


def test_a_name_and_the_uuid_of_another_domain_contradict_each_other(host: Host) -> None:
    refused = host.devices(g1=exclusive([A], uuid=uuid_of(host, "g2")))
    assert refusals(refused) == [("other-domain", "g1")]
    stranger = "5f1c3a52-8d0e-4c1b-9a57-0d6f3b2e7c11"
    refused = host.devices(g1=exclusive([A], uuid=stranger))
    assert refusals(refused) == [("other-domain", "g1")] and uuid_of(host, "g1") in refused["msg"]
    unknown = exclusive([A], uuid=stranger, when_halted="fail")
    assert refusals(host.devices(g9=unknown)) == [("unknown-domain", "g9")]


@pytest.mark.parametrize(
    ("called", "code"),
    [
        *(("Domain-0", "not-a-name"), ("1", "not-a-name")),
        *((other, "unknown-domain") for other in ("G1", "99", "")),
    ],
)
def test_what_is_no_name_of_a_guest_means_none(host: Host, called: str, code: str) -> None:
    assert (code, called) in refusals(host.devices(**{called: [A]}))
    if code == "not-a-name":  # nor is it a domain that does not run
        file = host.directory / "guest.cfg"
        file.write_text(f'name = "{called}"\n')
        assert (code, called) in refusals(host.devices(**{called: exclusive([A], config=str(file))}))


def test_a_file_is_changed_only_where_no_domain_can_be_the_one(host: Host) -> None:
    file = host.directory / "guest.cfg"
    file.write_text('name = "g1"\n')
    declared = exclusive([A], config=str(file))
    host.act(("remove", name(1)))
    assert refusals(host.devices(g1=declared)) == [("lost-name", "g1")]
    host.act(("write", name(1), "g2"))
    file.write_text('name = "g2"\n')
    assert refusals(host.devices(g2=declared)) == [("ambiguous-domain", "g2")]
    assert file.read_text() == 'name = "g2"\n'


def test_leftovers_of_a_dead_domain_block_no_live_one(host: Host) -> None:
    """Its toolstack died with it: name, connection, marker and stored configuration are there, under a lower number."""
    assert not host.devices(g1=[A]).get("failed")
    host.ask("destroy", domain="g1", leave=True)
    host.ask("create", config={"name": "g1"})
    host.rest()
    assert faults(host)["stale_name"] == [1]
    done = host.devices(g1=[A])
    assert not done.get("failed"), done["msg"]
    assert [one["domid"] for one in done["domains"]] == [4]
    repaired = host.repair()
    assert not repaired.get("failed"), repaired["msg"]
    assert faults(host) == {}
    assert host.settled({"g1": [A]}) == []


def test_a_stale_name_alone_means_no_domain(host: Host) -> None:
    host.act(("write", name(77), "ghost"))
    skipped = host.devices(ghost=[A])["domains"]
    assert [(one["name"], one["running"], one["skipped"]) for one in skipped] == [("ghost", False, True)]
    assert [one["domid"] for one in host.run("host_info", {})["domains"]] == [1, 2, 3]


@pytest.mark.parametrize(
    "lost",
    [
        [("remove", name(1))],
        [("write", name(1), "")],
        [("remove", name(1)), ("remove", "/local/domain/1/vm"), ("remove", "/libxl/1")],
        [("write", "/local/domain/1/vm", "/vm/5f1c3a52-8d0e-4c1b-9a57-0d6f3b2e7c11")],
    ],
    ids=["name", "empty name", "all labels", "label of another domain"],
)
def test_what_xen_says_lives_is_never_taken_for_gone(host: Host, lost: list[tuple[str, ...]]) -> None:
    assert not host.devices(g1=[A, B]).get("failed")
    host.act(*lost)
    seen = host.run("host_info", {})
    (guest,) = [one for one in seen["domains"] if one["domid"] == 1]
    assert (guest["name"], guest["uuid"]) == ("", uuid_of(host, "g1"))
    assert not {"orphaned_connection", "dead_marker", "missing_marker"} & {one["fault"] for one in seen["findings"]}
    ((code, _name),) = refusals(host.devices(g1=[A]))
    assert code in ("lost-name", "unknown-domain")
    assert ("held", A) in refusals(host.devices(g2=[A]))
    host.repair()
    assert host.settled({"g1": [A, B]}) == []


def test_a_guest_without_a_name_is_changed_by_its_uuid(host: Host) -> None:
    assert not host.devices(g1=[A, B]).get("failed")
    host.act(("remove", name(1)))
    done = host.devices(first=exclusive([B, C], uuid=uuid_of(host, "g1")))
    assert not done.get("failed"), done["msg"]
    assert host.settled({"g1": [B, C]}) == []


def test_a_connection_of_a_live_domain_without_any_record_stays(host: Host) -> None:
    """All that xenstore had of it is gone but its connection: a repair of the whole host must not take it."""
    assert not host.devices(g1=[A]).get("failed")
    host.act(*(("remove", f"/local/domain/1/{node}") for node in ("name", "vm", "domid", "memory", "cpu")))
    host.repair()
    nodes = host.nodes()
    assert nodes[back(1, "dev-0")] == A and nodes[front(1, "state")] == "4" and nodes[marker(A)] == "1"
    assert host.ask("devices")[A]["owner"] == 1


def test_a_dying_domain_is_seen_and_has_nothing(host: Host) -> None:
    assert not host.devices(g1=[A]).get("failed")
    host.ask("destroy", domain="g1", zombie=True)
    host.rest()
    seen = host.run("host_info", {})
    assert seen["host"]["dying"] == [1]
    assert [one["domid"] for one in seen["domains"]] == [2, 3]
    refused = host.devices(g1={"devices": [A], "when_halted": "fail"})
    assert refusals(refused) == [("unknown-domain", "g1")] and "dying: 1" in refused["msg"]
    done = host.devices(g2=[A])
    assert not done.get("failed"), done["msg"]
    assert host.settled({"g2": [A]}) == []


def test_a_name_that_was_given_to_a_new_domain_meanwhile_stays(host: Host) -> None:
    """A repair asks Xen once more before it removes a name."""
    host.act(("write", name(4), "g4"))
    assert faults(host) == {"stale_name": [4]}
    host.ask("create", config={"name": "g4"})
    assert faults(host) == {}
    again = host.repair()
    assert not again.get("failed") and not again["changed"]
    assert host.nodes()[name(4)] == "g4"
