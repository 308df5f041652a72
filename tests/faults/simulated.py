# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated host with the real modules on it, and what is true there whatever the modules say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from short_path import short_directory

from simulated_xen import daemon
from simulated_xen.interpreter.xen.lowlevel._simulator import request

A, B, C, D = (f"0000:{bus:02x}:00.0" for bus in (1, 2, 3, 4))
TWIN_0, TWIN_1 = "0000:00:08.0", "0000:00:08.1"
DEVICES = (A, B, C, D, TWIN_0, TWIN_1)
#: Its driver uses MSI, not MSI-X.
SOUND = "0000:00:1b.0"
#: Their registers are in one page of memory.
USB = ("0000:00:1a.0", "0000:00:1d.0")
#: An interface in use, and a disk that is mounted.
OTHERS = ("0000:00:03.0", "0000:00:1f.2")
QUARANTINE = 0x7FF1
AMPLE = 60.0
ALL = 1000
HOSTS = Path(__file__).with_name("host_process.py")
MODULES = Path(__file__).resolve().parents[1] / "support" / "module_process.py"
_NO_IRQ = (0, 255)
#: How long xl waits for a backend, whoever starts it.
HASTE = {"SIMULATED_XL_WAIT": "0.3"}


class Rights:
    """What Xen has given to each domain, followed through the trace; and all nodes of xenstore."""

    def __init__(self) -> None:
        self._seen = 0
        self.frames: dict[int, set[int]] = {}
        self.ports: dict[int, set[int]] = {}
        self.irqs: dict[int, set[int]] = {}
        self.nodes: dict[str, str] = {}

    def follow(self, ask: Callable[..., Any]) -> None:
        """Take in what has happened since the last call."""
        entries = ask("trace", start=self._seen)
        self._seen += len(entries)
        for entry in entries:
            writer, action, *rest = [*entry.split("]", 1)[1].split(), "", "", ""]
            if writer == "xen":
                self._hypercall(action, rest)
            elif action in ("write", "mkdir"):
                self.nodes[rest[0]] = entry.split(rest[0], 1)[1].strip() if action == "write" else ""
            elif action == "rm":
                gone = [node for node in self.nodes if node == rest[0] or node.startswith(f"{rest[0]}/")]
                for node in gone:
                    del self.nodes[node]

    def _hypercall(self, name: str, words: list[str]) -> None:
        if name in ("iomem", "ioport"):
            held = (self.frames if name == "iomem" else self.ports).setdefault(int(words[0]), set())
            first, _plus, count = words[1].partition("+")
            numbers = range(int(first, 16), int(first, 16) + int(count, 16))
            held.update(numbers) if words[2] == "1" else held.difference_update(numbers)
        elif name == "irq":
            held = self.irqs.setdefault(int(words[0]), set())
            held.add(int(words[1])) if words[2] == "1" else held.discard(int(words[1]))


#: The physical function of `Host(linux=...)`, and its virtual ones.
PF, VF_1, VF_2, VF_3 = (f"0000:05:00.{function}" for function in range(4))


def machine(more: Collection[str] = (), linux: str = "") -> dict[str, Any]:
    """The small server without the devices that no scenario is about: each look at the host reads all.

    With `more` at these addresses, simple ones. With another `linux` in dom0, and then with virtual functions.
    """
    description: dict[str, Any] = json.loads((Path(daemon.__file__).parent / "machines/small-server.json").read_text())
    kept = {*DEVICES, *OTHERS}
    description["devices"] = [one for one in description["devices"] if f"0000:{one['at']}" in kept or "bus" in one]
    others = {SOUND: "hd-audio", **dict.fromkeys(USB, "ehci"), **dict.fromkeys(more, "edu")}
    description["devices"] += [{"at": at.removeprefix("0000:"), "model": model} for at, model in others.items()]
    if linux:
        description["devices"] = [one for one in description["devices"] if f"0000:{one['at']}" != PF]
        description["devices"].append({"at": PF.removeprefix("0000:"), "model": "igb", "numvfs": 3})
        description["linux"] = linux
    return {**description, "hidden": [*DEVICES, *others]}


