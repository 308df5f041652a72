# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a device reach Xen, xl, libxl's stored configuration, xenstore and the file, and are read back there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from declared_host import DeclaredHost, codes, declared_host

USB = ("0000:00:1a.0", "0000:00:1d.0")
NIC = "0000:01:00.0"
DEVICES = (
    {"at": "00:1a.0", "model": "ehci", "reserved": ["db7d7000-db7e5fff"]},
    {"at": "00:1d.0", "model": "ehci", "reserved": ["db7d7000-db7e5fff"]},
    {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01"},
)
WAIVE = dict.fromkeys(("reserved-memory", "shared-page", "shared-interrupt"), "both go to one guest")


@pytest.fixture(params=["pv", "hvm"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host(kind: str) -> Iterator[DeclaredHost]:
    with declared_host(DEVICES, domains=[{"name": "web01", "type": kind}, {"name": "db", "type": kind}]) as started:
        (started.directory.parent / "web01.cfg").write_text(f'name = "web01"\ntype = "{kind}"\npci = [ "{NIC}" ]\n')
        yield started


def config(host: DeclaredHost) -> Path:
    return host.directory.parent / "web01.cfg"


def give(host: DeclaredHost, *devices: str, check: bool = False, **options: Any) -> dict[str, Any]:
    """Have web01 have these devices with options, after pciback has them."""
    catalog = {f"d{number}": {"address": device, **options} for number, device in enumerate(devices)}
    held = host.run("assignable_devices", devices=list(catalog), catalog=catalog)
    if held.get("failed"):
        return held
    declared = {"web01": {"devices": list(catalog), "config": str(config(host))}}
    return host.run("domain_devices", check, domains=declared, catalog=catalog)


def stored(host: DeclaredHost, name: str = "web01") -> dict[str, Any]:
    return dict(host.domain(name)["configured_options"])


def trace(host: DeclaredHost) -> str:
    return (host.directory / "trace").read_text()


def test_relaxed_reaches_all_places(host: DeclaredHost) -> None:
    done = give(host, *USB, rdm_policy="relaxed", waive=WAIVE)
    assert "failed" not in done, done["msg"]
    options = {one["address"]: one["options"]["rdm_policy"] for one in host.domain("web01")["devices"]}
    assert options == dict.fromkeys(USB, "relaxed")
    assert {address: one["rdm_policy"] for address, one in stored(host).items()} == dict.fromkeys(USB, "relaxed")
    assert f'"{NIC}", "{USB[0]},rdm_policy=relaxed", "{USB[1]},rdm_policy=relaxed"' in config(host).read_text()
    assert give(host, *USB, rdm_policy="relaxed", waive=WAIVE)["changed"] is False


def test_a_waiver_alone_leads_nowhere_and_is_not_offered(host: DeclaredHost) -> None:
    for options in ({}, {"waive": WAIVE}):
        refused = give(host, *USB, **options)
        assert "reserved-memory" in codes(refused)
        (refusal, *_others) = [one for one in refused["refusals"] if one["code"] == "reserved-memory"]
        assert refusal["waivable"] is False
        assert "rdm_policy: relaxed" in refused["msg"]
        assert host.driver(USB[0]) == "ehci-pci"
    offered = give(host, *USB, rdm_policy="relaxed")
    assert all(one["waivable"] for one in offered["refusals"] if one["code"] == "reserved-memory")


def test_permissive_reaches_all_places(host: DeclaredHost) -> None:
    done = give(host, NIC, permissive="its driver needs it")
    assert "failed" not in done, done["msg"]
    (device,) = host.domain("web01")["devices"]
    assert device["options"]["permissive"] is True
    assert stored(host)[NIC]["permissive"] is True
    assert host.device(NIC)["permissive"] is True
    assert f'"{NIC},permissive=1"' in config(host).read_text()


@pytest.mark.parametrize(
    ("options", "spec"),
    [
        ({"msitranslate": True}, "msitranslate=1"),
        ({"power_mgmt": True}, "power_mgmt=1"),
        ({"vslot": "1A"}, "@1a"),
    ],
)
def test_what_only_a_device_model_has(host: DeclaredHost, kind: str, options: dict[str, Any], spec: str) -> None:
    (name,) = options
    result = give(host, NIC, **options)
    if kind == "pv":
        assert codes(result) == ["option"] or "config-file" in codes(result)
        assert name in result["msg"] and host.domain("web01")["devices"] == []
        return
    assert "failed" not in result, result["msg"]
    value = "1a" if name == "vslot" else True
    (device,) = host.domain("web01")["devices"]
    assert device["options"][name] == value
    assert stored(host)[NIC][name] == value
    assert spec in config(host).read_text()
    if name == "vslot":
        assert device["guest_address"] is None or "0000:00:1a" in json.dumps(result["domains"])
    host.xl("reboot", "web01")
    assert give(host, NIC, **options).get("changed") is False


def test_a_change_of_an_attached_device_is_refused_in_words(host: DeclaredHost, kind: str) -> None:
    assert "failed" not in give(host, NIC)
    before = config(host).read_text()
    for check in (True, False):
        refused = give(host, NIC, check=check, rdm_policy="relaxed")
        assert codes(refused) == ["option-change"]
        assert "rdm_policy=strict, not relaxed" in refused["msg"]
    assert config(host).read_text() == before
    gone = host.run("domain_devices", domains={"web01": {"devices": [NIC], "state": "absent"}})
    assert "failed" not in gone, gone["msg"]
    assert "failed" not in give(host, NIC, rdm_policy="relaxed")
    kept = give(host, NIC)
    assert kept["changed"] is False, "what is not declared stays"


def test_permissive_is_set_while_a_pv_guest_has_the_device(host: DeclaredHost, kind: str) -> None:
    """pciback filters for PV guests, QEMU for the others, which learns of it only with a new attachment."""
    assert "failed" not in give(host, NIC)
    result = give(host, NIC, permissive="its driver needs it")
    assert (codes(result) if result.get("failed") else []) == ([] if kind == "pv" else ["option-change"])


def test_a_file_with_more_options_is_reported(host: DeclaredHost) -> None:
    config(host).write_text(config(host).read_text().replace(NIC, f"{NIC},rdm_policy=relaxed"))
    done = give(host, NIC)
    assert "failed" not in done, done["msg"]
    assert "rdm_policy=relaxed, which the catalog does not declare" in json.dumps(done["warnings"])
    assert f"{NIC},rdm_policy=relaxed" in config(host).read_text()


def test_two_devices_in_one_slot_are_refused(host: DeclaredHost, kind: str) -> None:
    refused = give(host, NIC, USB[0], vslot="9", rdm_policy="relaxed", waive=WAIVE)
    assert set(codes(refused)) == {"option"}, refused["msg"]


def test_what_comes_back_has_its_options(host: DeclaredHost, kind: str) -> None:
    """A reboot of the guest gives it the devices with the options of the stored configuration."""
    assert "failed" not in give(host, *USB, rdm_policy="relaxed", waive=WAIVE)
    before = stored(host)
    assert host.xl("reboot", "web01").returncode == 0
    assert {address: one["rdm_policy"] for address, one in before.items()} == dict.fromkeys(USB, "relaxed")
