# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands between a program and xenstored, passes everything on, and counts what the program asks."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

#: type, request id, transaction id, length (xen/include/public/io/xs_wire.h).
_HEADER = struct.Struct("IIII")
_WATCH_EVENT = 15


@dataclass
class Counts:
    """Requests, and round trips: how often one was sent while no other waited for its answer."""

    requests: int = 0
    round_trips: int = 0
    _waiting: int = field(default=0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def request(self) -> None:
        with self._lock:
            self.requests += 1
            self.round_trips += self._waiting == 0
            self._waiting += 1

    def reply(self) -> None:
        with self._lock:
            self._waiting -= 1


@contextmanager
def counting(xenstored: Path, place: Path) -> Iterator[Counts]:
    """Listen at `place` for one program, which thinks that this is xenstored."""
    counts = Counts()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        thread = threading.Thread(target=_accept, args=(listener, xenstored, counts), daemon=True)
        thread.start()
        try:
            yield counts
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            place.unlink()


def _accept(listener: socket.socket, xenstored: Path, counts: Counts) -> None:
    with suppress(OSError):  # the listener is shut down
        while True:
            client, _address = listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(xenstored))
            threading.Thread(target=_pass_on, args=(client, server, counts, True), daemon=True).start()
            threading.Thread(target=_pass_on, args=(server, client, counts, False), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, counts: Counts, asks: bool) -> None:
    """Pass whole packets on in one direction, until one side closes."""
    buffer = b""
    with suppress(OSError):
        while data := source.recv(65536):
            buffer += data
            while len(buffer) >= _HEADER.size:
                kind, _request, _transaction, length = _HEADER.unpack_from(buffer)
                if len(buffer) < _HEADER.size + length:
                    break
                buffer = buffer[_HEADER.size + length :]
                if asks:
                    counts.request()
                elif kind != _WATCH_EVENT:
                    counts.reply()
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
