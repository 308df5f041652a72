# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The device model of an HVM guest, asked through the socket that libxl has with it (QMP, QEMU's control protocol).

QEMU serves one client at a time and lets others wait without a word. libxl takes a lock of the domain first, and so
do we. Every question is a connection of its own, as libxl makes them: short, so that others do not wait long for us.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Callable

from ...model.device_model import DeviceModel, DeviceModelError, read_bus
from .contract import LockError

#: Seconds for one question with all that it takes: libxl's own limit (LIBXL_QMP_CMD_TIMEOUT).
ANSWER_SECONDS = 10.0
#: Nothing that is asked here has a longer answer; a device model that sends more is not to be believed.
_LONGEST = 1 << 20
_PIECE = 1 << 16


class Qmp:
    """The socket of one device model; `lock(timeout)` keeps libxl and others of its clients away from it."""

    def __init__(self, socket_path: Path, lock: Callable[[float], AbstractContextManager[None]]) -> None:
        self._socket = socket_path
        self._lock = lock

    def bus(self, timeout: float = ANSWER_SECONDS) -> DeviceModel:
        """Read what is on the guest's PCI bus. Raises DeviceModelError."""
        return read_bus(self._ask(timeout, "query-pci"))

    def unplug(self, name: str, timeout: float = ANSWER_SECONDS) -> None:
        """Ask the guest to eject a device (by QEMU's name), which takes its time. Raises DeviceModelError."""
        self._ask(timeout, "device_del", id=name)

    def _ask(self, timeout: float, command: str, **arguments: str) -> Any:
        deadline = time.monotonic() + timeout
        try:
            with self._lock(timeout), self._connected(deadline) as conversation:
                conversation.ask("qmp_capabilities", {})
                return conversation.ask(command, arguments)
        except LockError as error:
            # pylint does not follow the base class to another package: pylint: disable-next=bad-exception-cause
            raise DeviceModelError(f"its device model (QEMU) cannot be asked: {error}") from error
        except socket.timeout as error:
            raise DeviceModelError(
                f"its device model (QEMU) did not answer within {timeout:g} s: it hangs, or another program holds its"
                " socket"
            ) from error
        except OSError as error:
            raise DeviceModelError(f"its device model (QEMU) cannot be reached ({error.strerror or error})") from error

    @contextmanager
    def _connected(self, deadline: float) -> Iterator[_Conversation]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            connection.connect(str(self._socket))
            conversation = _Conversation(connection, deadline)
            conversation.listen("QMP")  # the greeting
            yield conversation


class _Conversation:
    """Lines of JSON to and fro, until the deadline."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._received = b""

    def ask(self, command: str, arguments: dict[str, str]) -> Any:
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        self._connection.settimeout(self._left())
        self._connection.sendall(json.dumps(request).encode() + b"\r\n")
        return self.listen("return")

    def listen(self, awaited: str) -> Any:
        """Return the value of the next message of this kind; events in between are passed over."""
        while True:
            message = self._message()
            if awaited in message:
                return message[awaited]
            if "error" in message:
                error = message["error"]
                said = error.get("desc") if isinstance(error, dict) else error
                raise DeviceModelError(f"its device model (QEMU) refused: {str(said)[:200]!r}")

    def _message(self) -> dict[str, Any]:
        while b"\n" not in self._received:
            self._connection.settimeout(self._left())
            piece = self._connection.recv(_PIECE)
            if not piece:
                raise DeviceModelError("its device model (QEMU) closed the connection in the middle of an answer")
            self._received += piece
            if len(self._received) > _LONGEST:
                raise DeviceModelError("its device model (QEMU) sends more than any answer can be")
        line, _newline, self._received = self._received.partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DeviceModelError("its device model (QEMU) sends what is no JSON") from error
        return message if isinstance(message, dict) else {}

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout
        return left
