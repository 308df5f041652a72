# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device model may be gone, deaf, hostile, or somebody else's: each time one sentence, and in time."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host.toolstack.qmp import Qmp
from ansible_collections.xen.pci.plugins.module_utils.model.device_model import DeviceModelError

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'
DONE = b'{"return": {}}\r\n'
EVENT = b'{"event": "DEVICE_DELETED", "data": {}}\r\n'
EMPTY_BUS = b'{"return": [{"bus": 0, "devices": []}]}\r\n'


class Qemu:
    """Sends the first answer to who connects, and one more for each line that it gets."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.client = Qmp(path, lambda _timeout: contextlib.nullcontext())
        self.heard: list[dict[str, object]] = []

    def says(self, *answers: bytes) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        listener.listen()
        threading.Thread(target=self._serve, args=(listener, answers), daemon=True).start()

    def _serve(self, listener: socket.socket, answers: Sequence[bytes]) -> None:
        connection, _address = listener.accept()
        with connection, connection.makefile("rb") as lines:
            for answer in answers:
                with contextlib.suppress(BrokenPipeError):
                    connection.sendall(answer)
                line = lines.readline()
                if not line:
                    return
                self.heard.append(json.loads(line))
            lines.read()


@pytest.fixture
def qemu() -> Iterator[Qemu]:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # a socket's path must be short
        yield Qemu(Path(directory) / "qmp-libxl-7")


def test_a_conversation_with_events_in_between(qemu: Qemu) -> None:
    qemu.says(GREETING, EVENT + DONE, EVENT + EMPTY_BUS)
    assert qemu.client.bus().plugged == {}
    assert [one["execute"] for one in qemu.heard] == ["qmp_capabilities", "query-pci"]


def test_unplug_names_the_device(qemu: Qemu) -> None:
    qemu.says(GREETING, DONE, DONE)
    qemu.client.unplug("pci-pt-01_00.0")
    assert qemu.heard[-1] == {"execute": "device_del", "arguments": {"id": "pci-pt-01_00.0"}}


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((b"",), "did not answer within 0.3 s"),
        ((GREETING, b""), "did not answer"),
        ((GREETING, DONE, b'{"error": {"class": "X", "desc": "no such thing"}}\n'), "refused: 'no such thing'"),
        ((GREETING, DONE, b'{"error": {"desc": "x\\nforged line"}}\n'), r"refused: 'x\\nforged line'"),
        ((GREETING, DONE, b'{"error": 5}\n'), "refused: '5'"),
        ((GREETING, DONE, b"{]\n"), "no JSON"),
        ((GREETING, DONE, b"[" * 100_000 + b"\n"), "no JSON"),
        ((GREETING, DONE, b"x" * (2 << 20)), "more than any answer"),
        ((GREETING, DONE, b'{"return": 5}\n'), "not valid"),
    ],
)
def test_each_trouble_has_its_sentence_in_time(qemu: Qemu, answers: Sequence[bytes], words: str) -> None:
    qemu.says(*answers)
    began = time.monotonic()
    with pytest.raises(DeviceModelError, match=words):
        qemu.client.bus(0.3)
    assert time.monotonic() - began < 10


def test_no_device_model(qemu: Qemu) -> None:
    with pytest.raises(DeviceModelError, match="cannot be reached"):
        qemu.client.bus()