class Host:
    """A running simulated host: g1 and g2 take devices, g3 has no PCI frontend; pciback has nine devices, or more."""

    quarantined = True

    def __init__(self, directory: Path, more: Collection[str] = (), linux: str = "") -> None:
        self.directory = directory
        self._machine = directory.with_name(f"{directory.name}.json")
        self._machine.write_text(json.dumps(machine(more, linux)))
        self.log = directory.with_name(f"{directory.name}.log")
        self._hosts = process_of(HOSTS, {**os.environ, **HASTE, "PYTHONPATH": os.pathsep.join(sys.path)})
        self._process: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()
        self.rights = Rights()

    # -- its life

    def start(self) -> None:
        """Boot it. Its devices are in quarantine, as `assignable_devices` leaves them, if they are to be."""
        run = daemon.prepare(self.directory)
        (run.path / "trace").touch()
        tell(self._hosts, [str(self._machine), str(run.path)])
        daemon.await_ready(run, lambda: self._hosts.poll() is None)
        self.rights = Rights()
        if self._process is None:
            self._process = self.modules()
        if self.quarantined:
            self.repair(settle=0, faults=["unquarantined"])

    def modules(self) -> subprocess.Popen[str]:
        """A process that runs modules on this host; a second one can race with the first."""
        with self.log.open("a") as log:
            process = process_of(MODULES, self.environment(), stderr=log)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == "ready"
        return process

    def environment(self) -> dict[str, str]:
        variables = daemon.RunDirectory(self.directory).environment()
        variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], *sys.path])
        return {**os.environ, **variables, **HASTE}

    def stop(self) -> None:
        daemon.stop(self.directory)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        for process in (self._process, self._hosts):
            if process is not None:
                end(process)

    # -- what is done to it

    def ask(self, do: str, **arguments: Any) -> Any:
        return request(str(self.directory), do, **arguments)

    def inject(self, fault: str, **arguments: Any) -> None:
        self.ask("inject", fault=fault, **arguments)

    def run(self, module: str, parameters: Any, **how: Any) -> dict[str, Any]:
        """Run a module; `how`: check, count, kill_at, refuse_at, lose_at."""
        assert self._process is not None
        with self._turn:
            result = answer(self._process, module, parameters, **how)
        assert "crashed" not in result, f"the module crashed: {self.log.read_text()[-3000:]}"
        return result

    def devices(self, timeout: int = 15, how: Mapping[str, Any] | None = None, **domains: Any) -> dict[str, Any]:
        """Declare the devices of domains: a list is exclusive, a dictionary is as the module takes it."""
        declared = {
            name: {"devices": list(wanted), "exclusive": True} if isinstance(wanted, (list, tuple)) else wanted
            for name, wanted in domains.items()
        }
        return self.run("domain_devices", {"domains": declared, "timeout": timeout}, **(how or {}))

    def repair(self, check: bool = False, **parameters: Any) -> dict[str, Any]:
        return self.run("repair", {"settle": 0.5, "timeout": 15, **parameters}, check=check)

    def xl(self, *words: str) -> subprocess.CompletedProcess[str]:
        program = self.directory / "bin" / "xl"
        return subprocess.run([program, *words], env=self.environment(), capture_output=True, text=True, check=False)

    def act(self, *steps: tuple[str, ...]) -> None:
        """Somebody else changes xenstore, Xen or sysfs: see `act` of the process."""
        self.run("act", steps)

    def pull_out(self, device: str) -> None:
        """The host's kernel loses a device: a card that fell off the bus, or sysfs' `remove`."""
        directory = self.directory / "sys" / "bus" / "pci" / "devices" / device
        (directory / "remove").write_text("1")
        deadline = time.monotonic() + AMPLE
        while directory.exists():
            assert time.monotonic() < deadline, "the device is still there"
            time.sleep(0.01)

    def flap(self, node: str, values: str) -> subprocess.Popen[str]:
        """A process that writes one value after the other to a node until it is killed."""
        program = (
            "import itertools, sys\n"
            "from ansible_collections.xen.pci.plugins.module_utils.host.xenstore import XenStore\n"
            "with XenStore.open() as store:\n"
            "    for value in itertools.cycle(sys.argv[2]):\n"
            "        store.write(sys.argv[1], value)\n"
        )
        return subprocess.Popen([sys.executable, "-c", program, node, values], env=self.environment(), text=True)

    def rest(self) -> None:
        """Wait until all kernels and all of xl have done what they will do by themselves."""
        deadline = time.monotonic() + AMPLE
        while not self.ask("at-rest", clients=ALL):
            assert time.monotonic() < deadline, "the host does not come to rest"
            time.sleep(0.01)

    # -- what is true

    def guest(self, name: str) -> dict[str, Any]:
        return next(domain for domain in self.ask("list") if domain["name"] == name)

    def nodes(self) -> dict[str, str]:
        self.rights.follow(self.ask)
        return self.rights.nodes

    def wrong(self, expected: Mapping[str, Collection[str]]) -> list[str]:
        """Everything that is not as it must be if these guests have exactly these devices and all others none."""
        problems: list[str] = []
        nodes, owners = self.nodes(), self.ask("devices")
        live = {domain["domid"]: domain for domain in self.ask("list")}
        has = {domid: sorted(expected.get(domain["name"], ())) for domid, domain in live.items()}
        stub_of = {domain["stub"]: domid for domid, domain in live.items() if domain["stub"]}
        connects = {domid: [] if live[domid]["stub"] else has[stub_of.get(domid, domid)] for domid in live}
        for domid, domain in live.items():
            owned = has[stub_of.get(domid, domid)]
            found = [*self._wrong_view(domain, owned), *self._wrong_connection(domain, connects[domid], nodes)]
            problems += [f"{domain['name']}: {text}" for text in found]
            unmarked = [device for device in has[domid] if nodes.get(marker(device)) != str(domid)]
            problems += [f"{domain['name']}: no marker for {unmarked}"] if unmarked else []
        holder = {device: domid for domid, devices in has.items() for device in devices}
        for device, facts in owners.items():
            if facts["owner"] not in ((holder[device],) if device in holder else (0, QUARANTINE)):
                problems.append(f"{device} is owned by {facts['owner']}")
        for path, value in nodes.items():
            if path.startswith("/libxl/pci/") and path.endswith("/domid"):
                key = path.split("/")[3].replace("-", ":", 2)
                device = ".".join(key.rsplit("-", 1))
                if str(holder.get(device)) != value:
                    problems.append(f"the marker of {device} says {value}")
            if path.startswith("/local/domain/0/backend/pci/"):
                number = path.split("/")[6]
                if not number.isdecimal() or not connects.get(int(number)):
                    problems.append(f"{path} is left")
        return problems

    def _wrong_view(self, domain: dict[str, Any], devices: list[str]) -> list[str]:
        """What a guest sees and may touch."""
        domid, problems = domain["domid"], []
        seen = sorted(one["host"] for one in domain["devices"].values())
        if seen != devices:
            problems.append(f"its kernel sees {seen}, not {devices}")
        if domain["oops"]:
            problems.append(f"its kernel oopsed: {domain['oops'][-200:]}")
        frames, ports, irqs = self._windows(devices)
        for kind, held, due in (
            ("frames", self.rights.frames, frames),
            ("ports", self.rights.ports, ports),
            ("interrupts", self.rights.irqs, irqs),
        ):
            if held.get(domid, set()) != due:
                problems.append(f"its {kind} are {_short(held.get(domid, set()))}, not {_short(due)}")
        return problems

    @staticmethod
    def _wrong_connection(domain: dict[str, Any], devices: list[str], nodes: Mapping[str, str]) -> list[str]:
        """What xenstore says of a guest's connection; the states of an HVM guest mean nothing."""
        domid, problems = domain["domid"], []
        back, front = f"/local/domain/0/backend/pci/{domid}/0", f"/local/domain/{domid}/device/pci/0"
        if not devices:
            left = any(path.startswith(f"{front}/") or path == front for path in nodes)
            return ["its frontend directory is left"] if left else []
        listed = [nodes.get(f"{back}/dev-{index}") for index in range(len(devices))]
        if sorted(map(str, listed)) != devices or nodes.get(f"{back}/num_devs") != str(len(devices)):
            problems.append(f"its entries are {listed}, num_devs={nodes.get(f'{back}/num_devs')}")
        stray = f"-{len(devices)}"
        if any(path.startswith(f"{back}/") and path.endswith(stray) and "root" not in path for path in nodes):
            problems.append("an entry lies outside num_devs")
        if domain["type"] == "hvm":
            return problems
        if any(nodes.get(f"{back}/state-{index}") != "3" for index in range(len(devices))):
            problems.append("an entry is not exported")
        if (nodes.get(f"{back}/state"), nodes.get(f"{front}/state")) != ("4", "4"):
            problems.append(f"its ends are at {nodes.get(f'{back}/state')} and {nodes.get(f'{front}/state')}")
        return problems

    def _windows(self, devices: Collection[str]) -> tuple[set[int], set[int], set[int]]:
        frames: set[int] = set()
        ports: set[int] = set()
        lines = self.ask("devices") if devices else {}
        irqs = {lines[device]["irq"] for device in devices} - set(_NO_IRQ)
        for device in devices:
            directory = self.directory / "sys" / "bus" / "pci" / "devices" / device
            for line in (directory / "resource").read_text().splitlines()[:7]:
                start, last, flags = (int(word, 16) for word in line.split())
                if start and flags & 0x100:
                    ports.update(range(start, last + 1))
                elif start:
                    frames.update(range(start >> 12, (last >> 12) + 1))
        return frames, ports, irqs

    def settled(self, expected: Mapping[str, Collection[str]], within: float = AMPLE) -> list[str]:
        """The same once it has come to rest: guests act by themselves, so the last look counts."""
        deadline = time.monotonic() + within
        while problems := self.wrong(expected):
            if time.monotonic() > deadline:
                return problems
            time.sleep(0.01)
        return []


