# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host, its kernel or its devices do not let happen: said before anything is touched, or given up on in time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from short_path import short_directory

from simulated_xen import daemon
from simulated_xen.interpreter.xen.lowlevel._simulator import request

MODULES = "ansible_collections.xen.pci.plugins.modules"
NIC, OTHER, THIRD, GPU, SRIOV, IGD = (
    "0000:01:00.0",
    "0000:02:00.0",
    "0000:03:00.0",
    "0000:04:00.0",
    "0000:05:00.0",
    "0000:00:02.0",
)
VF = "0000:05:00.1"
DEVICES = [
    {"at": "00:00.0", "model": "host-bridge"},
    {"at": "00:02.0", "model": "igd"},
    {"at": "00:03.0", "model": "e1000e", "mac": "52:54:00:0a:00:01", "name": "mgmt0", "up": True},
    {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01"},
    {"at": "02:00.0", "model": "e1000e", "mac": "52:54:00:00:02:01"},
    {"at": "03:00.0", "model": "e1000e", "mac": "52:54:00:00:03:01"},
    {"at": "04:00.0", "model": "gpu"},
    {"at": "05:00.0", "model": "igb", "mac": "52:54:00:00:05:01", "name": "eth5", "numvfs": 3},
]
DOMAINS = [{"name": "g1"}, {"name": "g2"}, {"name": "w1", "type": "hvm"}]


class Machine:
    """A simulated host, and the modules on it, each in a process of its own."""

    def __init__(self, directory: Path, description: dict[str, Any]) -> None:
        self.directory = directory / "h"
        file = directory / "machine.json"
        file.write_text(json.dumps({"devices": DEVICES, "domains": DOMAINS, **description}))
        daemon.start(str(file), self.directory)
        variables = daemon.RunDirectory(self.directory).environment()
        variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], *sys.path])
        self.environment = {**os.environ, **variables}

    def ask(self, do: str, **arguments: Any) -> Any:
        return request(str(self.directory), do, **arguments)

    def inject(self, fault: str, **arguments: Any) -> None:
        self.ask("inject", fault=fault, **arguments)

    def run(self, module: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", f"{MODULES}.{module}"],
            env=self.environment,
            input=json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check}}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip(), done.stderr
        return dict(json.loads(done.stdout))

    def warnings(self, result: dict[str, Any]) -> list[str]:
        """The texts of a module's warnings, in the form of any ansible-core."""
        found = result.get("warnings", [])
        return [one if isinstance(one, str) else one["event"]["msg"] for one in found]

    def give(self, check: bool = False, timeout: int = 20, **domains: Any) -> dict[str, Any]:
        declared = {
            name: {"devices": wanted, "exclusive": True} if isinstance(wanted, list) else wanted
            for name, wanted in domains.items()
        }
        return self.run("domain_devices", check, domains=declared, timeout=timeout)

    def take(self, *devices: str, check: bool = False, **options: Any) -> dict[str, Any]:
        return self.run("assignable_devices", check, devices=list(devices), **options)

    def facts(self, *gather: str) -> dict[str, Any]:
        return self.run("host_info", gather=list(gather or ("devices", "domains")))

    def device(self, address: str) -> dict[str, Any]:
        return next(one for one in self.facts("devices")["devices"] if one["address"] == address)

    def driver(self, address: str) -> str | None:
        link = self.directory / "sys/bus/pci/devices" / address / "driver"
        return link.resolve().name if link.exists() else None


@contextmanager
def machine(**description: Any) -> Iterator[Machine]:
    with short_directory() as directory:
        started = Machine(directory, description)
        try:
            yield started
        finally:
            daemon.stop(started.directory)


@pytest.fixture
def host() -> Iterator[Machine]:
    """A host on which pciback holds some devices from boot, and all are in quarantine."""
    held = [NIC, OTHER, THIRD, GPU, VF, IGD]
    with machine(hidden=[one for one in held if one != VF]) as started:
        waived = {"igd": {"address": IGD, "waive": {"console": "test"}}, "gpu": {"address": GPU}}
        done = started.take(NIC, OTHER, THIRD, VF, "igd", "gpu", catalog=waived)
        assert not done.get("failed"), done["msg"]
        yield started


def codes(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(refusal["code"], refusal["subject"]) for refusal in result["refusals"]]


# ---- writes that do not return


