# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to xenstored: pyxs' socket and its thread that sorts replies from watch events, fenced in.

pyxs 0.4.1 has no time-outs, waits for ever once its thread has died, prints why, cannot end it within a
packet, takes no reply over 4096 bytes though oxenstored sends such listings, and reads each packet by itself.
"""

from __future__ import annotations

import errno
import os
import queue
import socket
import struct
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

PYXS_IMPORT_ERROR: str | None
try:
    from pyxs import Router as PyxsRouter
    from pyxs._internal import Op, Packet, next_rq_id
    from pyxs.client import RVar
    from pyxs.connection import UnixSocketConnection
    from pyxs.exceptions import PyXSError, UnexpectedPacket
except ImportError:
    PYXS_IMPORT_ERROR = traceback.format_exc()
    PyxsRouter = UnixSocketConnection = Op = object
    PyXSError = OSError
else:
    PYXS_IMPORT_ERROR = None

__all__ = ["PYXS_IMPORT_ERROR", "Connection", "Events", "Op", "PyXSError", "Router"]

#: Bytes read at once: a few replies of the largest size.
_MOST_AT_ONCE = 65536
#: Events of one watch that wait to be looked at.
_MOST_WAITING = 1000


class Connection(UnixSocketConnection):  # type: ignore[misc]
    """The socket. A write that blocks for `send_timeout` (seconds) fails with an OSError."""

    def __init__(self, path: str | None, send_timeout: float) -> None:
        super().__init__(path)
        self._send_timeout = send_timeout

    def create_transport(self) -> Any:
        """Connect; a stopped daemon must not hold up a sender whose socket buffer is full."""
        transport = super().create_transport()
        seconds, fraction = divmod(self._send_timeout, 1)
        limit = struct.pack("ll", int(seconds), int(fraction * 1_000_000))
        transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        return transport

    def packets(self) -> Iterator[Any]:
        """Yield the packets that come, of any payload size, with one system call for all that are there.

        Raises OSError when the socket is closed.
        """
        sock, header = self.transport.sock, Packet._struct
        received, begin = b"", 0
        while True:
            while len(received) - begin >= header.size:
                op, rq_id, tx_id, size = header.unpack_from(received, begin)
                end = begin + header.size + size
                if len(received) < end:
                    break
                yield _packet(op, received[begin + header.size : end], rq_id, tx_id)
                begin = end
            more = sock.recv(_MOST_AT_ONCE)
            if not more:
                raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            received, begin = received[begin:] + more, 0


class Router(PyxsRouter):  # type: ignore[misc]
    """The thread that reads. `failure` is why it ended, if it did so by itself."""

    failure: BaseException | None = None

    def __call__(self) -> None:
        """Hand out what comes; an error that ends that is kept for those that wait, not printed.

        pyxs' own loop makes four system calls for each packet. Its second socket, which wakes it, is not needed:
        `terminate` shuts down the one that is read.
        """
        try:
            for packet in self.connection.packets():
                self._hand_out(packet)
        except Exception as error:  # noqa: BLE001 - whatever it was, no answer comes any more
            self.failure = error
        finally:
            self.connection.close()
            self.r_terminator.close()
            self.w_terminator.close()

    def _hand_out(self, packet: Any) -> None:
        if packet.op == Op.WATCH_EVENT:
            path, token = packet.payload.split(b"\0")[:2]
            for monitor in list(self.monitors[token]):
                monitor.events.put((path, token))
            return
        slot = self.rvars.pop(packet.rq_id, None)
        if slot is None:
            raise UnexpectedPacket(packet)
        slot.set(packet)

    def terminate(self) -> None:
        """End the thread, wherever it is.

        pyxs' own way wakes it between packets only, never within one that does not become whole, and
        fails if the thread, on its way out by itself, has just closed what would wake it.
        """
        transport = self.connection.transport
        if transport is not None:
            with suppress(OSError):
                transport.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join()

    def send_all(self, requests: Sequence[tuple[int, bytes]], tx_id: int) -> list[Any]:
        """pyxs' `send` for many, one write to the socket, so that xenstored is woken once; where replies will be.

        Raises OSError or PyXSError if they did not go out, perhaps not as a whole.
        """
        packets = [_packet(op, payload, next_rq_id(), tx_id) for op, payload in requests]
        slots = [RVar() for _packet_sent in packets]
        with self.send_lock:
            transport = self.connection.transport  # looked at once: its thread drops it when the daemon dies
            if transport is None:
                raise OSError(errno.ENOTCONN, "not connected")
            # The slots come first, since an answer may come before the write returns.
            self.rvars.update((packet.rq_id, slot) for packet, slot in zip(packets, slots))
            header = Packet._struct.pack
            transport.send(
                b"".join(header(sent.op, sent.rq_id, sent.tx_id, sent.size) + sent.payload for sent in packets)
            )
        return slots


class Events(queue.Queue):  # type: ignore[type-arg]
    """The events that wait to be looked at, each path once.

    Another event of a path that waits already says nothing new. Nor, once there are many, does another one of the same
    watch: a guest may write faster than we look, for as long as it likes.
    """

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._waiting: Counter[Any] = Counter()

    def _put(self, item: Any) -> None:
        if isinstance(item, tuple):
            _path, token = item
            if self._waiting[item] or self._waiting[token] >= _MOST_WAITING:
                return
            self._waiting.update((item, token))
        super()._put(item)

    def _get(self) -> Any:
        item = super()._get()
        if isinstance(item, tuple):
            for key in (item, item[1]):
                self._waiting[key] -= 1
                if not self._waiting[key]:
                    del self._waiting[key]
        return item


def _packet(op: int, payload: bytes, rq_id: int, tx_id: int) -> Any:
    """Make a pyxs packet without pyxs' checks (size, known operations)."""
    return tuple.__new__(Packet, (op, rq_id, tx_id, len(payload), payload))
