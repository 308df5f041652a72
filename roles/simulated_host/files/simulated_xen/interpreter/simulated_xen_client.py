# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request to the simulator whose run directory this file lies in."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

RUN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Refused(Exception):
    """The request makes no sense to the simulator."""


def ask(do: str, **arguments: Any) -> Any:
    """Send a request and return its result; OSError for what Linux or Xen refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(os.path.join(RUN, "control"))
        connection.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
        with connection.makefile("rb") as stream:
            line = stream.readline()
    if not line:
        raise ConnectionError(f"The simulated host in {RUN} went away.")
    answer = json.loads(line)
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"]))
    if "error" in answer:
        raise Refused(answer["error"])
    return answer["result"]
