# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole host is brought to its declaration by one task, and nothing is touched before all of it can be done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from declared_host import DeclaredHost, codes, declared_host

UPLINK, SCRATCH, SPARE, SYSTEM = "0000:3b:00.0", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0"
DEVICES = (
    {"at": "02:00.0", "model": "nvme", "serial": "S1"},
    {"at": "03:00.0", "model": "e1000e", "mac": "52:54:00:00:03:01"},
    {"at": "04:00.0", "model": "ahci", "name": "sda", "mounted": "/"},
    {"at": "3b:00.0", "model": "i40e", "mac": "02:00:5e:3b:00:00"},
)
CATALOG = {
    "uplink": {"mac": "02:00:5e:3b:00:00"},
    "pool": {"pf": "uplink", "count": 4},
    "scratch": {"nvme_serial": "S1"},
}
FUNCTIONS = [{"pf": "uplink", "count": 4}]
DOMAINS = {"web01": {"devices": ["scratch", {"from": "pool", "count": 2}]}, "web02": {"devices": [{"from": "pool"}]}}
DECLARED = {"catalog": CATALOG, "virtual_functions": FUNCTIONS, "domains": DOMAINS}


@pytest.fixture(params=["pv", "hvm"])
def host(request: pytest.FixtureRequest) -> Iterator[DeclaredHost]:
    """A host that nothing was done on, with two guests."""
    with declared_host(DEVICES, domains=[{"name": name, "type": request.param} for name in ("web01", "web02")]) as one:
        yield one


@pytest.fixture
def plain() -> Iterator[DeclaredHost]:
    """The same with PV guests, for what does not depend on the kind of guest."""
    with declared_host(DEVICES, domains=[{"name": name} for name in ("web01", "web02", "db")]) as one:
        yield one


def state(host: DeclaredHost, check: bool = False, **declared: Any) -> dict[str, Any]:
    return host.run("host_state", check, **{**DECLARED, **declared})


def devices(host: DeclaredHost, name: str) -> list[str]:
    return sorted(one["address"] for one in host.domain(name)["devices"])


def text(result: dict[str, Any]) -> str:
    return "".join(one.get("prepared", "") for one in result["diff"])


def test_a_fresh_host_gets_all_of_it_in_one_task(host: DeclaredHost) -> None:
    planned = state(host, check=True)
    assert "failed" not in planned, planned["msg"]
    assert planned["changed"] and devices(host, "web01") == []
    done = state(host)
    assert "failed" not in done, done["msg"]
    assert (planned["actions"], planned["changes"]) == (done["actions"], done["changes"])
    assert text(planned) == text(done)
    assert planned["fingerprint"] == done["fingerprint"]
    assert len(devices(host, "web01")) == 3 and SCRATCH in devices(host, "web01")
    assert len(devices(host, "web02")) == 1
    again = state(host)
    assert (again["changed"], again.get("failed"), again["actions"], again["diff"]) == (False, None, [], [])


def test_the_parts_come_in_the_order_in_which_they_need_each_other(plain: DeclaredHost) -> None:
    assert "failed" not in plain.run("assignable_devices", devices=[SPARE])
    subjects = [one["subject"] for one in state(plain, check=True, release_undeclared=True)["changes"]]
    assert subjects == sorted(subjects, key=[UPLINK, "pciback", "web01", "web02"].index)
    actions = [one["action"] for one in state(plain, release_undeclared=True)["changes"] if one["subject"] == "pciback"]
    assert actions == ["release", "take", "take", "take", "take", "take"]


def test_nothing_is_touched_if_a_later_part_is_refused(plain: DeclaredHost) -> None:
    domains = {**DOMAINS, "db": {"devices": [SYSTEM, "0000:7f:00.0"]}}
    refused = state(plain, domains=domains)
    assert refused["failed"] and not refused["changed"]
    assert codes(refused) == ["absent", "disk"]
    assert state(plain, check=True)["actions"][0] == f"create 4 virtual functions of {UPLINK}"


