# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan made elsewhere, from a host's snapshot, is the plan that the module makes on the host, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from checkouts import ROOT
from fake_ip import FakeIp
from module_forks import ModuleForks
from short_path import short_directory

from simulated_xen import daemon
from simulated_xen.tools.store_client import StoreClient

SUPPORT = ROOT / "tests/support"
NIC, NVME, DISK, BUSY = "0000:01:00.0", "0000:00:0b.0", "0000:00:1f.2", "0000:00:03.0"
MARKER = "/libxl/pci/0000-01-00-0/domid"
PF, MAC = "0000:3b:00.0", "02:00:5e:3b:01:00"
CATALOG = {
    "uplink": {"serial": "52-54-00-ff-ff-00-01-01"},
    "disk": {"nvme_serial": "NV1"},
    "cards": {"select": "[?class=='020000']", "count": 2},
    "waived": {"address": DISK, "waive": {"disk": "it is not in use"}},
}


class Away:
    """A host, and plans made on it and elsewhere."""

    def __init__(self, directory: Path, machine: str) -> None:
        self.directory = directory / "h"
        self.config = directory / "g1.cfg"
        self.config.write_text('name = "g1"\ntype = "pv"\n')
        variables = daemon.start(machine, self.directory).environment()
        modules = self.directory / "lib/modules" / os.uname().release
        modules.mkdir(parents=True, exist_ok=True)
        (modules / "modules.dep").write_text("kernel/drivers/xen/xen-pciback/xen-pciback.ko:\n")
        (modules / "modules.alias").write_text("alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\n")
        self.ip = FakeIp(self.directory)
        variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], *sys.path])
        self._environment = {**os.environ, **variables}
        self._forks = ModuleForks(self._environment)
        self._snapshot: Any = None

    def close(self) -> None:
        self._forks.close()
        daemon.stop(self.directory)

    @contextmanager
    def store(self) -> Iterator[StoreClient]:
        """Xenstore, for somebody else."""
        self._snapshot = None
        client = StoreClient(str(daemon.RunDirectory(self.directory).store_socket))
        try:
            yield client
        finally:
            client.close()

    def xl(self, *words: str) -> None:
        self._snapshot = None
        subprocess.run([self.directory / "bin" / "xl", *words], env=self._environment, check=True, capture_output=True)

    def module(self, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self._snapshot = None
        return dict(self._forks.run(name, parameters))

    def planned_here(self, name: str, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The document, and the result of the module in check mode."""
        checked = {**parameters, "_ansible_check_mode": True}
        words = [sys.executable, str(SUPPORT / "recorded_plan.py"), name, json.dumps(checked)]
        done = subprocess.run(words, env=self._environment, check=False, capture_output=True, text=True)
        assert not done.returncode, done.stderr
        answer = json.loads(done.stdout)
        return answer["document"], answer["result"]

    def planned_elsewhere(self, name: str, parameters: Mapping[str, Any]) -> str:
        if self._snapshot is None:
            observed = self.module("host_info", {"gather": ["snapshot"], "config_files": [str(self.config)]})
            self._snapshot = observed["snapshot"]
        done = subprocess.run(
            [sys.executable, str(SUPPORT / "offline_plan.py")],
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": "/nowhere"},
            input=json.dumps({"module": name, "parameters": parameters, "snapshot": self._snapshot}),
            check=False,
            capture_output=True,
            text=True,
        )
        assert not done.returncode, done.stderr
        return done.stdout.strip()

    def agree(self, name: str, **parameters: Any) -> dict[str, Any]:
        """The plan of both, which must be one; and its fingerprint is the one that the module returns."""
        here, result = self.planned_here(name, parameters)
        assert self.planned_elsewhere(name, parameters) == here
        document: dict[str, Any] = json.loads(here)
        assert result.get("failed", False) == bool(document["refusals"])
        assert result.get("fingerprint", document["fingerprint"]) == document["fingerprint"]
        refused = result.get("refusals", [])
        assert [{key: value for key, value in one.items() if key != "name"} for one in refused] == document["refusals"]
        return document


@pytest.fixture
def away(request: pytest.FixtureRequest) -> Iterator[Away]:
    with short_directory() as directory:
        host = Away(directory, getattr(request, "param", "small-server"))
        try:
            yield host
        finally:
            host.close()


ASSIGNABLE: tuple[dict[str, Any], ...] = (
    {"devices": [NIC, "disk"], "persistent": True},
    {"devices": ["cards"], "exclusive": True, "require_reset": True},
    {"devices": [DISK, BUSY, "nothing"]},
    {"devices": ["waived"]},
    {"devices": [NIC], "state": "absent"},
)


def test_assignable_devices(away: Away) -> None:
    persistent, pool, refused, waived, absent = (
        away.agree("assignable_devices", catalog=CATALOG, **parameters) for parameters in ASSIGNABLE
    )
    assert [one["action"] for one in persistent["steps"]["devices"]] == ["take", "take"]
    assert "softdep e1000e pre: xen-pciback" in persistent["steps"]["files"]["etc/modprobe.d/xen-pci.conf"]
    assert len(pool["steps"]["devices"]) == 2
    assert {one["subject"] for one in refused["refusals"]} == {"nothing", DISK, BUSY}
    assert waived["steps"]["waived"]
    assert absent["steps"]["devices"] == []
    away.xl("pci-assignable-add", NIC)
    for parameters in ASSIGNABLE:
        away.agree("assignable_devices", catalog=CATALOG, **parameters)


def test_domain_devices(away: Away) -> None:
    wanted = {"g1": {"devices": ["uplink"], "config": str(away.config)}, "g2": {"devices": [{"from": "cards"}]}}
    refused = away.agree("domain_devices", catalog=CATALOG, domains=wanted)
    assert {one["code"] for one in refused["refusals"]} == {"not-assignable"}
    taken = away.module("assignable_devices", {"devices": ["uplink", "cards"], "catalog": CATALOG})
    assert taken["changed"]
    document = away.agree("domain_devices", catalog=CATALOG, domains=wanted)
    assert document["steps"]["domains"][0]["add"] == [NIC]
    assert document["steps"]["files"][0]["path"] == str(away.config)
    assert away.module("domain_devices", {"domains": wanted, "catalog": CATALOG})["changed"]
    moved = {"g1": {"devices": [], "exclusive": True}, "g2": {"devices": ["uplink"]}, "nobody": {"devices": [NIC]}}
    away.agree("domain_devices", catalog=CATALOG, domains=moved)
    del moved["nobody"]
    document = away.agree("domain_devices", catalog=CATALOG, domains=moved)
    assert document["steps"]["domains"][0]["departing"] == [NIC]


def test_domain_devices_of_a_host_with_faults(away: Away) -> None:
    away.module("assignable_devices", {"devices": [NIC, NVME]})
    away.module("domain_devices", {"domains": {"g1": {"devices": [NIC]}, "g2": {"devices": [NVME]}}})
    with away.store() as store:
        store.remove(MARKER)
    wanted = {"g1": {"devices": [NIC]}, "g2": {"devices": [], "exclusive": True}}
    refused = away.agree("domain_devices", domains=wanted)
    assert refused["refusals"]
    document = away.agree("domain_devices", domains=wanted, repair="first")
    assert len(document["steps"]["repairs"]) == 1


@pytest.mark.parametrize("away", ["two-socket"], indirect=True)
def test_virtual_functions(away: Away) -> None:
    wanted = [{"pf": PF, "count": 4, "vfs": [{"index": 1, "mac": MAC, "vlan": 20}]}]
    document = away.agree("virtual_functions", physical_functions=wanted)
    assert [one["action"] for one in document["steps"]] == ["set-count", "configure"]
    away.ip.set({index: {"address": "00:00:00:00:00:00"} for index in range(4)})
    assert away.module("virtual_functions", {"physical_functions": wanted})["changed"]
    assert not away.agree("virtual_functions", physical_functions=wanted)["steps"]
    away.agree("virtual_functions", physical_functions=[{"pf": PF, "count": 200}, {"pf": "0000:00:00.0", "count": 1}])


@pytest.mark.parametrize("away", ["two-socket"], indirect=True)
def test_virtual_functions_without_iproute2(away: Away) -> None:
    """What is set for them is unknown then, and only a task that sets it is refused."""
    wanted = {"pf": PF, "count": 4}
    away.module("virtual_functions", {"physical_functions": [wanted]})
    away.ip.lose()
    assert not away.agree("virtual_functions", physical_functions=[wanted])["steps"]
    settings = {**wanted, "vfs": [{"index": 1, "vlan": 20}]}
    refused = away.agree("virtual_functions", physical_functions=[settings])
    assert [one["code"] for one in refused["refusals"]] == ["settings-unknown"]


def refused_for_its_fingerprint(answer: dict[str, Any]) -> bool:
    return [one["code"] for one in answer.get("refusals", ())] == ["fingerprint"] and not answer["changed"]


def test_only_the_approved_plan_is_carried_out(away: Away) -> None:
    assigned: dict[str, Any] = {"devices": [NIC, NVME]}
    _document, planned = away.planned_here("assignable_devices", assigned)
    other = away.module("assignable_devices", {"devices": [NIC], "fingerprint": planned["fingerprint"]})
    assert refused_for_its_fingerprint(other)
    done = away.module("assignable_devices", {**assigned, "fingerprint": planned["fingerprint"]})
    assert done["changed"] and done["fingerprint"] == planned["fingerprint"]
    again = away.module("assignable_devices", {**assigned, "fingerprint": planned["fingerprint"]})
    assert not again["changed"] and not again.get("failed"), "a task that is run again finds its own work"


def test_nothing_is_repaired_for_a_plan_that_is_not_the_approved_one(away: Away) -> None:
    away.module("assignable_devices", {"devices": [NIC, NVME]})
    away.module("domain_devices", {"domains": {"g1": {"devices": [NIC]}}})
    with away.store() as store:
        store.remove(MARKER)
    wanted = {"domains": {"g1": {"devices": [NIC, NVME]}}, "repair": "first"}
    _document, planned = away.planned_here("domain_devices", wanted)
    assert planned["repaired"] and planned["fingerprint"]
    assert refused_for_its_fingerprint(away.module("domain_devices", {**wanted, "fingerprint": "0" * 32}))
    with away.store() as store:
        assert store.read(MARKER) is None
    done = away.module("domain_devices", {**wanted, "fingerprint": planned["fingerprint"]})
    assert done["changed"] and done["fingerprint"] == planned["fingerprint"]
    with away.store() as store:
        assert store.read(MARKER) is not None
    again = away.module("domain_devices", {**wanted, "fingerprint": planned["fingerprint"]})
    assert not again["changed"] and not again.get("failed")


@pytest.mark.parametrize("away", ["two-socket"], indirect=True)
def test_only_the_approved_virtual_functions_are_made(away: Away) -> None:
    wanted = {"physical_functions": [{"pf": PF, "count": 2}]}
    _document, planned = away.planned_here("virtual_functions", wanted)
    assert refused_for_its_fingerprint(away.module("virtual_functions", {**wanted, "fingerprint": "0" * 32}))
    assert away.module("virtual_functions", {**wanted, "fingerprint": planned["fingerprint"]})["changed"]
