# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs Ansible against a lab host as a user does, and reads what its modules returned."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xenlab import Host


@dataclass(frozen=True)
class Run:
    """One run of ansible-playbook: its exit status, its output, and each task's result by the task's name."""

    status: int
    output: str
    tasks: Mapping[str, Mapping[str, Any]]

    @property
    def changed(self) -> bool:
        return any(result.get("changed") for result in self.tasks.values())

    @property
    def messages(self) -> str:
        """What failed tasks said."""
        return "\n".join(str(result["msg"]) for result in self.tasks.values() if result.get("failed"))


def apply(host: Host, declared: Mapping[str, Any], options: Sequence[str] = ()) -> Run:
    """Run xen.pci.apply with this declaration in the host's inventory."""
    return run(host, "xen.pci.apply", declared, options)


def task(
    host: Host,
    module: str,
    arguments: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Mapping[str, Any]:
    """Run one module, with more environment variables and options if given; returns its result, failed or not."""
    playbook = host.directory / "task.json"
    only = {"name": "task", module: dict(arguments), "environment": dict(environment or {})}
    play = {"hosts": "xen", "gather_facts": False, "tasks": [only]}
    playbook.write_text(json.dumps([play]))
    return run(host, str(playbook), {}, options).tasks["task"]


def codes(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Code and subject of each refusal of a module; none if it did not refuse."""
    return [(refusal["code"], refusal["subject"]) for refusal in result.get("refusals", [])]


def run(host: Host, playbook: str, declared: Mapping[str, Any], options: Sequence[str] = ()) -> Run:
    """Run a playbook; the declaration is an inventory file of its own, beside that of the host."""
    declaration = host.directory / "declaration.json"
    declaration.write_text(json.dumps({"xen": {"vars": dict(declared)}}))
    done = subprocess.run(
        ["ansible-playbook", "-i", host.inventory(), "-i", declaration, playbook, *options],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=os.environ | _result_environment(host.directory),
    )
    return Run(done.returncode, done.stdout + done.stderr, _tasks(host.directory / "results.jsonl"))


def _result_environment(directory: Path) -> dict[str, str]:
    """Environment that adds the callback of this folder, which writes results beside the normal output."""
    (directory / "results.jsonl").unlink(missing_ok=True)
    return {
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "results",
        "XENLAB_RESULTS": str(directory / "results.jsonl"),
    }


def _tasks(file: Path) -> dict[str, dict[str, Any]]:
    lines = file.read_text().splitlines() if file.exists() else []
    return {one["task"]: one["result"] for one in map(json.loads, lines)}