@pytest.mark.parametrize("file", ["unbind", "new_slot", "bind"])
def test_a_write_that_hangs_while_a_device_is_taken(file: str) -> None:
    with machine() as host:
        host.inject("write-hangs", device=NIC, file=file)
        began = time.monotonic()
        failed = host.take(OTHER, NIC, timeout=1)
        assert time.monotonic() - began < 30
        assert failed["failed"] and f"{file} hangs" in failed["msg"] and NIC in failed["msg"]
        # The other device is back with its driver, and nothing keeps the next run from it.
        assert host.driver(OTHER) == "e1000e"
        done = host.take(OTHER, timeout=1)
        assert not done.get("failed"), done["msg"]
        # The host sees that the write goes on, and no run adds another one.
        facts = host.device(NIC)
        assert file in facts["hanging_write"] and not facts["free"]
        refused = host.take(NIC, timeout=1)
        assert codes(refused) == [("hanging-write", NIC)]
        found = host.run("repair", check=True)["findings"]
        assert [(one["fault"], one["devices"]) for one in found if one["fault"] == "hanging_write"] == [
            ("hanging_write", [NIC])
        ]
        # Once it returns, all is as ever.
        host.inject("write-hangs", device=NIC, file=file, hangs=False)
        deadline = time.monotonic() + 30
        while host.device(NIC)["hanging_write"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        done = host.take(NIC)
        assert not done.get("failed"), done["msg"]
        assert host.driver(NIC) == "pciback"


def test_who_has_a_device_open_that_its_driver_does_not_release() -> None:
    with machine() as host:
        driver = host.driver(GPU)
        card = host.directory / "sys/bus/pci/devices" / GPU / "drm" / "card1"
        card.mkdir(parents=True)
        group = host.directory / "sys/class/drm"
        group.mkdir(parents=True)
        (group / "card1").symlink_to(card.resolve())
        process = host.directory / "proc/4711"
        (process / "fd").mkdir(parents=True)
        (process / "comm").write_text("Xorg\n")
        (process / "fd/7").symlink_to("/dev/dri/card1")
        host.inject("write-hangs", device=GPU, file="unbind")
        refused = host.take(GPU, timeout=1)
        waived = {refusal["code"]: "it is tried" for refusal in refused["refusals"]}
        failed = host.take("gpu", catalog={"gpu": {"address": GPU, "waive": waived}}, timeout=1)
        assert f"is still bound to {driver}" in failed["msg"]
        assert "/dev/dri/card1 in Xorg (4711) is open" in failed["msg"]


def test_a_hanging_reset_costs_no_other_device(host: Machine) -> None:
    given = host.give(g1=[NIC, OTHER])
    assert not given.get("failed"), given["msg"]
    host.inject("write-hangs", device=NIC, file="reset")
    failed = host.give(g1=[], timeout=2)
    assert failed["failed"] and "reset hangs" in failed["msg"] and f"keeps its rights over {NIC}" in failed["msg"]
    owners = {device: facts["owner"] for device, facts in host.ask("devices").items()}
    g1 = next(one["domid"] for one in host.ask("list") if one["name"] == "g1")
    # Xen must not ask a device anything that is in its reset; the other one is free.
    assert owners[NIC] == g1 and owners[OTHER] != g1
    assert not host.give(g2=[OTHER]).get("failed")
    refused = host.give(g2=[OTHER, NIC], timeout=2)
    assert ("hanging_write", "g1") in codes(refused) or ("hanging_write", "host") in codes(refused)
    host.inject("write-hangs", device=NIC, file="reset", hangs=False)
    assert not host.give(g2=[OTHER, NIC]).get("failed")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("ENOMEM", "above 4 GB"),
        ("ENOSYS", "has no SR-IOV"),
        ("ENOENT", "has no SR-IOV"),
        ("EBUSY", "has virtual functions already"),
        ("EPERM", "in use by a guest"),
        ("EIO", "did not answer"),
    ],
)
def test_why_virtual_functions_cannot_be_created(error: str, cause: str) -> None:
    with machine() as host:
        host.inject("numvfs-fails", device=SRIOV, error=error)
        failed = host.run("virtual_functions", physical_functions=[{"pf": SRIOV, "count": 5}])
        assert failed["failed"] and cause in failed["msg"] and "dmesg" in failed["msg"]


def test_a_hanging_sriov_numvfs_ends_in_time() -> None:
    with machine() as host:
        host.inject("write-hangs", device=SRIOV, file="sriov_numvfs")
        wanted = [{"pf": SRIOV, "count": 5}]
        failed = host.run("virtual_functions", physical_functions=wanted, timeout=1)
        assert failed["failed"] and "sriov_numvfs hangs" in failed["msg"]
        assert codes(host.run("virtual_functions", physical_functions=wanted, timeout=1)) == [("hanging-write", SRIOV)]


# ---- Xen and dom0


