# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""assignable_devices, domain_devices and host_info on a simulated host: refusals, moves, pools, what others left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from module_forks import ModuleForks
from short_path import short_directory

from simulated_xen import daemon

MODULES = "ansible_collections.xen.pci.plugins.modules"
NIC, OTHER_NIC, HIDDEN, EDU = "0000:01:00.0", "0000:02:00.0", "0000:04:00.0", "0000:00:09.0"
BEHIND_BRIDGE = "0000:06:01.0", "0000:06:02.0"
BEHIND_SWITCH = "0000:12:00.0", "0000:13:00.0"
NVME, SRIOV = "0000:00:0b.0", "0000:05:00.0"
LOCK = "ansible_collections.xen.pci.plugins.module_utils.host.run_lock"
XENSTORE = "ansible_collections.xen.pci.plugins.module_utils.host.xenstore"
SERIAL = "52-54-00-ff-ff-00-01-01"
MORE = [
    {"at": "00:1e.0", "model": "pci-bridge", "bus": "06"},
    {"at": "06:01.0", "model": "e1000e", "mac": "52:54:00:00:06:01"},
    {"at": "06:02.0", "model": "e1000e", "mac": "52:54:00:00:06:02"},
    {"at": "00:1b.0", "model": "root-port", "bus": "10"},
    {"at": "10:00.0", "model": "switch-up", "bus": "11"},
    {"at": "11:00.0", "model": "switch-down", "bus": "12"},
    {"at": "11:01.0", "model": "switch-down", "bus": "13"},
    {"at": "12:00.0", "model": "e1000e", "mac": "52:54:00:00:12:00"},
    {"at": "13:00.0", "model": "e1000e", "mac": "52:54:00:00:13:00"},
]


