# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the playbook as a user would, and keeps what Ansible printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .interruption import held

PLAYBOOK = "xen.pci.apply"
_PATIENCE = 10.0  # seconds that Ansible has to end in good order once interrupted
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: A line of Ansible's recap.
_RECAP = re.compile(r"(?m)^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+) ")


@dataclass(frozen=True)
class Run:
    """One run of ansible-playbook: what it printed, with colours if any, and its recap by host.

    `complaints` is what it wrote to standard error.
    """

    status: int
    output: str
    changes: Mapping[str, int]
    failures: Mapping[str, int]
    complaints: str

    @property
    def text(self) -> str:
        """What it printed, without colours, and with all white space made one blank."""
        return " ".join(_COLOUR.sub("", self.output).split())

    @property
    def hosts(self) -> set[str]:
        """All hosts that it reached."""
        return set(self.changes)

    @property
    def changed(self) -> set[str]:
        """Hosts on which something was changed, or in check mode would be."""
        return {host for host, count in self.changes.items() if count}

    @property
    def failed(self) -> set[str]:
        """Hosts on which it failed."""
        return {host for host, count in self.failures.items() if count}


def run(inventories: Sequence[Path], options: Sequence[str], home: Path, coloured: bool) -> Run:
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
                env=os.environ | _settings(home, coloured),
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
    recap = _RECAP.findall(_COLOUR.sub("", output))
    changes = {host: int(changed) for host, changed, _unreachable, _failed in recap}
    failures = {host: int(unreachable) + int(failed) for host, _changed, unreachable, failed in recap}
    return Run(process.returncode, output, changes, failures, complaints)


def _settings(home: Path, coloured: bool) -> dict[str, str]:
    return {
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_REMOTE_TEMP": str(home / "tmp"),
        "ANSIBLE_FORCE_COLOR" if coloured else "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
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
