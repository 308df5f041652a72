# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A blocking xenstore client, as small as libxl's needs are."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable, Iterator

from ..store.wire import Op

_HEADER = struct.Struct("<IIII")
_LOOKS = 100


class StoreClient:
    """One connection. Paths and values are text; refusals are OSError."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._stream = self._socket.makefile("rb")
        self._transaction = 0

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()

    def _request(self, op: Op, payload: bytes, transaction: int | None = None) -> bytes:
        number = self._transaction if transaction is None else transaction
        self._socket.sendall(_HEADER.pack(op, 0, number, len(payload)) + payload)
        while True:
            header = self._stream.read(_HEADER.size)
            if len(header) < _HEADER.size:
                raise ConnectionResetError(errno.ECONNRESET, "xenstored hung up")
            kind, _request, _transaction, length = _HEADER.unpack(header)
            body = self._stream.read(length)
            if kind == Op.ERROR:
                name = body.rstrip(b"\0").decode()
                raise OSError(getattr(errno, name, errno.EIO), name)
            if kind != Op.WATCH_EVENT:
                return body

    def read(self, path: str) -> str | None:
        """A node's value, None if it is absent."""
        try:
            return self._request(Op.READ, path.encode() + b"\0").decode()
        except FileNotFoundError:
            return None

    def list(self, path: str) -> list[str]:
        """Names of the children; none if the node is absent."""
        try:
            body = self._request(Op.DIRECTORY, path.encode() + b"\0")
        except FileNotFoundError:
            return []
        return [name.decode() for name in body.split(b"\0") if name]

    def write(self, path: str, value: object) -> None:
        """Set a node."""
        self._request(Op.WRITE, path.encode() + b"\0" + str(value).encode())

    def mkdir(self, path: str, *permissions: str) -> None:
        """Create a node with these permissions."""
        self._request(Op.MKDIR, path.encode() + b"\0")
        self._request(Op.SET_PERMS, "".join(f"{part}\0" for part in (path, *permissions)).encode())

    def remove(self, path: str) -> None:
        """Remove a node, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._request(Op.RM, path.encode() + b"\0")

    def remove_and_prune(self, path: str) -> None:
        """Remove a node and then every directory above that has become empty (libxl__xs_path_cleanup)."""
        if self.read(path) is None:
            return
        self.remove(path)
        above = path.rpartition("/")[0]
        while above.count("/") > 1 and not self.list(above):
            self.remove(above)
            above = above.rpartition("/")[0]

    def transaction(self, body: Callable[[], None]) -> None:
        """Run `body` in a transaction until it commits."""
        while True:
            with self._open_transaction() as committed:
                body()
            if committed():
                return

    @contextlib.contextmanager
    def _open_transaction(self) -> Iterator[Callable[[], bool]]:
        number = int(self._request(Op.TRANSACTION_START, b"\0", 0).rstrip(b"\0"))
        self._transaction = number
        done = False
        try:
            yield lambda: done
        except BaseException:
            self._transaction = 0
            self._request(Op.TRANSACTION_END, b"F\0", number)
            raise
        self._transaction = 0
        try:
            self._request(Op.TRANSACTION_END, b"T\0", number)
            done = True
        except BlockingIOError:  # EAGAIN
            done = False

    def wait_for(self, path: str, value: str, seconds: float) -> bool:
        """Look at a node until it has a value, as libxl__wait_for_backend does.

        The looks are counted, not the seconds: on a busy machine the kernels are slower as well.
        """
        for _look in range(_LOOKS):
            if self.read(path) == value:
                return True
            time.sleep(seconds / _LOOKS)
        return self.read(path) == value
