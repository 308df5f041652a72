# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a running simulator over its control socket."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

#: The run directory, when this file lies in its python/xen/lowlevel.
RUN = os.path.abspath(os.path.join(__file__, "..", "..", "..", ".."))


class Refused(Exception):
    """The request makes no sense, or no simulator is there; the text says why."""


def request(directory: str, do: str, **arguments: Any) -> Any:
    """Ask the host of a run directory and return its result; OSError for what Linux or Xen refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(os.path.join(directory, "control"))
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


def ask(do: str, **arguments: Any) -> Any:
    """Ask the host that this file belongs to."""
    return request(RUN, do, **arguments)
