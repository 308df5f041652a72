# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that outlives a reboot: whole, read back as written, and worth nothing if anybody has spoilt it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host.device_memory import DeviceMemory
from ansible_collections.xen.pci.plugins.module_utils.model.known_devices import KnownDevice

KNOWN = [
    KnownDevice("0000:00/03.0", "8086", "10d3", "", "", "020000", 0, "00-01", None, ("52:54:00:00:01:01",)),
    KnownDevice("0000:00/0b.0", "1b36", "0010", "", "", "010802", 0, None, "NV1"),
]


@pytest.fixture
def memory(tmp_path: Path) -> DeviceMemory:
    return DeviceMemory(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "var/lib/xen.pci/devices.json"


def test_what_is_written_is_read(memory: DeviceMemory, file: Path) -> None:
    assert memory.read() == []
    memory.write(KNOWN)
    assert memory.read() == KNOWN
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_what_is_known_already_is_not_written_again(memory: DeviceMemory, file: Path) -> None:
    memory.write(KNOWN)
    before = file.stat()
    memory.write(KNOWN)
    assert file.stat().st_ino == before.st_ino
    memory.write(KNOWN[1:])
    assert memory.read() == KNOWN[1:]


def broken(**changes: Any) -> str:
    return json.dumps({"format": 1, "devices": [{**asdict(KNOWN[1]), **changes}]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        json.dumps({"format": 2, "devices": []}),
        json.dumps({"format": 1, "devices": [{"path": "x"}]}),
        json.dumps({"format": 1, "devices": ["x"]}),
        broken(function="0"),
        broken(vendor=None),
        broken(nvme_serial=7),
        broken(macs="52:54:00:00:01:01"),
        broken(macs=[None]),
    ],
)
def test_a_spoilt_file_counts_as_lost(memory: DeviceMemory, file: Path, text: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert memory.read() == []