def marker(device: str) -> str:
    """libxl's marker node of a device."""
    return f"/libxl/pci/{device.replace(':', '-').replace('.', '-')}/domid"


def process_of(program: Path, environment: Mapping[str, str], stderr: TextIO | None = None) -> subprocess.Popen[str]:
    """Start a program that is told what to do line by line."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, str(program)], env=environment, stdin=pipe, stdout=pipe, stderr=stderr, text=True
    )


def tell(process: subprocess.Popen[str], what: Any) -> None:
    """Write a line to it."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str], module: str, parameters: Any, **how: Any) -> dict[str, Any]:
    """Have a process of `Host.modules` run a module."""
    tell(process, {"module": module, "parameters": parameters, **how})
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the process that runs modules has ended: see its standard error"
    result: dict[str, Any] = json.loads(line)
    return result


def end(process: subprocess.Popen[str]) -> None:
    """End a process of `Host.modules`."""
    with process as ending:
        assert ending.stdin is not None
        ending.stdin.close()


def _short(numbers: Collection[int]) -> str:
    return ",".join(f"{number:x}" for number in sorted(numbers)[:4]) + f" ({len(numbers)})"


@contextmanager
def started(linux: str = "") -> Iterator[Host]:
    """Boot a host, and shut it down at the end; `linux` is the version of its kernel if that matters."""
    with short_directory() as parent:
        host = Host(parent / "h", linux=linux)
        host.start()
        try:
            yield host
        finally:
            host.close()
