# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way into dom0: one ssh connection per host, kept open, and commands over it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xenlab.errors import CommandFailed, LabError

CONFIG = "ssh_config"
KEY = "id_ed25519"
LOST = 255  # ssh's own exit status for "no connection"


@dataclass(frozen=True)
class Result:
    """What a command did: its exit status and what it wrote."""

    status: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()


def configure(directory: Path, port: int) -> None:
    """Write the ssh configuration of the host in `directory`."""
    options = {
        "HostName": "127.0.0.1",
        "Port": port,
        "User": "root",
        "IdentityFile": directory / KEY,
        "IdentitiesOnly": "yes",
        # Every build makes new host keys, and the loopback needs no proof.
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
        # Under emulation the first handshake takes many seconds.
        "ConnectTimeout": 60,
        "ControlMaster": "auto",
        "ControlPath": directory / "ssh-%r",
        "ControlPersist": "yes",
        "ServerAliveInterval": 60,
    }
    lines = ["Host *", *(f"    {name} {value}" for name, value in options.items())]
    (directory / CONFIG).write_text("\n".join(lines) + "\n")


def command(directory: Path) -> list[str]:
    """The words of the ssh command that leads into the host."""
    return ["ssh", "-F", str(directory / CONFIG), directory.name]


def shell_words(words: str | Sequence[str]) -> str:
    """A command for the other side's shell: text as it is, words quoted."""
    return words if isinstance(words, str) else shlex.join(words)


def run(
    directory: Path, words: str | Sequence[str], *, timeout: float, check: bool, stdin: str | None = None
) -> Result:
    """Run a command in dom0, for at most `timeout` seconds."""
    text = shell_words(words)
    try:
        done = subprocess.run(
            [*command(directory), text],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"host {directory.name}: no end of `{text}` within {timeout:.0f} s") from error
    if done.returncode == LOST:
        raise LabError(f"host {directory.name}: no ssh connection: {done.stderr.strip()}")
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise CommandFailed(f"host {directory.name}: `{text}` ended with {done.returncode}: {said}")
    return Result(done.returncode, done.stdout, done.stderr)


def send(directory: Path, file: Path, words: str | Sequence[str], *, timeout: float) -> None:
    """Run a command in dom0 that reads this file as its input."""
    text = shell_words(words)
    with file.open("rb") as content:
        done = subprocess.run(
            [*command(directory), text], stdin=content, capture_output=True, timeout=timeout, check=False
        )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise CommandFailed(f"host {directory.name}: `{text}` ended with {done.returncode}: {said}")


def interact(directory: Path, words: str | Sequence[str]) -> int:
    """Run a command in dom0 with the caller's own input and output; its exit status."""
    return subprocess.run([*command(directory), shell_words(words)], check=False).returncode


def close(directory: Path) -> None:
    """End the open connection, if there is one."""
    if (directory / CONFIG).exists():
        ssh, *rest = command(directory)
        subprocess.run([ssh, "-O", "exit", *rest], capture_output=True, check=False, timeout=30)
