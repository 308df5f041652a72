# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xenstored's unix socket: decode requests, run them, encode replies. One connection, one Caller."""

from __future__ import annotations

import asyncio
import errno
import itertools
import sys
from pathlib import Path
from typing import Any, Callable

from .operations import Change, Operations
from .store import Caller, Store
from .tree import DOM0, Permissions, absolute, parse_permission
from .wire import PAYLOAD_MAX, BrokenStream, Op, Packet, StoreError, decode

OK = b"OK\0"


def text(raw: bytes) -> str:
    """A path or token; the tree's path rules reject what is not ASCII."""
    return raw.decode("latin-1")


def number(raw: bytes) -> int:
    """A decimal number; EINVAL if it is none."""
    if not raw.isdigit():
        raise StoreError(errno.EINVAL)
    return int(raw)


class Connection(asyncio.Protocol):
    """One client of the socket."""

    def __init__(self, server: Server, label: str) -> None:
        self._server = server
        self._store = server.store
        self._buffer = b""
        self._outgoing = bytearray()
        self._collecting = False
        self._transport: asyncio.Transport | None = None
        self._caller = Caller(label, DOM0, self._send_event)
        self._handlers: dict[int, Callable[[Packet], bytes]] = {
            Op.DIRECTORY: self._directory,
            Op.DIRECTORY_PART: self._directory_part,
            Op.READ: self._read,
            Op.GET_PERMS: self._get_perms,
            Op.TRANSACTION_START: self._transaction_start,
            Op.TRANSACTION_END: self._transaction_end,
            Op.WRITE: self._write,
            Op.MKDIR: self._mkdir,
            Op.RM: self._remove,
            Op.SET_PERMS: self._set_perms,
            Op.WATCH: self._watch,
            Op.UNWATCH: self._unwatch,
            Op.RESET_WATCHES: self._reset_watches,
            Op.INTRODUCE: self._introduce,
            Op.RELEASE: self._release,
            Op.IS_DOMAIN_INTRODUCED: self._is_introduced,
            Op.GET_DOMAIN_PATH: self._domain_path,
            Op.RESUME: self._resume,
            Op.SET_TARGET: self._set_target,
            Op.CONTROL: self._control,
        }

    # -- asyncio.Protocol ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._store.forget(self._caller)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self.process()

    def process(self) -> None:
        """Answer what has arrived, all in one piece, unless the server is frozen."""
        self._collecting = True
        try:
            self._process()
        finally:
            self._collecting = False
            self._flush()

    def _process(self) -> None:
        while self._transport is not None and not self._server.frozen:
            try:
                packet, used = decode(self._buffer)
            except BrokenStream:
                # As the C daemon does: a stream that cannot be followed is hung up on.
                self.close()
                return
            if packet is None:
                return
            self._buffer = self._buffer[used:]
            self._answer(packet)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._flush()
            self._transport.abort()
            self._transport = None

    # -- replies -------------------------------------------------------------------------------------

    def _answer(self, packet: Packet) -> None:
        try:
            handler = self._handlers.get(packet.type)
            if handler is None:
                raise StoreError(errno.ENOSYS)
            if packet.transaction and packet.transaction not in self._caller.transactions:
                raise StoreError(errno.ENOENT)
            payload = handler(packet)
            if len(payload) > PAYLOAD_MAX:
                raise StoreError(errno.E2BIG)
            self._send(Packet(packet.type, packet.request, packet.transaction, payload))
        except StoreError as error:
            self._send(Packet(Op.ERROR, packet.request, packet.transaction, error.payload))
            return
        if packet.type == Op.WATCH:
            # It fires once when registered, after its acknowledgement.
            path, token = packet.strings()
            self._send_event(text(path), text(token))

    def _send(self, packet: Packet) -> None:
        self._outgoing += packet.encode()
        if not self._collecting:
            self._flush()

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, bytearray()
        if outgoing and self._transport is not None:
            self._transport.write(bytes(outgoing))

    def _send_event(self, path: str, token: str) -> None:
        payload = path.encode("latin-1") + b"\0" + token.encode("latin-1") + b"\0"
        self._send(Packet(Op.WATCH_EVENT, 0, 0, payload))

    # -- nodes ---------------------------------------------------------------------------------------

    @staticmethod
    def _only(packet: Packet) -> str:
        """The payload's single string."""
        strings = packet.strings()
        if len(strings) != 1:
            raise StoreError(errno.EINVAL)
        return text(strings[0])

    def _path(self, packet: Packet) -> str:
        return absolute(self._only(packet), self._caller.domid)

    def _change(self, packet: Packet, operation: Callable[[Operations], list[Change]]) -> bytes:
        self._store.change(self._caller, packet.transaction, operation)
        return OK

    def _directory(self, packet: Packet) -> bytes:
        names = self._store.directory(self._caller, self._only(packet), packet.transaction)
        return "".join(f"{name}\0" for name in names).encode()

    def _directory_part(self, packet: Packet) -> bytes:
        strings = packet.strings()
        if len(strings) != 2:
            raise StoreError(errno.EINVAL)
        node = self._store.node(self._caller, text(strings[0]), packet.transaction)
        offset = number(strings[1])
        names = "".join(f"{name}\0" for name in node.children).encode()
        generation = f"{node.generation}\0".encode()
        if offset > len(names):
            raise StoreError(errno.EINVAL)
        room = PAYLOAD_MAX - len(generation) - 1
        rest = names[offset:]
        if len(rest) <= room:
            return generation + rest + b"\0"
        return generation + rest[: rest.rindex(b"\0", 0, room) + 1]

    def _read(self, packet: Packet) -> bytes:
        return self._store.read(self._caller, self._only(packet), packet.transaction)

    def _get_perms(self, packet: Packet) -> bytes:
        node = self._store.node(self._caller, self._only(packet), packet.transaction)
        return "".join(f"{entry}\0" for entry in node.permissions).encode()

    def _write(self, packet: Packet) -> bytes:
        raw, separator, value = packet.payload.partition(b"\0")
        if not separator:
            raise StoreError(errno.EINVAL)
        path = absolute(text(raw), self._caller.domid)
        return self._change(packet, lambda view: view.write(path, value))

    def _mkdir(self, packet: Packet) -> bytes:
        path = self._path(packet)
        return self._change(packet, lambda view: view.mkdir(path))

    def _remove(self, packet: Packet) -> bytes:
        path = self._path(packet)
        return self._change(packet, lambda view: view.remove(path))

    def _set_perms(self, packet: Packet) -> bytes:
        strings = packet.strings()
        if len(strings) < 2:
            raise StoreError(errno.EINVAL)
        path = absolute(text(strings[0]), self._caller.domid)
        permissions: Permissions = tuple(parse_permission(text(entry)) for entry in strings[1:])
        return self._change(packet, lambda view: view.set_permissions(path, permissions))

    # -- transactions and watches --------------------------------------------------------------------

    def _transaction_start(self, packet: Packet) -> bytes:
        if packet.transaction:
            raise StoreError(errno.EBUSY)
        return f"{self._store.start_transaction(self._caller)}\0".encode()

    def _transaction_end(self, packet: Packet) -> bytes:
        answer = self._only(packet)
        if answer not in ("T", "F"):
            raise StoreError(errno.EINVAL)
        self._store.end_transaction(self._caller, packet.transaction, answer == "T")
        return OK

    def _watch(self, packet: Packet) -> bytes:
        strings = packet.strings()
        if len(strings) != 2:
            raise StoreError(errno.EINVAL)
        self._store.watch(self._caller, text(strings[0]), text(strings[1]))
        return OK

    def _unwatch(self, packet: Packet) -> bytes:
        strings = packet.strings()
        if len(strings) != 2:
            raise StoreError(errno.EINVAL)
        self._store.unwatch(self._caller, text(strings[0]), text(strings[1]))
        return OK

    def _reset_watches(self, packet: Packet) -> bytes:
        self._store.forget_watches(self._caller)
        return OK

    # -- domains -------------------------------------------------------------------------------------

    def _introduce(self, packet: Packet) -> bytes:
        strings = packet.strings()
        if len(strings) != 3:
            raise StoreError(errno.EINVAL)
        self._store.introduce(number(strings[0]))
        return OK

    def _release(self, packet: Packet) -> bytes:
        domid = number(packet.strings()[0])
        if domid == DOM0:
            raise StoreError(errno.EINVAL)
        self._store.release(domid)
        return OK

    def _is_introduced(self, packet: Packet) -> bytes:
        return b"T\0" if number(packet.strings()[0]) in self._store.introduced else b"F\0"

    def _domain_path(self, packet: Packet) -> bytes:
        return f"/local/domain/{number(packet.strings()[0])}\0".encode()

    def _resume(self, packet: Packet) -> bytes:
        domid = number(packet.strings()[0])
        if domid == DOM0:
            raise StoreError(errno.EINVAL)
        if domid not in self._store.introduced:
            raise StoreError(errno.ENOENT)
        return OK

    def _set_target(self, packet: Packet) -> bytes:
        strings = packet.strings()
        if len(strings) != 2:
            raise StoreError(errno.EINVAL)
        if not all(number(domid) in self._store.introduced for domid in strings):
            raise StoreError(errno.ENOENT)
        return OK

    def _control(self, packet: Packet) -> bytes:
        command = text(packet.strings()[0])
        if command == "check":
            return OK
        if command == "help":
            return b"check|help"
        raise StoreError(errno.EINVAL)


