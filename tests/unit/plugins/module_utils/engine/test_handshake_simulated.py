# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine against the simulated host: its kernels, its guests, its Xen, and their faults.

The simulator wants a Python that was started with its variables, so the engine runs in a process of
its own: this very file, which then answers one run a line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.decisions.plan import DesiredDomain
from ansible_collections.xen.pci.plugins.module_utils.engine.converge import Level, Refused, converge, prepare
from ansible_collections.xen.pci.plugins.module_utils.engine.observe import observe
from ansible_collections.xen.pci.plugins.module_utils.engine.outside import open_outside
from ansible_collections.xen.pci.plugins.module_utils.model.domain_config import configured
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from simulated_xen import daemon
from simulated_xen.interpreter.xen.lowlevel._simulator import request

A, B, C, D = (f"0000:{bus:02x}:00.0" for bus in (1, 2, 3, 4))
TWINS = "0000:00:08.0", "0000:00:08.1"
QUARANTINE = 0x7FF1
SHORT, AMPLE = 0.4, 20.0


# ---- the engine's process


def serve() -> None:
    """Answer each request for a run with what came of it."""
    for line in sys.stdin:
        print(json.dumps(_run(**json.loads(line))), flush=True)


def _run(desired: list[dict[str, Any]], timeout: float, level: str) -> dict[str, Any]:
    wants = [DesiredDomain(**{**want, "devices": tuple(map(Sbdf.parse, want["devices"]))}) for want in desired]
    with open_outside() as outside:
        host = observe(outside.store, outside.sysfs, outside.hypervisor)
        try:
            plan = prepare(host, wants)
        except Refused as refusal:
            return {"refused": refusal.conflicts}
        outcome = converge(outside, host, plan, Level(level), timeout)
    return {
        "changed": outcome.changed,
        "domains": {
            report.name: {
                "after": [str(device) for device in report.after],
                "states": [report.backend_state.value, report.frontend_state.value],
                "connected": [str(one.device) for one in report.evidence if one.connected],
                "active": [str(one.device) for one in report.evidence if one.active],
                "cycles": [
                    {"added": [str(one) for one in cycle.added], "removed": [str(one) for one in cycle.removed]}
                    for cycle in report.cycles
                ],
                "warnings": list(report.warnings),
                "error": report.error,
            }
            for report in outcome.reports
        },
    }


# ---- the host


@dataclass
class Domain:
    """How one domain came out of a run."""

    after: list[str]
    states: list[int]
    connected: list[str]
    active: list[str]
    cycles: list[dict[str, list[str]]]
    warnings: list[str]
    error: str


@dataclass
class Run:
    """What came of a run."""

    refused: list[str] = field(default_factory=list)
    changed: bool = False
    domains: dict[str, Domain] = field(default_factory=dict)