class Server:
    """A simulated host, the modules on it, and the hand of somebody else."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "h"
        self._forks: ModuleForks | None = None
        self.boot(HIDDEN)

    def close(self) -> None:
        if self._forks is not None:
            self._forks.close()
        daemon.stop(self.directory)

    def boot(self, *hidden: str, **changed: dict[str, Any]) -> None:
        """With these devices hidden, and others changed by their address; of files, ours below /var stay."""
        description = json.loads((Path(daemon.__file__).parent / "machines" / "small-server.json").read_text())
        description["devices"] = [{**one, **changed.get(one["at"], {})} for one in (*description["devices"], *MORE)]
        description["hidden"] = hidden
        machine, kept = self.directory.parent / "machine.json", self.directory.parent / "kept"
        ours = self.directory / "var/lib/xen.pci"
        machine.write_text(json.dumps(description))
        if self.directory.exists():
            daemon.stop(self.directory)
            if ours.exists():
                shutil.move(ours, kept)
            shutil.rmtree(self.directory, ignore_errors=True)
        daemon.start(str(machine), self.directory)
        if kept.exists():
            shutil.move(kept, ours)
        variables = daemon.RunDirectory(self.directory).environment()
        variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], *sys.path])
        self.environment = {**os.environ, **variables}

    def start(self, module: str, check: bool = False, **arguments: Any) -> subprocess.Popen[str]:
        began = subprocess.Popen(
            [sys.executable, "-m", f"{MODULES}.{module}"],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert began.stdin is not None
        began.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check}}))
        began.stdin.close()
        began.stdin = None  # communicate would flush it
        return began

    def end(self, began: subprocess.Popen[str]) -> dict[str, Any]:
        output, errors = began.communicate()
        assert output.strip(), errors
        return dict(json.loads(output))

    def run(self, module: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        if self._forks is None:
            self._forks = ModuleForks(self.environment)
        return dict(self._forks.run(module, {**arguments, "_ansible_check_mode": check}))

    def assign(self, *devices: Any, **more: Any) -> dict[str, Any]:
        return self.run("assignable_devices", devices=list(devices), **more)

    def facts(self, device: str) -> dict[str, Any]:
        return next(one for one in self.run("host_info")["devices"] if one["address"] == device)

    def xl(self, *words: str) -> None:
        subprocess.run(["xl", *words], env=self.environment, check=True, capture_output=True)

    def write(self, file: str, text: str) -> None:
        """What `echo TEXT > FILE` does; sysfs acts on it only in a Python of this host."""
        script = f"open({str(self.directory / 'sys/bus/pci' / file)!r}, 'w').write({text!r})"
        subprocess.run([sys.executable, "-c", script], env=self.environment, check=True)

    def store(self, node: str, value: str) -> None:
        """What `xenstore-write` does."""
        script = f"import {XENSTORE} as it\nwith it.XenStore.open() as store:\n    store.write({node!r}, {value!r})"
        subprocess.run([sys.executable, "-c", script], env=self.environment, check=True)

    def count(self, device: str) -> int:
        return len(list((self.directory / "sys/bus/pci/devices" / device).glob("virtfn*")))

    def driver(self, device: str) -> str | None:
        link = self.directory / "sys/bus/pci/devices" / device / "driver"
        return link.resolve().name if link.exists() else None


@pytest.fixture(scope="module")
def untouched() -> Iterator[Server]:
    yield from _server()


@pytest.fixture
def server() -> Iterator[Server]:
    yield from _server()


def _server() -> Iterator[Server]:
    with short_directory() as directory:
        server = Server(directory)
        try:
            yield server
        finally:
            server.close()


def codes(result: dict[str, Any]) -> set[str]:
    """Codes of all refusals of a run that was refused."""
    assert result["failed"], result
    return {refusal["code"] for refusal in result["refusals"]}


@pytest.mark.parametrize(
    ("device", "check", "words"),
    [
        ("0000:00:1c.0", "bridge", "Give away the devices behind it"),
        ("0000:00:1f.2", "disk", "sda is mounted on /"),
        ("0000:00:03.0", "network", "is network interface mgmt0, which is up"),
        ("0000:00:02.0", "console", "the firmware's display"),
        ("0000:00:1f.3", "mainboard", "class 0c0500"),
        (EDU, "shared-interrupt", "neither MSI nor MSI-X"),
        (BEHIND_BRIDGE[0], "group", f"IOMMU group as {BEHIND_BRIDGE[1]}"),
        (
            BEHIND_SWITCH[0],
            "acs",
            f"same switch as {BEHIND_SWITCH[1]}, which would have a different owner, and port 0000:11:",
        ),
    ],
)
def test_what_must_stay_is_refused_with_the_evidence(untouched: Server, device: str, check: str, words: str) -> None:
    before = untouched.driver(device)
    result = untouched.assign(device)
    assert result["failed"]
    assert check in codes(result) and words in result["msg"]
    assert untouched.driver(device) == before
    if check != "group":
        facts = untouched.facts(device)
        assert not facts["free"]
        assert check in [one["check"] for one in facts["refusals"]]


def test_a_disk_that_qemu_serves_to_a_guest_must_stay(server: Server) -> None:
    server.store("/local/domain/0/backend/qdisk/1/51712/params", "aio:/dev/nvme0n1")
    server.store("/local/domain/0/backend/qdisk/1/51712/dev", "xvda")
    result = server.assign(NVME)
    (refusal,) = result["refusals"]
    assert (refusal["code"], refusal["subject"]) == ("disk", NVME)
    assert "disk nvme0n1: nvme0n1 is xvda of domain g1 (1), served by QEMU" in result["msg"]
    assert server.driver(NVME) == "nvme"
    catalog = {"scratch": {"nvme_serial": "NV1", "waive": {"disk": "the guest is about to be destroyed"}}}
    assert server.assign("scratch", catalog=catalog)["waived"][0]["check"] == "disk"


def test_a_device_that_died_is_given_to_nobody_and_stays_with_pciback(server: Server) -> None:
    server.assign(NIC)
    config = (server.directory / "sys/bus/pci/devices" / NIC / "config").resolve()
    config.write_bytes(b"\xff" * 4096)
    facts = server.facts(NIC)
    assert (facts["answers"], facts["free"], facts["assignable"]) == (False, False, True)
    refused = server.run("domain_devices", domains={"g1": {"devices": [NIC]}})
    assert codes(refused) == {"dead"} and not refused["refusals"][0]["waivable"]
    back = server.assign(NIC, state="absent")
    assert f"{NIC} does not answer" in back["msg"] and "all is as before this run" in back["msg"]
    assert server.driver(NIC) == "pciback"


def test_a_faulty_waiver_is_refused(untouched: Server) -> None:
    for waive, wrong in ({"bridge": "I dare"}, {"waiver", "bridge"}), ({"disk": ""}, {"catalog-value"}):
        result = untouched.assign("x", catalog={"x": {"address": "00:1c.0", "waive": waive}})
        assert result["failed"] and codes(result) == wrong


def test_a_waiver_is_recorded_and_a_group_goes_together(server: Server) -> None:
    edu = {"path": "0000:00/09.0", "waive": {"shared-interrupt": "the others use MSI-X"}}
    result = server.assign("edu", *BEHIND_BRIDGE, catalog={"edu": edu})
    assert not result.get("failed"), result
    (waived,) = result["waived"]
    assert (waived["address"], waived["check"], waived["waiver"]) == (EDU, "shared-interrupt", "the others use MSI-X")
    trace = subprocess.run(
        [sys.executable, "-m", "simulated_xen", "trace", "--dir", str(server.directory)],
        env=server.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "the others use MSI-X" in trace
    assert not server.assign("edu", *BEHIND_BRIDGE, catalog={"edu": edu})["changed"]
    only = {"g1": {"devices": [BEHIND_BRIDGE[0]]}, "g2": {"devices": [BEHIND_BRIDGE[1]]}}
    split = server.run("domain_devices", domains=only)
    assert codes(split) == {"group"}
    together = server.run("domain_devices", domains={"g1": {"devices": list(BEHIND_BRIDGE)}})
    assert not together.get("failed"), together


def test_what_a_switch_without_acs_ties_goes_together_or_with_a_reason(server: Server) -> None:
    assert server.facts("0000:11:00.0")["acs"] == "absent"
    assert server.facts("0000:00:1b.0")["acs"] == "on"
    assert not server.assign(*BEHIND_SWITCH).get("failed")
    only = {"g1": {"devices": [BEHIND_SWITCH[0]]}, "g2": {"devices": [BEHIND_SWITCH[1]]}}
    split = server.run("domain_devices", domains=only)
    assert codes(split) == {"acs"} and all(one["waivable"] for one in split["refusals"])
    catalog = {
        name: {"address": sbdf, "waive": {"acs": "both guests are one tenant's"}}
        for name, sbdf in zip(("left", "right"), BEHIND_SWITCH, strict=True)
    }
    only = {"g1": {"devices": ["left"]}, "g2": {"devices": ["right"]}}
    assert not server.run("domain_devices", domains=only, catalog=catalog).get("failed")


def test_memory_that_firmware_keeps_devices_at_is_told_and_refused_if_shared(server: Server) -> None:
    own, shared = "7b800000-7bffffff", "e0000-effff"
    server.boot(
        **{NVME[5:]: {"reserved": [own]}, NIC[5:]: {"reserved": [shared]}, OTHER_NIC[5:]: {"reserved": [shared]}}
    )
    taken = server.assign(NVME)
    assert not taken.get("failed"), taken
    assert f"firmware reserves memory 0x7b800000-0x7bffffff for {NVME}" in str(taken["warnings"])
    refused = server.assign(NIC)
    assert codes(refused) == {"reserved-memory"} and not refused["refusals"][0]["waivable"]
    facts = server.facts(NIC)
    assert facts["reserved_memory"] == ["0xe0000-0xeffff"] and not facts["free"]
    waived = {"address": NIC, "waive": {"reserved-memory": "the other device goes to the same guest"}}
    assert codes(server.assign("uplink", catalog={"uplink": waived})) == {"reserved-memory"}
    catalog = {"uplink": {**waived, "rdm_policy": "relaxed"}}
    assert not server.assign("uplink", catalog=catalog).get("failed")


def test_functions_of_one_card_without_acs_cause_one_warning(server: Server) -> None:
    result = server.assign("0000:00:08.0")
    (warning,) = [str(warning) for warning in result["warnings"] if "ACS" in str(warning)]
    assert "same card" in warning and "0000:00:08.0 with pciback; 0000:00:08.1 with the host" in warning


def test_a_moved_device_is_used_where_it_is_and_the_move_is_told(server: Server) -> None:
    catalog = {"uplink": {"address": OTHER_NIC, "serial": SERIAL}}
    result = server.assign("uplink", catalog=catalog)
    assert result["moved"] == [f"uplink moved {OTHER_NIC} → {NIC}"]
    assert any("uplink moved" in str(warning) for warning in result["warnings"])
    assert (server.driver(NIC), server.driver(OTHER_NIC)) == ("pciback", "e1000e")
    attached = server.run("domain_devices", domains={"g1": {"devices": ["uplink"]}}, catalog=catalog)
    assert attached["moved"] == result["moved"]
    assert attached["domains"][0]["after"] == [NIC]


def test_what_may_be_absent_is_skipped_and_named(server: Server) -> None:
    catalog = {"card": {"slot": "7", "required": False}, "uplink": {"serial": SERIAL}}
    result = server.assign("card", "uplink", catalog=catalog)
    assert result["missing"] == ["card"]
    assert [one["name"] for one in result["devices"]] == ["uplink"]
    both = server.run("domain_devices", domains={"g1": {"devices": ["card", "uplink"]}}, catalog=catalog)
    assert (both["missing"], both["domains"][0]["after"]) == (["card"], [NIC])
    alone = server.run("domain_devices", domains={"g2": {"devices": ["card"]}}, catalog=catalog)
    assert (alone["changed"], alone["missing"]) == (False, ["card"])
    catalog["card"]["required"] = True
    (refusal,) = server.assign("card", catalog=catalog)["refusals"]
    assert (refusal["code"], refusal["subject"]) == ("absent", "card")


def test_names_may_be_in_any_script(server: Server) -> None:
    server.store("/local/domain/2/name", "bürő")
    catalog = {"网卡": {"address": NIC, "waive": {"acs": "csak ő"}}}
    assert server.assign("网卡", catalog=catalog)["devices"][0]["driver_after"] == "pciback"
    given = server.run("domain_devices", domains={"bürő": {"devices": ["网卡"]}}, catalog=catalog)
    assert given["actions"] == [f"bürő: add {NIC}"]
    assert server.facts(NIC)["domain"] == "bürő"


def test_a_pool_is_filled_shared_and_kept(server: Server) -> None:
    pool = {"select": "[?driver=='e1000e' || assignable]", "class": "02", "count": 3}
    catalog: dict[str, Any] = {"nics": pool, "own": {"serial": SERIAL}}
    planned = server.run("assignable_devices", check=True, devices=["nics"], catalog=catalog)
    taken = server.assign("nics", catalog=catalog)
    assert taken["actions"] == planned["actions"]
    chosen = {one["address"] for one in taken["devices"]}
    assert HIDDEN in chosen and NIC not in chosen and "0000:00:03.0" not in chosen
    assert not server.assign({"from": "nics", "count": 1}, catalog=catalog)["changed"]
    domains = {"g1": {"devices": [{"from": "nics", "count": 2}]}, "g2": {"devices": [{"from": "nics"}]}}
    shared = server.run("domain_devices", domains=domains, catalog=catalog)
    assert not shared.get("failed"), shared
    assert {device for one in shared["domains"] for device in one["after"]} == chosen
    for module, arguments in ("domain_devices", {"domains": domains}), ("assignable_devices", {"devices": ["nics"]}):
        assert not server.run(module, catalog=catalog, **arguments)["changed"]
    pool["count"] = 40
    assert "needs 40 devices, but this host" in server.assign("nics", catalog=catalog)["msg"]


def test_a_device_listed_twice_is_refused(server: Server) -> None:
    server.assign(NIC)
    result = server.run("domain_devices", domains={"g1": {"devices": [NIC, NIC]}})
    assert "listed-twice" in codes(result) and f"{NIC} is declared twice for g1" in result["msg"]
    pool = {"nics": {"class": "02", "free": False}}
    for again in ({"from": "nics"}, "nics"):
        result = server.run("domain_devices", domains={"g1": {"devices": [{"from": "nics"}, again]}}, catalog=pool)
        assert "listed-twice" in codes(result) and "nics is declared twice for g1" in result["msg"]


@pytest.mark.parametrize("check", [True, False], ids=["check mode", "run"])
def test_what_cannot_be_meant_is_refused(untouched: Server, check: bool) -> None:
    both = {"g1": {"devices": [NIC], "state": "absent", "exclusive": True}}
    refused = untouched.run("domain_devices", check, domains=both)
    assert codes(refused) == {"exclusive-absent"}
    assert untouched.driver(NIC) == "e1000e"
    assert untouched.facts(HIDDEN)["domain"] is None


def test_what_was_hidden_at_boot_is_quarantined_once(server: Server) -> None:
    assert not server.facts(HIDDEN)["quarantined"]
    first, second = server.assign(HIDDEN), server.assign(HIDDEN)
    assert "quarantine" in first["actions"][0]
    assert not second["changed"]
    assert server.facts(HIDDEN)["quarantined"]


def test_the_files_of_the_next_boot_are_the_hosts_own(server: Server) -> None:
    (server.directory / "run/systemd/system").mkdir(parents=True)
    kept = server.assign(NIC, persistent=True)
    assert kept["devices"][0]["held"] == server.facts(NIC)["held"] == "both"
    unit = server.directory / "etc/systemd/system/xen-pci-assignable.service"
    assert f"xl pci-assignable-add {NIC}" in unit.read_text()
    assert not server.assign(NIC, persistent=True)["changed"]


def test_devices_that_moved_are_told_when_the_next_boot_cannot_be_set(server: Server) -> None:
    (server.directory / "run/systemd/system").mkdir(parents=True)
    (server.directory / "etc/systemd").write_text("no directory")
    moved = server.assign(NIC, persistent=True)
    assert moved["failed"] and moved["changed"] and server.driver(NIC) == "pciback"
    assert "the boot configuration could not be changed and is as before" in moved["msg"]
    again = server.assign(NIC, persistent=True)
    assert again["failed"] and not again["changed"]


def test_permissive_is_not_passed_on_but_cleared_or_declared(server: Server) -> None:
    server.assign(NIC)
    server.write("drivers/pciback/permissive", NIC)
    assert server.facts(NIC)["permissive"]
    refused = server.run("domain_devices", domains={"g1": {"devices": [NIC]}})
    assert codes(refused) == {"permissive"}
    assert "clear its permissive flag" in server.assign(NIC)["actions"][0]
    assert not server.facts(NIC)["permissive"]
    catalog = {"gpu": {"serial": SERIAL, "permissive": "its driver writes vendor registers"}}
    declared = server.assign("gpu", catalog=catalog)
    assert "its driver writes vendor registers" in declared["actions"][0]
    assert server.facts(NIC)["permissive"]
    assert not server.assign("gpu", catalog=catalog)["changed"]
    attached = server.run("domain_devices", domains={"g1": {"devices": ["gpu"]}}, catalog=catalog)
    assert not attached.get("failed"), attached


def test_half_of_a_take_is_finished(server: Server) -> None:
    server.write(f"devices/{NIC}/driver/unbind", NIC)
    server.write("drivers/pciback/new_slot", NIC)
    assert server.facts(NIC)["in_slots"]
    assert server.assign(NIC)["changed"]
    assert server.driver(NIC) == "pciback"
    assert not server.assign(NIC)["changed"]


def test_half_of_a_release_is_finished(server: Server) -> None:
    server.xl("pci-assignable-add", NIC)
    server.write("drivers/pciback/unbind", NIC)
    result = server.assign(NIC, state="absent")
    assert "finish the release" in result["actions"][0]
    assert server.driver(NIC) == "e1000e"
    assert (server.facts(NIC)["in_slots"], server.facts(NIC)["recorded_driver"]) == (False, None)
    assert not server.assign(NIC, state="absent")["changed"]


# ---- the memory of an earlier boot


def test_what_hidden_devices_are_is_remembered_over_a_reboot_and_said_so(server: Server) -> None:
    catalog = {"scratch": {"nvme_serial": "NV1"}, "uplink": {"mac": "52:54:00:00:01:01"}}
    assert server.assign("scratch", "uplink", catalog=catalog)["changed"]
    server.boot(NVME, NIC)
    assert server.facts(NVME)["remembered"] and server.facts(NVME)["nvme_serial"] == "NV1"
    again = server.assign("scratch", "uplink", catalog=catalog)
    assert {one["name"]: one["address"] for one in again["devices"]} == {"scratch": NVME, "uplink": NIC}
    assert any("scratch is taken to be 0000:00:0b.0: an earlier boot read" in str(one) for one in again["warnings"])
    given = server.run("domain_devices", domains={"g1": {"devices": ["scratch"]}}, catalog=catalog)
    assert given["domains"][0]["after"] == [NVME]
    assert any("an earlier boot read" in str(one) for one in given["warnings"])
    assert server.facts(NVME)["remembered"], "it has not been read anew"


def test_a_memory_never_makes_one_device_of_another(server: Server) -> None:
    catalog = {"scratch": {"nvme_serial": "NV1"}, "uplink": {"mac": "52:54:00:00:01:01"}}
    server.assign("scratch", "uplink", catalog=catalog)
    # Another card of the same make, with a serial number of its own, where uplink was; and NV1 is plugged in elsewhere.
    server.boot(NVME, NIC, **{"01:00.0": {"mac": "52:54:00:00:77:77"}, "00:0c.0": {"serial": "NV1"}})
    assert "'uplink' (mac 52:54:00:00:01:01) could be" in server.assign("uplink", catalog=catalog)["msg"]
    found = server.run("assignable_devices", check=True, devices=["scratch"], catalog=catalog)
    assert [one["address"] for one in found["devices"]] == ["0000:00:0c.0"]
    assert not server.facts(NVME)["remembered"] and not server.facts(NIC)["remembered"]


# ---- two runs at once

CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("assignable_devices", {"devices": [NIC]}),
    ("virtual_functions", {"physical_functions": [{"pf": SRIOV, "count": 2}]}),
)


@contextmanager
def another_run(server: Server) -> Iterator[None]:
    """Another run of the collection is changing the host, in a process of its own."""
    script = f"import sys, {LOCK} as lock\nwith lock.run_lock(5):\n    print('held', flush=True)\n    sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], env=server.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        yield
        other.communicate()


def open_files(pid: int) -> set[str]:
    """What a process has open; it may open and close others while we look."""
    found = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(os.readlink(one))
    return found


@pytest.mark.parametrize(("module", "arguments"), CHANGES)
def test_a_run_waits_for_another_and_gives_up_in_time(server: Server, module: str, arguments: dict[str, Any]) -> None:
    with another_run(server):
        assert server.run(module, check=True, **arguments)["changed"], "looking needs no lock"
        late = server.run(module, timeout=1, **arguments)
        assert late["failed"] and "another run of xen.pci has been changing this host" in late["msg"]
        waiting = server.start(module, **arguments)
        lock = str(Path(server.environment["XENSTORED_PATH"]).parent.resolve())
        while lock not in open_files(waiting.pid):
            assert waiting.poll() is None, "it ended although another run has the host"
        assert (server.driver(NIC), server.count(SRIOV)) == ("e1000e", 0)
    assert server.end(waiting)["changed"]
    assert not server.run(module, **arguments)["changed"]


def test_of_two_runs_with_one_declaration_one_changes_the_host_and_both_succeed(server: Server) -> None:
    devices = [NIC, OTHER_NIC, "0000:03:00.0", "0000:00:0b.0", "0000:00:0c.0"]
    for state in "present", "absent", "present":
        both = [server.start("assignable_devices", devices=devices, state=state) for _run in range(2)]
        results = [server.end(one) for one in both]
        assert not any(one.get("failed") for one in results), results
        assert sorted(one["changed"] for one in results) == [False, True]