class Server:
    """The listening socket. `frozen` is a daemon that was stopped: it accepts, and does not answer."""

    def __init__(self, store: Store, path: Path) -> None:
        self.store = store
        self.connections: set[Connection] = set()
        self.frozen = False
        self._path = path
        self._labels = itertools.count(1)
        self._listener: asyncio.AbstractServer | None = None

    @property
    def listening(self) -> bool:
        """Whether clients can connect."""
        return self._listener is not None

    async def start(self) -> None:
        """Listen; a socket file that was left behind is replaced, as xenstored does."""
        if self._listener is not None:
            return
        if self._path.exists():
            self._path.unlink()
        loop = asyncio.get_running_loop()
        # Python 3.13 would remove the file at the end, which a daemon that is killed does not.
        options: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        self._listener = await loop.create_unix_server(
            lambda: Connection(self, f"A{next(self._labels)}"), str(self._path), backlog=128, **options
        )

    async def stop(self) -> None:
        """Hang up on everybody and stop listening; the socket file stays, as after a kill."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.close()
        for connection in list(self.connections):
            connection.close()

    def freeze(self, frozen: bool) -> None:
        """Stop answering, or catch up with what has arrived meanwhile."""
        self.frozen = frozen
        if not frozen:
            for connection in list(self.connections):
                connection.process()
