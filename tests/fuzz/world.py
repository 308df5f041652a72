# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated host that an episode plays on: what can be done to it, and a look at its inner state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from machines import Machine
from simulated import AMPLE, Host, answer, end
from truth import Truth, marker

from simulated_xen import daemon
from simulated_xen.interpreter.xen.lowlevel._simulator import Refused
from simulated_xen.tools.store_client import StoreClient

#: Real seconds after which a run of a module counts as hanging: a hundred times what the slowest needs.
PATIENCE = 300.0
#: Notes that it runs, ends the process that started xl, if somebody has asked for that; then it is xl.
KILLING_XL = """#!/bin/sh
echo $$ >>"$0.started"
if rm "$0.kills" 2>/dev/null; then kill -9 $PPID; fi
exec "$0.real" "$@"
"""


class Hung(Exception):
    """A run of a module did not end."""


class World(Host):
    """One machine after the other, with a process that runs modules on it, and a second one for races."""

    machine: Machine

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._second: subprocess.Popen[str] | None = None
        self.faults: list[tuple[str, dict[str, Any]]] = []

    def boot(self, machine: Machine) -> None:
        """Start this machine from the beginning."""
        self.machine, self.quarantined = machine, machine.quarantined
        self.faults = []
        self._machine.write_text(json.dumps(machine.description()))
        self.restart()

    def start(self) -> None:
        super().start()
        xl = self.directory / "bin" / "xl"
        xl.rename(xl.with_name("xl.real"))
        xl.write_text(KILLING_XL)
        xl.chmod(0o755)

    def close(self) -> None:
        if self._second is not None:
            end(self._second)
        super().close()

    # -- modules

    def play(self, module: str, parameters: dict[str, Any], **how: Any) -> dict[str, Any]:
        """Run a module; `kill_at` may also be xl, which is the moment when it has started xl."""
        if how.get("kill_at") == "xl":
            del how["kill_at"]
            (self.directory / "bin" / "xl.kills").touch()
        try:
            with self._watched(self._process):
                return self.run(module, parameters, **how)
        finally:
            (self.directory / "bin" / "xl.kills").unlink(missing_ok=True)

    def play_both(self, module: str, first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
        """Run a module twice at once."""
        if self._second is None:
            self._second = self.modules()
        other, results = self._second, []
        beside = threading.Thread(target=lambda: results.append(answer(other, module, second)))
        with self._watched(self._process), self._watched(other):
            beside.start()
            result = self.run(module, first)
            beside.join()
        if not results or "crashed" in results[0]:
            raise AssertionError(f"the module crashed: {self.log.read_text()[-3000:]}")
        return [result, *results]

    @contextmanager
    def _watched(self, process: subprocess.Popen[str] | None) -> Iterator[None]:
        """Kill a run that hangs, so that its result says so."""
        assert process is not None
        hung = threading.Event()

        def kill() -> None:
            hung.set()
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)

        timer = threading.Timer(PATIENCE, kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        if hung.is_set():
            raise Hung(f"a run did not end within {PATIENCE:.0f} s")

    # -- others

    def inject(self, fault: str, **arguments: Any) -> None:
        """Cause a fault, and remember how to end it."""
        super().inject(fault, **arguments)
        self.faults.append((fault, arguments))

    def calm(self) -> None:
        """End all faults, and let paused guests run."""
        for fault, arguments in self.faults:
            ending = ENDINGS.get(fault)
            if ending is not None:
                self._quietly(lambda ending=ending, arguments=arguments: ending(self, arguments))
        self.faults = []
        for domain in self.ask("list"):
            if domain["paused"]:
                self.ask("pause", domain=str(domain["domid"]), paused=False)
        self.rest()

    @staticmethod
    def _quietly(act: Callable[[], object]) -> None:
        with suppress(Refused, OSError):  # what it was about is gone
            act()

    @contextmanager
    def store(self) -> Iterator[StoreClient]:
        """A connection to xenstored that has nothing of the product in it."""
        client = StoreClient(str(daemon.RunDirectory(self.directory).store_socket))
        try:
            yield client
        finally:
            client.close()

    def sysfs(self, path: str, text: str) -> None:
        """A write to sysfs; what the kernel refuses is not done."""
        self._quietly(lambda: self.ask("sysfs-write", path=os.path.realpath(self.directory / "sys" / path), data=text))

    def stored(self, name: str) -> Path | None:
        """libxl's stored configuration of a domain."""
        found = [domain for domain in self.ask("list") if domain["name"] == name]
        files = [] if not found else [*self._libxl.glob(f"userdata-d.{found[0]['domid']}.*.libxl-json")]
        return files[0] if files else None

    @property
    def _libxl(self) -> Path:
        return self.directory / "var" / "lib" / "xen"

    def rest(self) -> None:
        """Wait for all kernels and xl; a store that does not answer lets none come to rest."""
        if {"store-frozen", "store-down"} & {fault for fault, _arguments in self.faults}:
            return
        # One whose run was killed goes on, and is no client of xenstored before it has started up.
        started = self.directory / "bin" / "xl.started"
        if started.exists():
            deadline = time.monotonic() + AMPLE
            while any(map(_runs, started.read_text().split())):
                assert time.monotonic() < deadline, "a process of xl does not end"
                time.sleep(0.01)
            started.unlink()
        super().rest()

    # -- what is true

    def truth(self) -> Truth:
        """The host once it has come to rest."""
        self.rest()
        files = {path.name: path.read_text() for path in self._libxl.glob("userdata-d.*")}
        return Truth(self.ask("inner-state"), files)

    def doings(self, start: int = 0) -> list[str]:
        """What clients of xenstored and hypercalls changed, and resets, from a point of the trace on."""
        entries = self.ask("trace", start=start)
        return [entry.split("]", 1)[1].strip() for entry in entries]

    def path(self, text: str) -> str:
        """A path of xenstore: itself, or back:g1/state-0, front:g1/state, marker:A."""
        kind, colon, rest = text.partition(":")
        if not colon:
            return text
        if kind == "marker":
            return marker(self.address(rest))
        name, _slash, node = rest.partition("/")
        found = next((domain for domain in self.ask("list") if domain["name"] == name), {"domid": 99, "stub": None})
        domid = found["stub"] or found["domid"]  # which has the connection
        if kind == "back":
            return f"/local/domain/0/backend/pci/{domid}/0/{node}".rstrip("/")
        return f"/local/domain/{domid}/device/pci/0/{node}".rstrip("/")

    def address(self, name: str) -> str:
        """The address that a short name means; all other words mean themselves."""
        return self.machine.devices.get(name, name)


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _without(key: str) -> Callable[[World, dict[str, Any]], None]:
    """End a fault by causing it with this argument false."""
    fault = {"deaf": "deaf", "refuse": "refuse-eject", "silent": "qemu-silent"}[key]
    return lambda world, arguments: Host.inject(world, fault, **{**arguments, key: False})


def _end_driver(world: World, arguments: dict[str, Any]) -> None:
    """Have the driver behave, and let go on what it holds up."""
    Host.inject(world, "driver", **{**arguments, "manner": "bind"})
    for device in world.machine.devices.values():
        Host.inject(world, "resume", domain=arguments["domain"], step=f"guest:{device}")


def _disarm(world: World, arguments: dict[str, Any]) -> None:
    Host.inject(world, "disarm", domain=arguments["domain"], step=arguments["step"])


ENDINGS: dict[str, Callable[[World, dict[str, Any]], None]] = {
    "late": lambda world, arguments: Host.inject(world, "late", **{**arguments, "seconds": 0}),
    "silent": lambda world, arguments: Host.inject(world, "resume", **arguments),
    "deaf": _without("deaf"),
    "driver": _end_driver,
    **dict.fromkeys(("pause-at", "die-at", "reboot-at", "end-at", "write-at", "xl-at"), _disarm),
    "refuse-eject": _without("refuse"),
    "eject-late": lambda world, arguments: Host.inject(world, "eject-late", **{**arguments, "seconds": 0}),
    "qemu-silent": _without("silent"),
    "reset-fails": lambda world, arguments: Host.inject(world, "reset-fails", **arguments, fails=False),
    "refuse-export": lambda world, arguments: Host.inject(world, "refuse-export", **arguments, refuse=False),
    "broken": lambda world, arguments: Host.inject(world, "broken", **arguments, broken=False),
    "conflicts": lambda world, arguments: Host.inject(world, "conflicts", count=0),
    "store-down": lambda world, arguments: Host.inject(world, "store-up"),
    "store-frozen": lambda world, arguments: Host.inject(world, "store-frozen", frozen=False),
}