class Simulated:
    """A running simulated host, and the engine's process on it."""

    def __init__(self, directory: Path, machine: Path) -> None:
        self._directory = directory
        self._machine = machine
        self._engine: subprocess.Popen[str] | None = None

    def start(self) -> None:
        daemon.start(str(self._machine), self._directory)
        if self._engine is None:
            variables = daemon.RunDirectory(self._directory).environment()
            variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], *sys.path])
            variables["PATH"] += os.pathsep + os.environ["PATH"]
            self._engine = subprocess.Popen(
                [sys.executable, __file__],
                env={**os.environ, **variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

    def stop(self) -> None:
        daemon.stop(self._directory)

    def close(self) -> None:
        self.stop()
        if self._engine is not None:
            with self._engine as engine:
                assert engine.stdin is not None
                engine.stdin.close()

    def ask(self, do: str, **arguments: Any) -> Any:
        return request(str(self._directory), do, **arguments)

    def inject(self, fault: str, **arguments: Any) -> None:
        self.ask("inject", fault=fault, **arguments)

    def pause(self, domain: str, paused: bool = True) -> None:
        self.ask("pause", domain=domain, paused=paused)

    def run(self, *desired: dict[str, Any], timeout: float = AMPLE, level: str = "connected") -> Run:
        assert self._engine is not None and self._engine.stdin is not None and self._engine.stdout is not None
        question = {"desired": desired, "timeout": timeout, "level": level}
        self._engine.stdin.write(json.dumps(question) + "\n")
        self._engine.stdin.flush()
        line = self._engine.stdout.readline()
        if not line:
            self._engine.communicate()
            self._engine = None
            pytest.fail("the engine ended with an exception: see its standard error")
        answer = json.loads(line)
        answer["domains"] = {name: Domain(**values) for name, values in answer.get("domains", {}).items()}
        return Run(**answer)

    def has(self, name: str, *devices: str) -> None:
        """The guest sees exactly these devices, and Xen, libxl and xenstore agree."""
        guest = self.guest(name)
        eventually(lambda: sorted(seen["host"] for seen in self.guest(name)["devices"].values()) == sorted(devices))
        assert guest["oops"] is None
        owned = [device for device, facts in self.ask("devices").items() if facts["owner"] == guest["domid"]]
        assert sorted(owned) == sorted(devices)
        nodes = self.nodes()
        marked = [
            path for path, value in nodes.items() if path.startswith("/libxl/pci/") and value == str(guest["domid"])
        ]
        assert sorted(marked) == sorted(f"/libxl/pci/{Sbdf.parse(device).libxl_key}/domid" for device in devices)
        assert sorted(map(str, configured(self.stored(guest)))) == sorted(devices)
        back = f"/local/domain/0/backend/pci/{guest['domid']}/0"
        listed = [value for path, value in nodes.items() if path.startswith(f"{back}/dev-")]
        assert sorted(listed) == sorted(devices)
        if devices:
            assert nodes[f"{back}/num_devs"] == str(len(devices))
            assert nodes[f"{back}/state"] == nodes[f"/local/domain/{guest['domid']}/device/pci/0/state"] == "4"
        else:
            assert not [path for path in nodes if path.startswith((back, f"/local/domain/{guest['domid']}/device/pci"))]

    def guest(self, name: str) -> dict[str, Any]:
        return next(domain for domain in self.ask("list") if domain["name"] == name)

    def windows_of(self, devices: Iterable[str]) -> set[tuple[str, int]]:
        """Kind and first frame or port of all windows of these devices, as Linux tells them."""
        windows = set()
        for device in devices:
            file = self._directory / "sys" / "bus" / "pci" / "devices" / device / "resource"
            for line in file.read_text().splitlines()[:7]:
                start, _end, flags = (int(word, 16) for word in line.split())
                if start:
                    windows.add(("ioport", start) if flags & 0x100 else ("iomem", start >> 12))
        return windows

    def windows_given(self, domid: int) -> set[tuple[str, int]]:
        """The same, as a domain holds them in Xen."""
        held: set[tuple[str, int]] = set()
        for line in self.trace():
            writer, kind, who, *rest = line.split(" ")
            if writer == "xen" and kind in ("iomem", "ioport") and who == str(domid):
                window = kind, int(rest[0].partition("+")[0], 16)
                held = held | {window} if rest[1] == "1" else held - {window}
        return held

    def stored(self, guest: dict[str, Any]) -> dict[str, Any]:
        """What libxl would build the guest from at a reboot."""
        return json.loads(self.record(guest).read_text().rstrip("\0"))

    def record(self, guest: dict[str, Any]) -> Path:
        """The file that says so."""
        name = f"userdata-d.{guest['domid']}.{guest['uuid']}.libxl-json"
        return self._directory / "var" / "lib" / "xen" / name

    def forget_creation(self, name: str) -> None:
        """Remove libxl's record of a domain."""
        self.record(self.guest(name)).unlink()

    def owner(self, device: str) -> int:
        return self.ask("devices")[device]["owner"]

    def nodes(self) -> dict[str, str]:
        """All that clients, kernels and guests have left in the store, told from the trace."""
        nodes: dict[str, str] = {}
        for line in self.trace():
            _writer, action, path, value, *_rest = [*line.split(" ", 3), "", ""]
            if action in ("write", "mkdir"):
                nodes[path] = value
            elif action == "rm":
                nodes = {node: kept for node, kept in nodes.items() if node != path and not node.startswith(f"{path}/")}
        return nodes

    def trace(self) -> list[str]:
        """All changes in order, each as its writer, what it did, where, and the value."""
        return [" ".join(line.split("]", 1)[1].split()) for line in self.ask("trace")]

    def acts(self) -> list[str]:
        """What was changed by a client or a hypercall, or reset."""
        return [line for line in self.trace() if line[0] not in "TD"]


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + AMPLE
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def running() -> Iterator[Simulated]:
    # A socket's path is short, and sysfs is faster in memory.
    memory = Path("/dev/shm")
    parent = Path(tempfile.mkdtemp(prefix="xen-pci-", dir=memory if memory.is_dir() else None))
    description = json.loads((Path(daemon.__file__).parent / "machines" / "small-server.json").read_text())
    description["hidden"] = [A, B, C, D, *TWINS]
    machine = parent / "machine.json"
    machine.write_text(json.dumps(description))
    simulated = Simulated(parent / "host", machine)
    try:
        yield simulated
    finally:
        simulated.close()
        shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
def host(running: Simulated) -> Iterator[Simulated]:
    """A host just booted: g1 and g2 wait for devices, g3 has no PCI frontend; six devices are pciback's."""
    running.start()
    yield running
    running.stop()


def wants(name: str, *devices: str, exclusive: bool = False, present: bool = True) -> dict[str, Any]:
    return {"name": name, "devices": devices, "exclusive": exclusive, "present": present}


# ---- what works


def test_a_first_device(host: Simulated) -> None:
    run = host.run(wants("g1", A))
    assert run.changed
    assert run.domains["g1"].error == ""
    assert run.domains["g1"].connected == run.domains["g1"].after == [A]
    assert run.domains["g1"].states == [4, 4]
    host.has("g1", A)


def test_first_devices_at_once_are_one_cycle(host: Simulated) -> None:
    run = host.run(wants("g1", A, B, *TWINS))
    assert run.domains["g1"].cycles == [{"added": [A, B, *TWINS], "removed": []}]
    host.has("g1", A, B, *TWINS)


def test_more_devices_at_once_are_one_cycle(host: Simulated) -> None:
    host.run(wants("g1", A))
    run = host.run(wants("g1", B, C, D))
    assert run.domains["g1"].error == ""
    assert run.domains["g1"].cycles == [{"added": [B, C, D], "removed": []}]
    assert run.domains["g1"].connected == [A, B, C, D]
    host.has("g1", A, B, C, D)


def test_adding_and_removing_together_is_one_cycle(host: Simulated) -> None:
    host.run(wants("g1", A, B, C))
    run = host.run(wants("g1", D, B, exclusive=True))
    assert run.domains["g1"].error == ""
    assert run.domains["g1"].cycles == [{"added": [D], "removed": [A, C]}]
    host.has("g1", B, D)
    assert {host.owner(A), host.owner(C)} == {QUARANTINE}


def test_the_last_device_takes_the_connection_along_and_a_new_one_can_follow(host: Simulated) -> None:
    host.run(wants("g1", A))
    run = host.run(wants("g1", exclusive=True))
    assert (run.changed, run.domains["g1"].error, run.domains["g1"].after) == (True, "", [])
    host.has("g1")
    assert host.owner(A) == QUARANTINE
    assert host.run(wants("g1", A)).domains["g1"].error == ""
    host.has("g1", A)


def test_what_is_as_declared_is_left_alone(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    before = host.acts()
    run = host.run(wants("g1", B, A, exclusive=True), wants("g2", C, present=False))
    assert (run.changed, run.domains["g1"].error, run.domains["g2"].error) == (False, "", "")
    assert host.acts() == before


def test_a_device_moves_between_domains_in_one_run(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    run = host.run(wants("g2", A), wants("g1", B, exclusive=True))
    assert [run.domains[name].error for name in ("g1", "g2")] == ["", ""]
    host.has("g1", B)
    host.has("g2", A)


def test_two_domains_swap_their_only_devices(host: Simulated) -> None:
    host.run(wants("g1", A), wants("g2", B))
    run = host.run(wants("g1", B, exclusive=True), wants("g2", A, exclusive=True))
    assert [run.domains[name].error for name in ("g1", "g2")] == ["", ""]
    host.has("g1", B)
    host.has("g2", A)


def test_a_device_is_reset_on_its_way_between_guests_and_not_twice(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    trace = len(host.acts())
    host.run(wants("g2", A), wants("g1", B, exclusive=True))
    ours = [line for line in host.acts()[trace:] if "reset" in line and A in line]
    assert ours, "given to another guest without a reset"


def test_before_a_guest_can_see_a_device_it_has_all_rights(host: Simulated) -> None:
    host.run(wants("g1", A))
    acts = host.trace()
    assigned = next(number for number, line in enumerate(acts) if f"assign {A} 1" in line)
    asked = next(number for number, line in enumerate(acts) if "/backend/pci/1/0/state 1" in line)
    assert assigned < asked
    host.run(wants("g1", B))
    host.run(wants("g1", B, exclusive=True))
    acts = host.trace()
    taken = max(number for number, line in enumerate(acts) if f"deassign {A} 1" in line)
    let_go = max(number for number, line in enumerate(acts) if "/backend/pci/1/0/state 8" in line)
    assert let_go < taken


def test_a_busy_store_delays_and_does_no_harm(host: Simulated) -> None:
    host.inject("conflicts", count=20)
    assert host.run(wants("g1", A, B)).domains["g1"].error == ""
    host.has("g1", A, B)


@pytest.mark.parametrize("step", ["backend:export", "backend:8", "frontend:7", "frontend:4"])
def test_a_slow_side_is_waited_for(host: Simulated, step: str) -> None:
    host.run(wants("g1", A))
    host.inject("late", domain="0" if step.startswith("backend") else "g1", step=step, seconds=0.2)
    assert host.run(wants("g1", B, C, exclusive=True)).domains["g1"].error == ""
    host.has("g1", B, C)


def test_active_means_that_the_guests_driver_runs(host: Simulated) -> None:
    run = host.run(wants("g1", A, B), level="active")
    assert run.domains["g1"].error == ""
    assert run.domains["g1"].active == [A, B]
    host.inject("driver", domain="g2", manner="refuse", device=C)
    run = host.run(wants("g2", C, D), level="active", timeout=2.0)
    assert C in run.domains["g2"].error and D not in run.domains["g2"].error
    assert "driver" in run.domains["g2"].error
    host.has("g2", C, D)


# ---- what is refused


def test_a_refused_plan_touches_nothing(host: Simulated) -> None:
    host.run(wants("g2", D))
    before = host.trace()
    run = host.run(wants("g1", A, D), wants("g2", "0000:00:1c.0"), wants("g4", B))
    assert len(run.refused) == 3
    assert host.trace() == before


@pytest.mark.parametrize("recorded", [True, False])
def test_a_domain_created_without_passthrough_is_refused_before_anything_is_touched(
    host: Simulated, recorded: bool
) -> None:
    host.ask("create", config={"name": "g4", "passthrough": False})
    if not recorded:
        host.forget_creation("g4")  # another toolstack's domain: only Xen knows
    before = host.trace()
    run = host.run(wants("g4", A), wants("g1", B))
    assert len(run.refused) == 1
    assert "g4" in run.refused[0] and "passthrough" in run.refused[0]
    assert "without IOMMU use" in run.refused[0]
    assert host.trace() == before


def test_a_stored_configuration_that_cannot_be_read_is_told_and_nothing_is_attached(host: Simulated) -> None:
    guest = host.guest("g1")
    good = host.record(guest).read_bytes()
    host.record(guest).write_text("{")
    run = host.run(wants("g1", A))
    assert "libxl-json" in run.domains["g1"].error and not run.changed
    assert host.record(guest).read_text() == "{"
    host.record(guest).write_bytes(good)
    host.has("g1")
    assert host.owner(A) == QUARANTINE


def test_a_domain_of_another_toolstack_gets_devices_without_a_stored_configuration(host: Simulated) -> None:
    host.forget_creation("g1")
    assert host.run(wants("g1", A, B)).domains["g1"].error == ""
    assert host.run(wants("g1", B, exclusive=True)).domains["g1"].error == ""
    assert not host.record(host.guest("g1")).exists()


# ---- what fails, and what is left then


def test_a_guest_without_a_frontend_is_left_as_it_was(host: Simulated) -> None:
    run = host.run(wants("g3", A, B), timeout=SHORT)
    assert "pcifront" in run.domains["g3"].error and "g3" in run.domains["g3"].error
    assert (run.changed, run.domains["g3"].after) == (False, [])
    host.has("g3")
    host.ask("load-pcifront", domain="g3")
    assert host.run(wants("g3", A, B)).domains["g3"].error == ""
    host.has("g3", A, B)


CHANGES: dict[str, dict[str, Any]] = {
    "add": wants("g1", A, B, C),
    "remove": wants("g1", A, exclusive=True),
    "both": wants("g1", A, C, exclusive=True),
    "close": wants("g1", exclusive=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_paused_guest_keeps_what_it_has_and_wakes_up_unharmed(host: Simulated, change: dict[str, Any]) -> None:
    host.run(wants("g1", A, B))
    before = {path: value for path, value in host.nodes().items() if "/pci/" in path}
    host.pause("g1")
    run = host.run(change, timeout=SHORT)
    assert "paused" in run.domains["g1"].error
    assert (run.changed, run.domains["g1"].after) == (False, [A, B])
    assert {path: value for path, value in host.nodes().items() if "/pci/" in path} == before
    assert host.owner(C) in (0, QUARANTINE)
    host.pause("g1", False)
    host.has("g1", A, B)
    assert host.run(change).domains["g1"].error == ""
    host.has("g1", *(change["devices"]))


def test_a_first_device_for_a_paused_guest_is_taken_back(host: Simulated) -> None:
    host.pause("g1")
    run = host.run(wants("g1", A), timeout=SHORT)
    assert "g1" in run.domains["g1"].error
    assert host.owner(A) in (0, QUARANTINE)
    host.pause("g1", False)
    host.has("g1")
    assert host.run(wants("g1", A)).domains["g1"].error == ""
    host.has("g1", A)


@pytest.mark.parametrize("bad", [B, C, D])
def test_a_device_that_pciback_refuses_costs_the_guest_nothing(host: Simulated, bad: str) -> None:
    host.run(wants("g1", A))
    host.inject("refuse-export", device=bad)
    run = host.run(wants("g1", B, C, D))
    assert "pciback" in run.domains["g1"].error
    assert (run.domains["g1"].after, run.domains["g1"].states) == ([A], [4, 4])
    host.has("g1", A)
    host.inject("refuse-export", device=bad, refuse=False)
    assert host.run(wants("g1", B, C, D)).domains["g1"].error == ""
    host.has("g1", A, B, C, D)


def test_removals_stay_done_when_pciback_refuses_the_adds(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    host.inject("refuse-export", device=D)
    run = host.run(wants("g1", B, C, D, exclusive=True))
    assert "pciback" in run.domains["g1"].error
    assert run.domains["g1"].after == [B]
    host.has("g1", B)
    assert host.owner(A) == QUARANTINE


def test_a_first_device_that_pciback_refuses_leaves_nothing(host: Simulated) -> None:
    host.inject("refuse-export", device=B)
    run = host.run(wants("g1", A, B))
    assert "pciback" in run.domains["g1"].error
    host.has("g1")
    assert host.run(wants("g1", A)).domains["g1"].error == ""
    host.has("g1", A)


def test_a_device_that_xen_refuses_leaves_no_right_behind(host: Simulated) -> None:
    host.run(wants("g1", A))
    host.inject("broken", device=C)
    run = host.run(wants("g1", B, C))
    assert C in run.domains["g1"].error
    assert (run.changed, run.domains["g1"].cycles) == (False, [])
    host.has("g1", A)
    host.inject("broken", device=C, broken=False)
    assert host.run(wants("g1", B, C)).domains["g1"].error == ""
    host.has("g1", A, B, C)


def test_a_reset_that_fails_stops_an_add_before_anything_is_given(host: Simulated) -> None:
    host.inject("reset-fails", device=B)
    run = host.run(wants("g1", A, B))
    assert B in run.domains["g1"].error
    host.has("g1")


def test_a_reset_that_fails_after_a_removal_is_told_and_the_guest_keeps_no_right(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    host.inject("reset-fails", device=B)
    run = host.run(wants("g1", A, exclusive=True))
    assert B in run.domains["g1"].error
    host.has("g1", A)
    assert host.owner(B) == QUARANTINE


def test_a_move_from_a_guest_that_does_not_let_go_changes_neither(host: Simulated) -> None:
    host.run(wants("g1", A, B), wants("g2", C))
    host.pause("g1")
    run = host.run(wants("g2", A, D), wants("g1", B, exclusive=True), timeout=SHORT)
    assert "paused" in run.domains["g1"].error
    assert A in run.domains["g2"].error and "g1" in run.domains["g2"].error
    host.pause("g1", False)
    host.has("g1", A, B)
    host.has("g2", C)


def test_one_domain_that_fails_holds_up_no_other(host: Simulated) -> None:
    run = host.run(wants("g3", A), wants("g1", B), wants("g2", C), timeout=2.0)
    assert [bool(run.domains[name].error) for name in ("g1", "g2", "g3")] == [False, False, True]
    host.has("g1", B)
    host.has("g2", C)
    host.has("g3")


DEATHS: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "first device": ([], wants("g1", B), "frontend:1"),
    "more devices": ([A], wants("g1", B), "frontend:7"),
    "last device": ([B], wants("g1", exclusive=True), "frontend:5"),
}


@pytest.mark.parametrize(("before", "change", "step"), DEATHS.values(), ids=DEATHS)
def test_a_guest_that_dies_in_the_cycle_is_told_as_dead_and_keeps_nothing(
    host: Simulated, before: list[str], change: dict[str, Any], step: str
) -> None:
    if before:
        host.run(wants("g1", *before))
    host.inject("die-at", domain="g1", step=step)
    run = host.run(change, wants("g2", C), timeout=5.0)
    assert "died" in run.domains["g1"].error
    assert run.domains["g2"].error == ""
    host.has("g2", C)
    assert host.owner(B) in (0, QUARANTINE)
    # xl hands no device out that is marked as taken.
    assert f"/libxl/pci/{Sbdf.parse(B).libxl_key}/domid" not in host.nodes()


def test_a_toolstack_that_is_faster_is_noticed_at_the_commit(host: Simulated) -> None:
    host.run(wants("g1", A, B), wants("g2", C))
    # While g2 waits for A, somebody else marks its device for removal.
    node = "/local/domain/0/backend/pci/2/0/state-0"
    host.inject("write-at", domain="g1", step="frontend:7", path=node, value="5")
    run = host.run(wants("g2", A), wants("g1", B, exclusive=True))
    assert "another toolstack" in run.domains["g2"].error
    assert run.domains["g1"].error == ""
    host.has("g1", B)
    assert host.owner(A) == QUARANTINE
    assert host.windows_given(2) == host.windows_of([C])
    assert host.nodes()[node] == "5"


if __name__ == "__main__":
    serve()
