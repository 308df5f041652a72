# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Xenstore's requests, transactions and watches, with a deadline on everything.

Requests that do not depend on each other are sent together and their replies collected afterwards.
"""

from __future__ import annotations

import errno
import queue
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from ..model.store_changes import Change, Directory, Remove, Write
from ..values.errors import HostError
from .xenstore_connection import Connection, Events, Op, PyXSError, Router

T = TypeVar("T")

NUL = b"\0"
_DIRECTORY_PART = 22
_ERRNO = {name: number for number, name in errno.errorcode.items()}
#: A transaction meets a conflict at every write of another client in between; 50 commits against
#: a writer every 2 ms took up to 132 tries in all, so this bound means a store gone wild.
_TRANSACTION_TRIES = 200


class XenStoreError(HostError):
    """Xenstore refused a request, did not answer in time, or is gone. `code` is an errno or 0."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class XenStoreGone(XenStoreError):
    """No answer will come any more on this connection."""


@dataclass(frozen=True)
class WatchEvent:
    """Something at or below a watched path has changed; `token` is the watcher's own."""

    path: str
    token: str


class _Requests:
    """Reads and writes with one transaction id (0: none)."""

    def __init__(self, store: XenStore, tx_id: int) -> None:
        self._store = store
        self._tx_id = tx_id

    def read(self, path: str) -> str | None:
        """Value of a node, or None if there is none."""
        return self.read_all([path])[0]

    def read_all(self, paths: Sequence[str]) -> list[str | None]:
        """Values of many nodes at the cost of one round trip."""
        replies = self._store.ask([(Op.READ, _path(path)) for path in paths], self._tx_id)
        return [_text_or_none(reply) for reply in replies]

    def list(self, path: str) -> list[str]:
        """Names of a node's children; none if the node is missing."""
        return [*self.list_and_read(path, ())[0]]

    def list_and_read(self, path: str, others: Sequence[str]) -> tuple[Sequence[str], Sequence[str | None]]:
        """Names of a node's children, and the values of other nodes, at the cost of one round trip."""
        listing, *replies = self._store.ask(
            [(Op.DIRECTORY, _path(path)), *((Op.READ, _path(other)) for other in others)], self._tx_id
        )
        return self._names(path, listing), [_text_or_none(reply) for reply in replies]

    def children(self, path: str, names: Iterable[str] | None = None) -> dict[str, str]:
        """Names and values of a node's children, of all or of these; those that are not there are left out."""
        chosen = self.list(path) if names is None else list(names)
        values = self.read_all([f"{path}/{name}" for name in chosen]) if chosen else []
        return {name: value for name, value in zip(chosen, values) if value is not None}

    def write(self, path: str, value: str) -> None:
        """Set a node, creating it and its parents."""
        self.apply([Write(path, value)])

    def remove(self, path: str, prune: bool = False) -> None:
        """Delete a node and all below it; no error if it is missing."""
        self.apply([Remove(path, prune)])

    def apply(self, changes: Iterable[Change]) -> None:
        """Make the changes in their order."""
        plain: list[tuple[int, bytes]] = []
        prune = []
        for change in changes:
            if isinstance(change, Write):
                plain.append((Op.WRITE, _path(change.path) + change.value.encode()))
            elif isinstance(change, Directory):
                permissions = b"".join(permission.encode() + NUL for permission in change.permissions)
                plain.append((Op.RM, _path(change.path)))
                plain.append((Op.MKDIR, _path(change.path)))
                plain.append((Op.SET_PERMS, _path(change.path) + permissions))
            else:
                plain.append((Op.RM, _path(change.path)))
                if change.prune:
                    prune.append(change.path)
        for (operation, _payload), reply in zip(plain, self._store.ask(plain, self._tx_id)):
            if not (operation == Op.RM and _is(reply, errno.ENOENT)):
                _value(reply)
        for path in prune:
            self._prune(path)

    def _prune(self, path: str) -> None:
        """Remove parents that have become empty, up to but without /local/domain/<domid>/<kind>.

        libxl does the same (libxl__xs_path_cleanup), and its own listing expects it.
        """
        parent = path.rpartition("/")[0]
        while parent.count("/") > 4 and not self.list(parent):
            _value_or_missing(self._store.ask([(Op.RM, _path(parent))], self._tx_id)[0])
            parent = parent.rpartition("/")[0]

    def _names(self, path: str, reply: bytes | XenStoreError) -> Sequence[str]:
        if _is(reply, errno.ENOENT):
            return []
        payload = self._long_list(path) if _is(reply, errno.E2BIG) else _value(reply)
        return [_text(name) for name in payload.split(NUL) if name]

    def _long_list(self, path: str) -> bytes:
        """Directory in parts: C xenstored answers E2BIG to a listing of over 4096 bytes."""
        listing, first_generation = b"", None
        while True:
            request = _path(path) + str(len(listing)).encode() + NUL
            reply = _value(self._store.ask([(_DIRECTORY_PART, request)], self._tx_id)[0])
            generation, _nul, part = reply.partition(NUL)
            if first_generation not in (None, generation):
                listing, first_generation = b"", None  # it changed in between: from the start, as libxenstore does
                continue
            first_generation = generation
            listing += part
            if listing.endswith(NUL + NUL) or not part.endswith(NUL):
                return listing


