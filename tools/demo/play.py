# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the playbook as a user would, and reads what the modules returned."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .interruption import held

HERE = Path(__file__).resolve().parent
PLAYBOOK = "xen.pci.apply"
_PATIENCE = 10.0  # seconds that Ansible has to end in good order once interrupted


@dataclass(frozen=True)
class Device:
    """A device of a host before and after: who drives it there."""

    address: str
    name: str
    driver_before: str | None
    driver_after: str | None


@dataclass(frozen=True)
class Domain:
    """A domain before and after, by host addresses. `milliseconds`: what each handshake with its guest took."""

    name: str
    before: frozenset[str]
    after: frozenset[str]
    active: frozenset[str]
    milliseconds: tuple[float, ...]


@dataclass
class Outcome:
    """What a run did on one host, or would do. `repaired`: the faults that it found and repaired first, in words."""

    changed: int = 0
    repaired: list[str] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    domains: list[Domain] = field(default_factory=list)
    error: str = ""


@dataclass(frozen=True)
class Run:
    """One run of ansible-playbook. `complaints` is what it wrote to standard error."""

    status: int
    hosts: Mapping[str, Outcome]
    complaints: str

    @property
    def changed(self) -> int:
        """Tasks that changed something, all hosts together."""
        return sum(outcome.changed for outcome in self.hosts.values())

    @property
    def errors(self) -> dict[str, str]:
        """What failed, by host."""
        return {name: outcome.error for name, outcome in self.hosts.items() if outcome.error}


def run(inventories: Sequence[Path], options: Sequence[str], home: Path) -> Run:
    """Run the playbook on all hosts; `home` is for Ansible's own files. If the demo is interrupted Ansible is ended."""
    command = [str(Path(sys.executable).parent / "ansible-playbook"), PLAYBOOK, *options]
    for inventory in inventories:
        command += ["-i", str(inventory)]
    process: subprocess.Popen[str] | None = None
    try:
        with held():
            # In a session of its own, so that it is interrupted once, by us, and not also by the terminal.
            process = subprocess.Popen(
                command,
                env=os.environ | _settings(home),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        output, complaints = process.communicate()
    except BaseException:
        if process is not None:
            _end(process)
        raise
    return Run(process.returncode, _read(output), complaints)


def _settings(home: Path) -> dict[str, str]:
    return {
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_REMOTE_TEMP": str(home / "tmp"),
        "ANSIBLE_STDOUT_CALLBACK": "events",
        "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
    }


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _read(output: str) -> dict[str, Outcome]:
    hosts: dict[str, Outcome] = {}
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        outcome, result = hosts.setdefault(event["host"], Outcome()), event["result"]
        outcome.changed += bool(result.get("changed"))
        if event["status"] != "ok":
            outcome.error = str(result.get("msg", event["status"]))
        if event["action"].endswith(".assignable_devices"):
            outcome.devices += [_device(one) for one in result.get("devices", ())]
        elif event["action"].endswith(".domain_devices"):
            outcome.domains += [_domain(one) for one in result.get("domains", ())]
            outcome.repaired += result.get("repaired", ())
    return dict(sorted(hosts.items()))


def _device(returned: Mapping[str, Any]) -> Device:
    address = returned["address"]
    return Device(address, returned["name"] or address, returned["driver_before"], returned["driver_after"])


def _domain(returned: Mapping[str, Any]) -> Domain:
    return Domain(
        name=returned["name"],
        before=frozenset(returned["before"]),
        after=frozenset(returned["after"]),
        active=frozenset(one["address"] for one in returned.get("devices", ()) if one["converged"] == "active"),
        milliseconds=tuple(1000 * cycle["seconds"] for cycle in returned.get("cycles", ())),
    )
