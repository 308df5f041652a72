# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be absent need not be present: devices that have left the host, and domains that do not run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from declared_host import DeclaredHost, codes, declared_host

NIC, DISK, OTHER = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0"
DEVICES = (
    {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01"},
    {"at": "02:00.0", "model": "nvme", "serial": "S1"},
    {"at": "03:00.0", "model": "e1000e", "mac": "52:54:00:00:03:01"},
)
CATALOG = {"disk": {"nvme_serial": "S1"}, "nic": {"address": NIC}}


@pytest.fixture(params=["pv", "hvm"])
def host(request: pytest.FixtureRequest) -> Iterator[DeclaredHost]:
    """web01 has a card and a disk, by their names; db does not run."""
    with declared_host(DEVICES, domains=[{"name": "web01", "type": request.param}]) as started:
        for name, kind in (("web01", request.param), ("db", "pv")):
            config(started, name).write_text(
                f'name = "{name}"\ntype = "{kind}"\npci = [ "{NIC}", "{DISK}" ]\n'
                'passthrough = "enabled"\ne820_host = 1\n'
            )
        assert "failed" not in started.run("assignable_devices", devices=["disk", "nic"], catalog=CATALOG)
        given = {"web01": {"devices": ["disk", "nic"]}}
        done = started.run("domain_devices", domains=given, catalog=CATALOG)
        assert "failed" not in done, done["msg"]
        yield started


def config(host: DeclaredHost, name: str) -> Path:
    return host.directory.parent / f"{name}.cfg"


def pull_out(host: DeclaredHost, device: str = DISK) -> None:
    host.write(f"devices/{device}/remove", "1")


def absent(host: DeclaredHost, name: str, device: str, check: bool = False, **more: Any) -> dict[str, Any]:
    declared = {"devices": [device], "state": "absent", "config": str(config(host, name))}
    return host.run("domain_devices", check, **{"domains": {name: declared}, "catalog": CATALOG, **more})


def stored(host: DeclaredHost) -> list[str]:
    (file,) = (host.directory / "var/lib/xen").glob("userdata-d.*.libxl-json")
    return [f"{one.get('bus', 0):02x}" for one in json.loads(file.read_text().rstrip("\0")).get("pcidevs", [])]


@pytest.mark.parametrize("name", [DISK, "disk"], ids=["by address", "by name"])
def test_a_device_that_left_the_host_leaves_its_domain(host: DeclaredHost, name: str) -> None:
    pull_out(host)
    planned = absent(host, "web01", name, check=True)
    assert planned["changed"] and "failed" not in planned, planned
    done = absent(host, "web01", name)
    assert done["changed"] and "failed" not in done, done["msg"]
    assert planned["diff"] == done["diff"]
    assert [one["address"] for one in host.domain("web01")["devices"]] == [NIC]
    assert stored(host) == ["01"]
    assert DISK not in config(host, "web01").read_text() and NIC in config(host, "web01").read_text()
    again = absent(host, "web01", name)
    assert (again["changed"], again.get("failed")) == (False, None), again


@pytest.mark.parametrize(
    "catalog", [{"disk": {"nvme_serial": "S1", "required": False}}, {"disk": {"nvme_serial": "S1"}}]
)
def test_the_file_of_a_domain_that_does_not_run_is_kept_in_step(host: DeclaredHost, catalog: dict[str, Any]) -> None:
    pull_out(host)
    before = config(host, "db").read_text()
    planned = absent(host, "db", "disk", check=True, catalog=catalog)
    assert config(host, "db").read_text() == before
    done = absent(host, "db", "disk", catalog=catalog)
    for result in (planned, done):
        (domain,) = result["domains"]
        assert (domain["name"], domain["running"], domain["domid"]) == ("db", False, None)
        assert (domain["before"], domain["after"]) == ([NIC, DISK], [NIC])
        assert domain["config"]["changed"] and result["changed"]
    assert planned["diff"] == done["diff"]
    assert config(host, "db").read_text() == before.replace(f', "{DISK}"', "")
    assert absent(host, "db", "disk", catalog=catalog)["changed"] is False


def test_a_domain_that_does_not_run_is_declared_in_its_file(host: DeclaredHost) -> None:
    assert "failed" not in host.run("assignable_devices", devices=[OTHER])
    declared = {"devices": [OTHER], "exclusive": True, "config": str(config(host, "db"))}
    done = host.run("domain_devices", domains={"db": declared, "web01": {"devices": [NIC]}})
    assert [(one["name"], one["running"]) for one in done["domains"]] == [("web01", True), ("db", False)]
    assert f'pci = [ "{OTHER}" ]' in config(host, "db").read_text()
    assert done["actions"] == [f"db: write {config(host, 'db')}"]
    assert host.run("domain_devices", domains={"db": declared})["changed"] is False


def test_a_domain_that_does_not_run_gets_no_device_that_it_could_not_start_with(host: DeclaredHost) -> None:
    declared = {"db": {"devices": [OTHER, "0000:00:00.0"], "config": str(config(host, "db"))}}
    refused = host.run("domain_devices", domains=declared)
    assert codes(refused) == ["not-assignable", "bridge"]


def test_the_file_of_another_domain_is_refused(host: DeclaredHost) -> None:
    declared = {"bd": {"devices": [NIC], "state": "absent", "config": str(config(host, "db"))}}
    assert codes(host.run("domain_devices", domains=declared)) == ["config-file"]


def test_a_device_that_only_the_stored_configuration_lists_is_taken_from_it(host: DeclaredHost) -> None:
    (file,) = (host.directory / "var/lib/xen").glob("userdata-d.*.libxl-json")
    content = json.loads(file.read_text().rstrip("\0"))
    content["pcidevs"].append({"bus": 9, "vfunc_mask": 1, "rdm_policy": "strict"})
    file.write_text(json.dumps(content) + "\0")
    declared = {"web01": {"devices": ["0000:09:00.0"], "state": "absent"}}
    planned = host.run("domain_devices", True, domains=declared)
    done = host.run("domain_devices", domains=declared)
    assert planned["changed"] and done["changed"]
    assert planned["actions"] == done["actions"] == ["web01: unlist 0000:09:00.0"]
    assert sorted(stored(host)) == ["01", "02"]
    assert host.run("domain_devices", domains=declared)["changed"] is False


def test_where_it_was_is_not_known_a_doubt_is_refused(host: DeclaredHost) -> None:
    """Another name than the one that was noted: the entry of the absent device may be this one."""
    pull_out(host)
    catalog = {"scratch": {"nvme_serial": "S9", "required": False}}
    refused = absent(host, "db", "scratch", catalog=catalog)
    assert codes(refused) == ["absent"] and DISK in refused["msg"]
    config(host, "db").write_text('name = "db"\n')
    fine = absent(host, "db", "scratch", catalog=catalog)
    assert (fine["changed"], fine["missing"]) == (False, ["scratch"])


def test_what_is_left_of_a_device_is_forgotten(host: DeclaredHost) -> None:
    pull_out(host)
    held = host.run("assignable_devices", devices=[DISK], state="absent")
    assert codes(held) == ["held"]
    assert "failed" not in absent(host, "web01", "disk")
    boot = host.directory / "etc/modprobe.d/xen-pci.conf"
    for check in (True, False):
        done = host.run("assignable_devices", check, devices=["disk"], catalog=CATALOG, state="absent")
        assert done["changed"] and done["devices"][0]["address"] == DISK, done
        assert [one["action"] for one in done["changes"]] == ["forget"]
    assert not boot.exists()
    assert host.run("host_info")["host"]["gone_devices"] == []
    again = host.run("assignable_devices", devices=[DISK], state="absent")
    assert (again["changed"], again.get("failed")) == (False, None)