def test_without_interrupt_remapping_no_guest_gets_a_device_unless_that_is_waived() -> None:
    code = "interrupt-remapping"
    with machine(interrupt_remapping=False, dom0_iommu="passthrough", hidden=[OTHER[5:]]) as host:
        assert host.facts("domains")["host"]["xen"]["interrupt_remapping"] is False
        assert host.facts("domains")["host"]["xen"]["dom0_iommu"] == "passthrough"
        for check in (True, False):
            refused = host.take(NIC, check=check)
            assert [(one["code"], one["subject"], one["waivable"]) for one in refused["refusals"]] == [
                (code, NIC, True)
            ]
        assert host.driver(NIC) == "e1000e"
        refused = host.give(g1=[OTHER])  # pciback has it from the boot
        assert [(one["code"], one["subject"]) for one in refused["refusals"]] == [(code, OTHER)]
        trusted = {"nic": {"address": NIC, "waive": {code: "g1 is trusted as much as dom0"}}}
        taken = host.take("nic", catalog=trusted)
        assert [one["check"] for one in taken["waived"]] == [code]
        given = host.run("domain_devices", catalog=trusted, domains={"g1": {"devices": ["nic"]}}, timeout=20)
        assert given["changed"] and not given.get("failed"), given.get("msg")
        assert not host.give(g1=[]).get("failed")  # to take it away needs no waiver


@pytest.mark.parametrize("check", [True, False])
def test_without_an_iommu_all_modules_say_so(check: bool) -> None:
    with machine(iommu=False, hidden=[NIC, OTHER]) as host:
        facts = host.facts()
        nothing = {"iommu": False, "dom0_is_pvh": False, "interrupt_remapping": False, "dom0_iommu": ""}
        assert facts["host"]["xen"] == nothing
        assert {one["hotplug_ready"] for one in facts["domains"]} == {"no"}
        reasons = [reason for one in facts["domains"] for reason in one["hotplug_reasons"]]
        assert all("VT-d" in reason["advice"] for reason in reasons if "IOMMU" in reason["reason"])
        assert [one["xen_owner"] for one in facts["devices"] if one["assignable"]] == ["unknown", "unknown"]
        assert facts["findings"] == []
        for domain in ("g1", "w1"):
            assert ("no-iommu", "host") in codes(host.give(check=check, **{domain: [NIC]}))
        for devices in ((THIRD,), (NIC,), (NIC, THIRD)):
            refused = host.take(*devices, check=check)
            assert codes(refused) == [("no-iommu", "host")] and "327" not in refused["msg"]
        # What needs no IOMMU goes on.
        back = host.take(NIC, check=check, state="absent")
        assert not back.get("failed"), back["msg"]
        assert host.driver(NIC) == ("pciback" if check else "e1000e")


def test_a_pvh_dom0_gives_nothing_to_pv_guests() -> None:
    domains = [{"name": "g1"}, {"name": "w1", "type": "hvm"}, {"name": "s1", "type": "hvm", "stubdomain": True}]
    with machine(dom0="pvh", xen="4.20", domains=domains) as host:
        assert not host.take(NIC).get("failed")
        facts = host.facts("domains")
        assert facts["host"]["xen"]["dom0_is_pvh"] is True
        ready = {one["name"]: one["hotplug_ready"] for one in facts["domains"]}
        assert (ready["g1"], ready["w1"], ready["s1"]) == ("no", "yes", "no")
        for domain in ("g1", "s1"):
            assert ("pvh-dom0", "host") in codes(host.give(**{domain: [NIC]}))
        done = host.give(w1=[NIC])
        assert not done.get("failed"), done["msg"]
        assert not host.give(w1=[]).get("failed")


# ---- devices with needs of their own


def test_an_integrated_gpu_cannot_be_plugged_into_an_hvm_guest(host: Machine) -> None:
    assert "gfx_passthru" in host.device(IGD)["hvm_needs"][0] and host.device(NIC)["hvm_needs"] == []
    for check in (True, False):
        refused = host.give(check=check, w1=[IGD])
        assert codes(refused) == [("integrated-gpu", IGD)] and "gfx_passthru" in refused["msg"]
    assert not host.give(g1=[IGD]).get("failed")
    # To move it is the same.
    assert codes(host.give(g1=[], w1=[IGD])) == [("integrated-gpu", IGD)]


def test_a_display_without_rom_is_warned_of(host: Machine) -> None:
    for check in (True, False):
        done = host.give(check=check, w1=[GPU])
        assert not done.get("failed"), done["msg"]
        assert any("ROM" in warning and GPU in warning for warning in host.warnings(done))


def test_a_device_model_that_refuses_is_quoted(host: Machine) -> None:
    host.inject("qemu-refuses", device=NIC, text="PCI device is a legacy thing that I do not like")
    failed = host.give(w1=[NIC])
    assert failed["failed"] and "a legacy thing that I do not like" in failed["msg"]
    assert "had before" in failed["msg"]


def test_a_virtual_function_whose_physical_one_is_down(host: Machine) -> None:
    for check in (True, False):
        done = host.give(check=check, g1=[VF])
        assert not done.get("failed"), done["msg"]
        (warning,) = host.warnings(done)
        assert "eth5 is down" in warning and VF in warning
    again = host.give(g1=[VF])
    assert not again["changed"]
    assert host.device(VF)["pf_up"] is False and host.device(NIC)["pf_up"] is None
