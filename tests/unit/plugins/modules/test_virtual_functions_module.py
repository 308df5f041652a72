# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against the simulated two-socket server: twice 64 virtual functions, and what keeps them.

Its `ip` is one that can refuse.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_ip import FakeIp
from refusal_codes import codes_in
from short_path import short_directory

from simulated_xen import daemon

MODULE = "ansible_collections.xen.pci.plugins.modules.virtual_functions"
FIRST, SECOND = "0000:3b:00.0", "0000:af:00.0"
CATALOGUE = {"uplink0": {"mac": "02:00:5e:3b:00:00"}, "uplink1": {"mac": "02:00:5e:af:00:00"}}
MAC = "02:00:5e:3b:01:00"


class Server:
    """A simulated host, and what its `ip` knows."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "h"
        daemon.start("two-socket", self.directory)
        self._ip = FakeIp(self.directory)
        variables = daemon.RunDirectory(self.directory).environment()
        variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], *sys.path])
        self.environment = {**os.environ, **variables}

    def set_ip(self, functions: dict[int, dict[str, Any]], **more: Any) -> None:
        self._ip.set(functions, **more)

    def lose_ip(self) -> None:
        self._ip.lose()

    @property
    def ip(self) -> dict[str, Any]:
        return self._ip.state

    def run(self, *functions: dict[str, Any], check: bool = False) -> dict[str, Any]:
        arguments = {
            "physical_functions": list(functions),
            "catalog": CATALOGUE,
            "_ansible_check_mode": check,
            "_ansible_diff": True,
        }
        done = subprocess.run(
            [sys.executable, "-m", MODULE],
            env=self.environment,
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip(), done.stderr
        return dict(json.loads(done.stdout))

    def xl(self, *words: str) -> None:
        subprocess.run(["xl", *words], env=self.environment, check=True, capture_output=True)

    def file(self, device: str, name: str) -> str:
        return (self.directory / "sys/bus/pci/devices" / device / name).read_text().strip()


@pytest.fixture
def server() -> Iterator[Server]:
    with short_directory() as directory:
        started = Server(directory)
        try:
            yield started
        finally:
            daemon.stop(started.directory)


def test_twice_sixty_four_functions_by_name(server: Server) -> None:
    wanted = (
        {"pf": "uplink0", "count": 64, "drivers_autoprobe": False},
        {"pf": "uplink1", "count": 64},
    )
    planned = server.run(*wanted, check=True)
    assert planned["changed"]
    assert server.file(FIRST, "sriov_numvfs") == "0"
    done = server.run(*wanted)
    assert done["actions"] == planned["actions"]
    assert done["diff"] == planned["diff"]
    first, second = done["diff"][0]["prepared"].splitlines()
    assert first.startswith(f"host  ~ uplink0  {FIRST} (network ")
    assert first.endswith(")  virtual functions 0 -> 64, drivers_autoprobe off")
    assert second.startswith("host  ~ uplink1  ") and second.endswith(")  virtual functions 0 -> 64")
    assert {(one["device"], one["name"]) for one in done["changes"]} == {(FIRST, "uplink0"), (SECOND, "uplink1")}
    first, second = done["physical_functions"]
    assert {one["driver"] for one in first["vfs"]} == {None}
    assert {one["driver"] for one in second["vfs"]} == {"iavf"}
    assert [one["index"] for one in first["vfs"]] == list(range(64))
    links = {os.readlink(server.directory / f"sys/bus/pci/devices/{FIRST}/virtfn{index}") for index in (0, 63)}
    assert {first["vfs"][index]["address"] for index in (0, 63)} == {link.rpartition("/")[2] for link in links}
    again = server.run(*wanted)
    assert (again["changed"], again["actions"], again["diff"]) == (False, [], [])
    assert not server.run(*wanted, check=True)["changed"]


def test_fewer_or_more_go_through_none_when_nobody_has_one(server: Server) -> None:
    server.run({"pf": FIRST, "count": 4, "drivers_autoprobe": False})
    for count in (2, 8, 0):
        assert server.run({"pf": FIRST, "count": count})["changed"]
        assert server.file(FIRST, "sriov_numvfs") == str(count)


def test_while_one_is_out_the_number_stays_and_the_holder_is_named(server: Server) -> None:
    vfs = server.run({"pf": FIRST, "count": 4})["physical_functions"][0]["vfs"]
    server.xl("pci-assignable-add", vfs[1]["address"])
    for count in (0, 2, 8):
        refused = server.run({"pf": SECOND, "count": 2}, {"pf": FIRST, "count": count})
        assert refused["failed"]
        assert ("vf-in-use", vfs[1]["address"]) in codes_in(refused)
    assert server.file(SECOND, "sriov_numvfs") == "0", "nothing was touched"
    server.xl("pci-attach", "web01", vfs[1]["address"])
    assert codes_in(server.run({"pf": FIRST, "count": 0})) == [("vf-in-use", vfs[1]["address"])]
    assert not server.run({"pf": FIRST, "count": 4})["changed"]
    server.xl("pci-detach", "web01", vfs[1]["address"])
    server.xl("pci-assignable-remove", "-r", vfs[1]["address"])
    assert server.run({"pf": FIRST, "count": 0})["changed"]


def test_settings_are_made_once_and_only_what_differs(server: Server) -> None:
    server.set_ip({0: {"address": "00:00:00:00:00:00", "spoofchk": True}, 1: {"address": MAC, "spoofchk": True}})
    vfs = [{"index": 0, "mac": MAC.upper(), "vlan": 20, "spoof_check": True}, {"index": 1, "spoof_check": True}]
    wanted = {"pf": "uplink0", "count": 2, "drivers_autoprobe": False, "vfs": vfs}
    assert server.run(wanted)["changed"]
    assert server.ip["calls"][0] == ["link", "set", "dev", "uplink0", "vf", "0", "mac", MAC, "vlan", "20"]
    assert not server.run(wanted)["changed"]
    vfs[0]["vlan"] = 0
    again = server.run(wanted)
    assert again["actions"] == [f"set virtual function 0 of {FIRST} through uplink0: no VLAN"]
    assert server.ip["calls"][-1][4:] == ["vf", "0", "vlan", "0"]


def test_a_setting_that_the_driver_refuses_undoes_everything(server: Server) -> None:
    server.set_ip({0: {"address": "00:00:00:00:00:00", "spoofchk": True}}, refuse="vlan")
    wanted = {"pf": FIRST, "count": 2, "drivers_autoprobe": False, "vfs": [{"index": 0, "vlan": 20}]}
    failed = server.run(wanted)
    assert "Operation not supported" in failed["msg"]
    assert "all is as before this run" in failed["msg"]
    assert server.file(FIRST, "sriov_numvfs") == "0"
    assert server.file(FIRST, "sriov_drivers_autoprobe") == "1"


def test_a_setting_on_a_function_that_stays_is_set_back(server: Server) -> None:
    server.run({"pf": FIRST, "count": 2, "drivers_autoprobe": False})
    server.set_ip({vf: {"address": MAC, "spoofchk": True} for vf in (0, 1)}, refuse="off")
    vfs = [{"index": 0, "vlan": 20}, {"index": 1, "spoof_check": False}]
    failed = server.run({"pf": FIRST, "count": 2, "vfs": vfs})
    assert "all is as before this run" in failed["msg"]
    assert [one["vlan_list"] for one in server.ip["vfs"].values()] == [[{"vlan": 0}]] * 2


@pytest.mark.parametrize(
    ("vfs", "code"),
    [
        ([{"index": 1, "vlan": 5}, {"index": 1, "vlan": 6}], "listed-twice"),
        ([{"index": 0, "mac": "02:00:5e"}], "function-options"),
        ([{"index": 0, "mac": "01:00:5e:00:00:01"}], "function-options"),
        ([{"index": 0, "vlna": 5}], "function-options"),
    ],
)
def test_a_setting_that_no_function_can_have_is_refused(server: Server, vfs: list[dict[str, Any]], code: str) -> None:
    server.set_ip({})
    for check in (True, False):
        refused = server.run({"pf": FIRST, "count": 2, "vfs": vfs}, check=check)
        assert codes_in(refused) == [(code, FIRST)]
        assert refused["msg"].startswith("Nothing was changed")
    assert server.file(FIRST, "sriov_numvfs") == "0" and server.ip["calls"] == []


def test_without_iproute2_all_but_settings_can_be_had(server: Server) -> None:
    server.lose_ip()
    wanted: dict[str, Any] = {"pf": FIRST, "count": 2}
    assert server.run(wanted)["changed"] and not server.run(wanted)["changed"]
    refused = server.run({**wanted, "vfs": [{"index": 0, "vlan": 20}]})
    assert codes_in(refused) == [("settings-unknown", FIRST)]


def test_a_setting_that_cannot_be_set_back_is_told_as_a_change(server: Server) -> None:
    server.run({"pf": FIRST, "count": 2, "drivers_autoprobe": False})
    server.set_ip({vf: {"address": MAC, "spoofchk": True} for vf in (0, 1)}, refuse_from=2)
    vfs = [{"index": 0, "vlan": 20}, {"index": 1, "spoof_check": False}]
    failed = server.run({"pf": FIRST, "count": 2, "vfs": vfs})
    assert "not everything could be undone: " in failed["msg"]
    assert server.ip["vfs"]["0"]["vlan_list"] == [{"vlan": 20}] and failed["changed"]


def test_what_is_no_physical_function_is_refused(server: Server) -> None:
    assert codes_in(server.run({"pf": "0000:3d:00.0", "count": 1})) == [("no-sriov", "0000:3d:00.0")]
    assert codes_in(server.run({"pf": "0000:7d:00.0", "count": 1})) == [("absent", "0000:7d:00.0")]
    twice = server.run({"pf": "uplink0", "count": 1}, {"pf": FIRST, "count": 1})
    assert "same-device" in [code for code, _subject in codes_in(twice)]
