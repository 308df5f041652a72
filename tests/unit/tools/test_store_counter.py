# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counter between a program and xenstored: what it passes on, and what it counts."""

from __future__ import annotations

import importlib.util
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from short_path import short_directory

HELPER = Path(__file__).resolve().parents[3] / "benchmarks" / "helpers" / "store_counter.py"
READ, WATCH_EVENT = 2, 15


def load() -> Any:
    spec = importlib.util.spec_from_file_location("store_counter", HELPER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


def packet(kind: int, payload: bytes) -> bytes:
    return struct.pack("IIII", kind, 0, 0, len(payload)) + payload


def receive(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += connection.recv(length - len(data))
    return data


def test_requests_and_round_trips_are_counted_and_everything_is_passed_on() -> None:
    counter = load()
    question, answer, event = packet(READ, b"/a\0"), packet(READ, b"1"), packet(WATCH_EVENT, b"/a\0t\0")
    with short_directory() as place, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "xenstored"))
        listener.listen()
        with counter.counting(place / "xenstored", place / "counted") as counts:
            program = socket.socket(socket.AF_UNIX)
            program.connect(str(place / "counted"))
            store, _address = listener.accept()
            with program, store:
                # Three requests at once wait for one another; one in two pieces is one.
                program.sendall(question * 3)
                assert receive(store, 3 * len(question)) == question * 3
                store.sendall(answer + event + answer * 2)
                assert receive(program, 3 * len(answer) + len(event)) == answer + event + answer * 2
                assert (counts.requests, counts.round_trips) == (3, 1)
                program.sendall(question[:10])
                program.sendall(question[10:])
                assert receive(store, len(question)) == question
        assert (counts.requests, counts.round_trips) == (4, 2)
