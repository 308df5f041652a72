# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated host with the engine on it, and what is true there: its kernels, its guests, its Xen, their faults."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.model.stored_config import configured
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from simulated_xen import daemon
from simulated_xen.interpreter.xen.lowlevel._simulator import request

A, B, C, D = (f"0000:{bus:02x}:00.0" for bus in (1, 2, 3, 4))
TWINS = "0000:00:08.0", "0000:00:08.1"
QUARANTINE = 0x7FF1
SHORT, AMPLE = 1.0, 60.0


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
            self._engine = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("engine_process.py"))],
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

    def xl(self, *words: str) -> None:
        """Have xl do something beside us."""
        run = daemon.RunDirectory(self._directory)
        subprocess.run([self._directory / "bin" / "xl", *words], env={**os.environ, **run.environment()}, check=True)

    def write_sysfs(self, file: str, text: str) -> None:
        """Have an administrator write to a file of sysfs."""
        self.ask("sysfs-write", path=str(self._directory / "sys" / file), data=text)

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

    def lock(self, name: str) -> int:
        """Take libxl's lock of a domain's devices, as another toolstack; closing the descriptor releases it."""
        guest = self.guest(name)
        file = self.record(guest).with_name(f"userdata-l.{guest['domid']}.{guest['uuid']}.libxl-device-changes-lock")
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

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


def wants(name: str, *devices: str, exclusive: bool = False, present: bool = True) -> dict[str, Any]:
    return {"name": name, "devices": devices, "exclusive": exclusive, "present": present}