def test_a_refused_part_does_not_hide_what_is_wrong_with_the_next(plain: DeclaredHost) -> None:
    functions, domains = [{"pf": "uplink", "count": 65}], {"web01": {"devices": [SYSTEM, {"from": "pool"}]}}
    assert sorted(codes(state(plain, virtual_functions=functions, domains=domains))) == ["disk", "vf-count"]


def test_what_no_declared_domain_has_any_more_goes_back_in_the_same_task(host: DeclaredHost) -> None:
    assert "failed" not in state(host)
    fewer = {"scratch": CATALOG["scratch"]}
    declared = {
        "catalog": fewer,
        "virtual_functions": [],
        "domains": {"web01": {"devices": []}, "web02": {"devices": []}},
    }
    kept = state(host, check=True, **declared)
    assert {one["action"] for one in kept["changes"]} == {"remove"}
    planned = state(host, check=True, **declared, release_undeclared=True)
    assert "failed" not in planned, planned["msg"]
    done = state(host, **declared, release_undeclared=True)
    assert "failed" not in done, done["msg"]
    assert planned["actions"] == done["actions"] and text(planned) == text(done)
    assert [one["action"] for one in done["changes"]].count("release") == 4
    assert devices(host, "web01") == devices(host, "web02") == []
    again = state(host, **declared, release_undeclared=True)
    assert (again["changed"], again.get("failed")) == (False, None)


def test_the_number_of_virtual_functions_changes_though_pciback_holds_them(plain: DeclaredHost) -> None:
    assert "failed" not in state(plain, domains={})
    more = [{"pf": "uplink", "count": 6}]
    planned = state(plain, check=True, domains={}, virtual_functions=more)
    assert "failed" not in planned, planned["msg"]
    done = state(plain, domains={}, virtual_functions=more)
    assert "failed" not in done, done["msg"]
    assert planned["actions"] == done["actions"]
    assert [one["count"] for one in done["physical_functions"]] == [6]
    assert state(plain, domains={}, virtual_functions=more)["changed"] is False


def test_the_number_does_not_change_while_a_domain_has_one(plain: DeclaredHost) -> None:
    assert "failed" not in state(plain)
    refused = state(plain, virtual_functions=[{"pf": "uplink", "count": 6}])
    assert set(codes(refused)) == {"vf-in-use"}
    assert state(plain)["changed"] is False


def test_devices_of_undeclared_domains_stay_with_a_warning(plain: DeclaredHost) -> None:
    everything = {**DOMAINS, "db": {"devices": [SPARE]}}
    assert "failed" not in state(plain, domains=everything)
    done = state(plain, release_undeclared=True)
    assert not done["changed"] and "failed" not in done
    assert any("domain db" in warning and SPARE in warning for warning in map(str, done["warnings"]))
    assert devices(plain, "db") == [SPARE]


def test_devices_of_undeclared_domains_go_back_if_that_is_declared(plain: DeclaredHost) -> None:
    everything = {**DOMAINS, "db": {"devices": [SPARE]}}
    assert "failed" not in state(plain, domains=everything)
    options = {"release_undeclared": True, "undeclared_domains": "release"}
    planned, done = state(plain, check=True, **options), state(plain, **options)
    assert "failed" not in done, done["msg"]
    assert planned["actions"] == done["actions"] != []
    assert devices(plain, "db") == [] and len(devices(plain, "web01")) == 3
    assert state(plain, **options)["changed"] is False


def test_one_guest_only(plain: DeclaredHost) -> None:
    done = state(plain, only=["web01"], release_undeclared=True, domains={**DOMAINS, "web02": {"devices": ["scratch"]}})
    assert "failed" not in done, done["msg"]
    assert len(devices(plain, "web01")) == 3 and devices(plain, "web02") == []
    assert codes(state(plain, only=["web1"])) == ["not-declared"]


def test_parts_that_are_left_out_stay_as_they_are(plain: DeclaredHost) -> None:
    done = state(plain, parts=["virtual_functions", "assignment"])
    assert "failed" not in done, done["msg"]
    assert devices(plain, "web01") == [] and len(done["devices"]) == 5
    assert state(plain, parts=["virtual_functions", "assignment"])["changed"] is False


