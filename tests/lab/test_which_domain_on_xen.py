# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which domain a task means, on real Xen: it lists them itself, and their names in xenstore are labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from disposable_host import Ward, marker, ward
from independent_view import uuid_of

from xenlab import Host, topology

A, B = (nic.bdf for nic in topology.NICS[:2])


@pytest.fixture(scope="module")
def running(host: Host) -> Iterator[Ward]:
    with ward(host, topology.NICS[:2]) as found:
        yield found


@pytest.fixture
def on(running: Ward) -> Iterator[Ward]:
    """The host with its guests' names as they were, and no devices with them, before and after."""
    running.know()
    yield running
    for number, name in ((running.g1, "g1"), (running.g2, "g2")):
        running.act(("write", f"/local/domain/{number}/name", name))
    running.modules.devices({"g1": [], "g2": []})


def refusals(result: dict[str, Any]) -> list[tuple[str, str]]:
    assert result.get("failed"), result
    return [(one["code"], one["subject"]) for one in result["refusals"]]


def faults(on: Ward) -> set[str]:
    return {one["fault"] for one in on.modules.run("host_info", {})["findings"]}


def declared(uuid: str, *devices: str) -> dict[str, Any]:
    return {"devices": list(devices), "exclusive": True, "uuid": uuid}


def test_two_domains_that_live_have_one_name(on: Ward) -> None:
    """xl gives no name twice, so it is written to xenstore, as a migration that failed leaves it."""
    uuids = [uuid_of(on.host, number) for number in (on.g1, on.g2)]
    on.act(("write", f"/local/domain/{on.g2}/name", "g1"))
    assert faults(on) == {"shared_name"}
    for check in (True, False):
        refused = on.modules.devices({"g1": [A]}, how={"check": check})
        assert refusals(refused) == [("ambiguous-domain", "g1")]
        assert all(text in refused["msg"] for text in (f"({on.g1})", f"({on.g2})", *uuids))
        assert refusals(on.modules.repair(check=check, domains=["g1"])) == [("ambiguous-domain", "g1")]
    parameters = {"first": declared(uuids[0], A), uuids[1]: {"devices": [B], "exclusive": True}}
    done = on.modules.run("domain_devices", {"domains": parameters, "timeout": 120})
    assert not done.get("failed"), done["msg"]
    on.act(("write", f"/local/domain/{on.g2}/name", "g2"))
    assert on.wrong({"g1": [A], "g2": [B]}) == []


def test_a_guest_that_has_lost_its_name_is_not_taken_for_gone(on: Ward) -> None:
    assert not on.modules.devices({"g1": [A]}).get("failed")
    on.act(("remove", f"/local/domain/{on.g1}/name"))
    seen = on.modules.run("host_info", {})
    (guest,) = [one for one in seen["domains"] if one["domid"] == on.g1]
    assert (guest["name"], guest["uuid"]) == ("", uuid_of(on.host, on.g1))
    assert [one["fault"] for one in seen["findings"]] == ["lost_name"]
    assert ("held", A) in refusals(on.modules.devices({"g2": [A]}))
    repaired = on.modules.repair()
    assert not repaired.get("failed"), repaired["msg"]
    assert on.wrong({"g1": [A]}) == []
    assert on.host.run(["xl", "domid", "g1"]).stdout.strip() == str(on.g1)


def test_a_guest_that_has_lost_its_name_to_another_is_known_by_its_uuid(on: Ward) -> None:
    on.act(("remove", f"/local/domain/{on.g1}/name"), ("write", f"/local/domain/{on.g2}/name", "g1"))
    assert faults(on) == {"unnamed_domain"}
    parameters = {uuid_of(on.host, on.g1): {"devices": [A], "exclusive": True}}
    done = on.modules.run("domain_devices", {"domains": parameters, "timeout": 120})
    assert not done.get("failed"), done["msg"]
    on.act(("write", f"/local/domain/{on.g1}/name", "g1"), ("write", f"/local/domain/{on.g2}/name", "g2"))
    assert on.wrong({"g1": [A]}) == []


def test_what_a_dead_domain_has_left_is_in_nobodys_way(on: Ward) -> None:
    """Its number is lower than that of the guest that has its name now."""
    dead = on.g1
    on.new_guest("g1")
    on.act(("write", f"/local/domain/{dead}/name", "g1"), ("write", marker(A), str(dead)))
    done = on.modules.devices({"g1": [A]})
    assert not done.get("failed"), done["msg"]
    assert [one["domid"] for one in done["domains"]] == [on.g1]
    assert [one["fault"] for one in on.modules.run("host_info", {})["findings"]] == ["stale_name"]
    assert not on.modules.repair().get("failed")
    assert on.wrong({"g1": [A]}) == []
