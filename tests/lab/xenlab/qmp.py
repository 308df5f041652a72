# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's control socket: commands of its monitor."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from xenlab.errors import LabError


def monitor(path: Path, line: str) -> str:
    """Run a line as if typed into the monitor; what it printed."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        with connection.makefile("rw") as stream:
            stream.readline()  # the greeting
            for command in (
                {"execute": "qmp_capabilities"},
                {"execute": "human-monitor-command", "arguments": {"command-line": line}},
            ):
                stream.write(json.dumps(command) + "\n")
                stream.flush()
                answer = _answer(stream)
    return str(answer)


def _answer(stream: Any) -> Any:
    """The answer to a command; events come in between."""
    for line in stream:
        message = json.loads(line)
        if "error" in message:
            raise LabError(f"QEMU: {message['error']['desc']}")
        if "return" in message:
            return message["return"]
    raise LabError("QEMU has closed its control socket")
