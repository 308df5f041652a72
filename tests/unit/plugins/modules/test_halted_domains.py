# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains that do not run, or that must be created again before they can take a device: the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from declared_host import DeclaredHost, codes, declared_host

NIC, OTHER = "0000:01:00.0", "0000:02:00.0"
DEVICES = tuple(
    {"at": at[5:], "model": "e1000e", "mac": f"52:54:00:00:0{number}:01"} for number, at in enumerate((NIC, OTHER))
)


@pytest.fixture
def host() -> Iterator[DeclaredHost]:
    """web01 can take devices, closed was created without passthrough, db does not run."""
    domains = [{"name": "web01", "type": "pv"}, {"name": "closed", "type": "pv", "passthrough": False}]
    with declared_host(DEVICES, domains=domains) as started:
        for name in ("web01", "closed", "db"):
            config(started, name).write_text(f'name = "{name}"\ntype = "pv"\npassthrough = "disabled"\n')
        assert "failed" not in started.run("assignable_devices", devices=[NIC, OTHER])
        yield started


def config(host: DeclaredHost, name: str) -> Path:
    return host.directory.parent / f"{name}.cfg"


def declared(*devices: str, **more: Any) -> dict[str, Any]:
    return {"devices": list(devices), "exclusive": True, **more}


def warnings(result: dict[str, Any]) -> str:
    return "\n".join(one["event"]["msg"] for one in result.get("warnings", []))


def both(host: DeclaredHost, domains: dict[str, Any]) -> list[dict[str, Any]]:
    """Run in check mode, then for real."""
    return [host.run("domain_devices", check, domains=domains) for check in (True, False)]


def test_a_domain_that_does_not_run_stops_no_other(host: DeclaredHost) -> None:
    domains = {"db": declared(OTHER), "web01": declared(NIC)}
    for result in both(host, domains):
        assert "failed" not in result and result["actions"] == [f"web01: add {NIC}"], result
        assert {one["name"]: one.get("skipped", False) for one in result["domains"]} == {"web01": False, "db": True}
        assert "No domain named db runs" in warnings(result)
    again = host.run("domain_devices", domains=domains)
    assert (again["changed"], [one["after"] for one in again["domains"]]) == (False, [[NIC], []])


def test_where_it_must_run_all_is_refused(host: DeclaredHost) -> None:
    for result in both(host, {"db": declared(OTHER, when_halted="fail"), "web01": declared(NIC)}):
        assert codes(result) == ["unknown-domain"] and not result["changed"]
    assert not host.domain("web01")["devices"]


def test_a_guest_that_must_be_created_again_gets_its_devices_in_its_file(host: DeclaredHost) -> None:
    file = config(host, "closed")
    domains = {"closed": declared(NIC, config=str(file)), "web01": declared(OTHER)}
    for result in both(host, domains):
        assert "failed" not in result, result["msg"]
        assert result["actions"] == [f"web01: add {OTHER}", f"closed: write {file}"]
        (closed,) = [one for one in result["domains"] if one["name"] == "closed"]
        assert (closed["after"], closed["deferred"], closed["config"]["changed"]) == ([], [NIC], True)
        assert "destroyed, and created again" in warnings(result)
        in_file, attached = result["diff"][0]["prepared"].splitlines()
        assert in_file.startswith(f"closed  +  {NIC} (") and in_file.endswith(
            "in its file only, until it is created again"
        )
        assert attached.startswith(f"web01   +  {OTHER} (network ")
    assert f'pci = ["{NIC}"]' in file.read_text() and 'passthrough = "enabled"' in file.read_text()
    again = host.run("domain_devices", domains=domains)
    assert again["changed"] is False and "destroyed, and created again" in warnings(again)


def test_without_its_file_it_is_refused(host: DeclaredHost) -> None:
    for result in both(host, {"closed": declared(NIC), "web01": declared(OTHER)}):
        assert codes(result) == ["not-ready"]


def test_the_warning_names_the_file_of_the_domain_where_it_usually_is(host: DeclaredHost) -> None:
    usual = host.directory / "etc/xen"
    (usual / "auto").mkdir(parents=True)
    (usual / "broken.cfg").write_text("name = [")
    (usual / "db.cfg").write_text('name = "db"\n')
    for result in both(host, {"db": declared(OTHER)}):
        assert f"{usual}/db.cfg is its file" in warnings(result)
    (usual / "db.cfg").rename(usual / "auto/10-db")
    for result in both(host, {"db0": declared(OTHER)}):
        assert "did you mean 'db'?" in warnings(result)
