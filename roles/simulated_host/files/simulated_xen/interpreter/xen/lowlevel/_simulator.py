# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a running simulator over its control socket."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import Any

#: The run directory, when this file lies in its python/xen/lowlevel.
RUN = os.path.abspath(os.path.join(__file__, "..", "..", "..", ".."))


class Refused(Exception):
    """The request makes no sense, or no simulator is there; the text says why."""


class _Channels(threading.local):
    """This thread's connections by process and run directory: a fork must not use those of its parent."""

    def __init__(self) -> None:
        self.open: dict[tuple[int, str], Any] = {}

    def ask(self, directory: str, line: bytes) -> bytes:
        """Send a line and return the answer; empty if the host went away."""
        place = (os.getpid(), directory)
        try:
            known = self.open.get(place)
            if known is not None:
                answer = _exchange(known, line)
                if answer:
                    return answer
            # Nothing is there yet, or the host that was there has gone; perhaps it is another one now.
            self.open[place] = _connect(directory)
            return _exchange(self.open[place], line)
        except OSError:
            self.open.pop(place, None)
            raise


def _connect(directory: str) -> Any:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(os.path.join(directory, "control"))
        return connection.makefile("rwb")


def _exchange(stream: Any, line: bytes) -> bytes:
    try:
        stream.write(line)
        stream.flush()
        answer: bytes = stream.readline()
    except ConnectionError:
        return b""
    return answer


_channels = _Channels()


def request(directory: str, do: str, **arguments: Any) -> Any:
    """Ask the host of a run directory and return its result; OSError for what Linux or Xen refuses."""
    try:
        line = _channels.ask(directory, json.dumps({"do": do, **arguments}).encode() + b"\n")
    except OSError as error:
        raise Refused(f"no host runs in {directory} ({error.strerror}): start one") from None
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