def test_only_the_approved_plan_is_carried_out(plain: DeclaredHost) -> None:
    planned = state(plain, check=True)
    assert codes(state(plain, fingerprint="0" * 32)) == ["fingerprint"]
    assert "failed" not in state(plain, fingerprint=planned["fingerprint"])
    assert state(plain, fingerprint=planned["fingerprint"])["changed"] is False


def test_a_host_that_declares_nothing_stays_as_it_is(plain: DeclaredHost) -> None:
    done = state(plain, catalog={}, domains={}, virtual_functions=[])
    assert (done["changed"], done.get("failed"), done["changes"]) == (False, None, [])
    assert "Nothing is done on this host" in str(done["warnings"])
    assert not state(plain, catalog={}, domains={}, virtual_functions=[], release_undeclared=True).get("warnings")


def test_a_misspelled_variable_is_refused_with_all_else_that_is_wrong(plain: DeclaredHost) -> None:
    names = ["xen_pci_devices", "xen_pci_domain", "other"]
    refused = state(plain, variables=names, domains={"web01": {"devices": [SYSTEM]}})
    assert codes(refused) == ["unknown-variable", "disk"]
    assert "Did you mean 'xen_pci_domains'?" in refused["msg"]


@pytest.mark.parametrize("entry", [{"pf": "uplink", "vf": 0}, {"pf": "uplink", "count": 2}], ids=["one", "pool"])
@pytest.mark.parametrize("module", ["host_state", "assignable_devices"])
def test_too_few_virtual_functions_are_named_as_the_reason(
    plain: DeclaredHost, entry: dict[str, Any], module: str
) -> None:
    catalog = {"uplink": CATALOG["uplink"], "vfs": entry}
    options = {"devices": ["vfs"]} if module == "assignable_devices" else {}
    refused = plain.run(module, catalog=catalog, **options)
    assert codes(refused) in (["absent"], ["pool-shortage"])
    assert f"{UPLINK} has 0 of 64 virtual functions" in refused["msg"]
    assert "xen_pci_virtual_functions" in refused["msg"]


def test_a_card_that_is_split_between_domains_is_warned_about_once() -> None:
    gpu, sound = "0000:05:00.0", "0000:05:00.1"
    card = ({"at": "05:00.0", "model": "gpu"}, {"at": "05:00.1", "model": "hd-audio"})
    domains = {"web01": {"devices": ["gpu"]}, "web02": {"devices": ["sound"]}}
    declared = {"catalog": {"gpu": gpu, "sound": sound}, "domains": domains, "virtual_functions": []}
    with declared_host(card, domains=[{"name": name} for name in domains]) as host:
        for check in (True, False):
            result = state(host, check, **declared)
            assert "failed" not in result, result["msg"]
            (warning,) = [str(one) for one in result["warnings"] if "graphics card" in str(one)]
            assert f"gpu ({gpu}, display) with web01; sound ({sound}, audio) with web02" in warning


def test_a_failure_says_what_was_done_before_it() -> None:
    silent = [{"name": "web01", "pcifront": False}]
    with declared_host(DEVICES, domains=silent) as host:
        failed = state(host, domains={"web01": {"devices": ["scratch"]}}, timeout=1)
        assert failed["failed"] and failed["changed"] and "refusals" not in failed
        assert "Before that: virtual functions are as declared; pciback holds what is declared." in failed["msg"]
        assert [one["count"] for one in failed["physical_functions"]] == [4]
        assert len(failed["devices"]) == 5 and failed["domains"][0]["error"]


def test_parts_without_domains_release_nothing_that_a_domain_has(plain: DeclaredHost) -> None:
    everything = {**DOMAINS, "db": {"devices": [SPARE]}}
    assert "failed" not in state(plain, domains=everything)
    parts = {"parts": ["virtual_functions", "assignment"], "release_undeclared": True}
    declared = state(plain, domains=everything, **parts)
    assert (declared["changed"], declared.get("failed"), declared.get("warnings", [])) == (False, None, [])
    left = state(plain, **parts)
    assert (left["changed"], left.get("failed"), len(left["warnings"])) == (False, None, 1)
