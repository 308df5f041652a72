# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libxl's side of QMP: one connection for each command, as libxl makes them."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any


class Failed(Exception):
    """An operation ends with an error; the text is libxl's or QEMU's."""


def command(path: Path, wait: float, name: str, **arguments: Any) -> Any:
    """What QEMU returns within `wait` seconds; Failed with QEMU's own text, FileNotFoundError without a QEMU."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(wait)
        try:
            connection.connect(str(path))
            stream = connection.makefile("rwb")
            _read(stream)
            _ask(stream, "qmp_capabilities", {})
            return _ask(stream, name, arguments)
        except socket.timeout:
            raise Failed("Timed out waiting for a response from QEMU") from None


def _ask(stream: Any, name: str, arguments: dict[str, Any]) -> Any:
    request = {"execute": name} | ({"arguments": arguments} if arguments else {})
    stream.write(json.dumps(request).encode() + b"\r\n")
    stream.flush()
    while True:
        answer = _read(stream)
        if "error" in answer:
            raise Failed(str(answer["error"]["desc"]))
        if "return" in answer:
            return answer["return"]


def _read(stream: Any) -> dict[str, Any]:
    line = stream.readline()
    if not line:
        raise Failed("connection to QEMU lost")
    message: dict[str, Any] = json.loads(line)
    return message
