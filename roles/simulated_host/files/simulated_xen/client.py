# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a running host by its run directory."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any


class Refused(Exception):
    """The request makes no sense; the text says why."""


def ask(directory: Path, do: str, **arguments: Any) -> Any:
    """Send a request and return its result; OSError for what Linux or Xen refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(directory / "control"))
        except OSError as error:
            raise Refused(f"no host runs in {directory} ({error.strerror}): start one") from None
        connection.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
        with connection.makefile("rb") as stream:
            line = stream.readline()
    if not line:
        raise Refused(f"the host in {directory} went away")
    answer = json.loads(line)
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"]))
    if "error" in answer:
        raise Refused(answer["error"])
    return answer["result"]
