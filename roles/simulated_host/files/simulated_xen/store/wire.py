# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The xenstore wire format: operation numbers, limits, packets (Xen's public header io/xs_wire.h)."""

from __future__ import annotations

import enum
import errno
import struct
from dataclasses import dataclass

PAYLOAD_MAX = 4096
ABSOLUTE_PATH_MAX = 3072
RELATIVE_PATH_MAX = 2048

_HEADER = struct.Struct("<IIII")


class Op(enum.IntEnum):
    """Message types."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESET_WATCHES = 21
    DIRECTORY_PART = 22


#: The errors that the protocol has names for (xsd_errors of io/xs_wire.h). Python's own table of names
#: will not do: Linux has two for some numbers.
_NAMES = {
    errno.EINVAL: "EINVAL",
    errno.EACCES: "EACCES",
    errno.EEXIST: "EEXIST",
    errno.ENOENT: "ENOENT",
    errno.ENOSPC: "ENOSPC",
    errno.ENOSYS: "ENOSYS",
    errno.EBUSY: "EBUSY",
    errno.EAGAIN: "EAGAIN",
    errno.E2BIG: "E2BIG",
    errno.EPERM: "EPERM",
}


class StoreError(Exception):
    """A request is refused; ``number`` is the errno that the client is told."""

    def __init__(self, number: int) -> None:
        super().__init__(_NAMES[number])
        self.number = number

    @property
    def payload(self) -> bytes:
        """The error's name as it travels, with its terminating NUL."""
        return _NAMES[self.number].encode() + b"\0"


class BrokenStream(Exception):
    """The client sent something after which the stream cannot be followed any more."""


@dataclass(frozen=True)
class Packet:
    """One message in either direction."""

    type: int
    request: int
    transaction: int
    payload: bytes

    def encode(self) -> bytes:
        """Header and payload as they go over the socket."""
        return _HEADER.pack(self.type, self.request, self.transaction, len(self.payload)) + self.payload

    def strings(self) -> list[bytes]:
        """The payload's NUL-terminated strings; EINVAL if the last one is not terminated."""
        if not self.payload.endswith(b"\0"):
            raise StoreError(errno.EINVAL)
        return self.payload[:-1].split(b"\0")


def decode(buffer: bytes) -> tuple[Packet | None, int]:
    """Take the first packet off `buffer`: the packet (None: incomplete) and how many bytes it used."""
    if len(buffer) < _HEADER.size:
        return None, 0
    kind, request, transaction, length = _HEADER.unpack_from(buffer)
    if length > PAYLOAD_MAX:
        raise BrokenStream(f"payload of {length} bytes")
    end = _HEADER.size + length
    if len(buffer) < end:
        return None, 0
    return Packet(kind, request, transaction, bytes(buffer[_HEADER.size : end])), end