class Transaction(_Requests):
    """Requests that take effect together or not at all."""


class XenStore(_Requests):
    """One connection to xenstored. Use from one thread; `timeout` (seconds) bounds every request."""

    def __init__(self, timeout: float, path: str | None = None) -> None:
        super().__init__(self, 0)
        self.timeout = timeout
        #: Watch events arrive here; what else is waited for may be put in as well.
        self.events: queue.Queue[Any] = Events()
        self._watches: set[tuple[str, str]] = set()
        self._silent = ""
        self._router = Router(Connection(path, timeout))

    @classmethod
    @contextmanager
    def open(cls, timeout: float = 10.0) -> Iterator[XenStore]:
        """Connect to the socket that XENSTORED_PATH names, else to the system's.

        Raises XenStoreError if no xenstored answers there.
        """
        store = cls(timeout)
        try:
            store._router.start()
        except PyXSError as error:
            raise XenStoreGone(f"cannot reach xenstored ({error}); run on a Xen dom0 with xenstored running") from error
        try:
            yield store
        finally:
            store._close()

    @property
    def is_alive(self) -> bool:
        """Whether answers may come on this connection."""
        return not self._silent and self._router.thread.is_alive()

    def ask(self, requests: Sequence[tuple[int, bytes]], tx_id: int = 0) -> list[bytes | XenStoreError]:
        """Send all requests, then collect their replies: payloads, or errors as values.

        Raises XenStoreGone if the connection is dead or silent for `timeout` seconds.
        """
        if self._silent:
            raise XenStoreGone(self._silent)  # replies may still come, to requests that are not waited for any more
        deadline = time.monotonic() + self.timeout
        try:
            slots = self._router.send_all(requests, tx_id)
        except (PyXSError, OSError) as error:
            self._silent = f"the connection to xenstored broke: {error}"  # perhaps within a packet: nothing may follow
            raise XenStoreGone(self._silent) from error
        # The last reply comes last, so with the first wait they are all there: this thread is woken once.
        return [self._reply(slot, deadline) for slot in reversed(slots)][::-1]

    def transaction(self, body: Callable[[Transaction], T]) -> T:
        """Run `body` in a transaction, again from the start as often as others write in between.

        Raises XenStoreError after 200 conflicts; an exception of `body` rolls back.
        """
        for _attempt in range(_TRANSACTION_TRIES):
            tx_id = int(_value(self.ask([(Op.TRANSACTION_START, NUL)])[0]).rstrip(NUL))
            try:
                result = body(Transaction(self, tx_id))
            except XenStoreGone:
                raise
            except BaseException:
                self.ask([(Op.TRANSACTION_END, b"F" + NUL)], tx_id)
                raise
            reply = self.ask([(Op.TRANSACTION_END, b"T" + NUL)], tx_id)[0]
            if not _is(reply, errno.EAGAIN):
                _value(reply)
                return result
        raise XenStoreError("xenstored refused a transaction 200 times because others kept writing", errno.EAGAIN)

    def watch(self, paths: Sequence[str], token: str) -> Sequence[str | None]:
        """Have changes at or below these paths put into `events`; fires once at once for each.

        Returns the values of the nodes: every change after them makes an event. Several paths may share a token; pyxs
        would deliver an event once per subscription.
        """
        new = [path for path in paths if (path, token) not in self._watches]
        if token not in {watched for _node, watched in self._watches}:
            self._router.subscribe(token.encode(), self)
        self._watches.update((path, token) for path in paths)
        requests = [(Op.WATCH, _path(path) + token.encode() + NUL) for path in paths]
        try:
            replies = self.ask([*requests, *((Op.READ, _path(path)) for path in paths)])
        except XenStoreGone:
            for path in new:
                self._forget(path, token)
            raise
        refused = {path: reply for path, reply in zip(paths, replies) if isinstance(reply, XenStoreError)}
        for path in refused.keys() & set(new):
            self._forget(path, token)
        for reply in refused.values():
            raise reply
        return [_text_or_none(reply) for reply in replies[len(paths) :]]

    def unwatch(self, paths: Sequence[str], token: str) -> None:
        """End these watches. Events that are under way already may still arrive."""
        known = [path for path in paths if (path, token) in self._watches]
        for path in known:
            self._forget(path, token)
        for reply in self.ask([(Op.UNWATCH, _path(path) + token.encode() + NUL) for path in known]):
            _value_or_missing(reply)

    def next_event(self, timeout: float) -> Any | None:
        """Next thing in `events`, or None after `timeout` seconds; XenStoreGone if none can come."""
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            try:
                # In slices, since a dead router thread wakes no one (pyxs has no such signal).
                item = self.events.get(timeout=max(0.0, min(left, 0.25)))
            except queue.Empty:
                self._check_alive()
                if left <= 0:
                    return None
                continue
            if isinstance(item, tuple):
                path, token = item
                return WatchEvent(_text(path), _text(token))
            return item

    def _forget(self, path: str, token: str) -> None:
        self._watches.discard((path, token))
        if token not in {watched for _node, watched in self._watches}:
            self._router.unsubscribe(token.encode(), self)

    def _reply(self, slot: Any, deadline: float) -> bytes | XenStoreError:
        with slot.condition:
            while slot.target is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    self._silent = f"xenstored has not answered for {self.timeout:g} s"
                    raise XenStoreGone(self._silent)
                slot.condition.wait(min(left, 0.25))
                if slot.target is None:
                    self._check_alive()
        packet = slot.target
        if packet.op == Op.ERROR:
            name = _text(packet.payload.rstrip(NUL))
            return XenStoreError(f"xenstored answered {name}", _ERRNO.get(name, 0))
        return bytes(packet.payload)

    def _check_alive(self) -> None:
        if not self._router.thread.is_alive():
            raise XenStoreGone(f"the connection to xenstored broke: {self._router.failure}")

    def _close(self) -> None:
        try:
            for path, token in list(self._watches):
                self.unwatch([path], token)
        except XenStoreError:
            pass  # the daemon drops a connection's watches by itself
        self._router.terminate()


def _path(path: str) -> bytes:
    return path.encode() + NUL


def _text(raw: bytes) -> str:
    """Decode what xenstored sent. A domain's name may be in any encoding, and Ansible takes no text with surrogates."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _text_or_none(reply: bytes | XenStoreError) -> str | None:
    return None if _is(reply, errno.ENOENT) else _text(_value(reply))


def _is(reply: bytes | XenStoreError, code: int) -> bool:
    return isinstance(reply, XenStoreError) and reply.code == code


def _value(reply: bytes | XenStoreError) -> bytes:
    if isinstance(reply, XenStoreError):
        raise reply
    return reply


def _value_or_missing(reply: bytes | XenStoreError) -> None:
    if not _is(reply, errno.ENOENT):
        _value(reply)
