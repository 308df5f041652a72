# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An xl that misbehaves is told of in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host import run_lock
from ansible_collections.xen.pci.plugins.module_utils.host.toolstack import xl
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.device_options import DeviceOptions

DEVICE = Sbdf.parse("0000:01:00.0")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The xl that is found first."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "xl"


def says(program: Path, script: str) -> str:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(xl.XlError) as caught:
        xl.attach(1, DEVICE, DeviceOptions())
    return str(caught.value)


def test_the_first_complaint_of_libxl_is_told(program: Path) -> None:
    script = "echo 'libxl: error: libxl_pci.c:1:f: the cause' >&2; echo 'libxl: error: echo' >&2; exit 1"
    assert says(program, script) == "xl pci-attach said 'libxl_pci.c:1:f: the cause'"


def test_bytes_that_are_no_text(program: Path) -> None:
    assert says(program, r"printf '\377\376 garbage\n' >&2; exit 1") == "xl pci-attach said '\ufffd\ufffd garbage'"


def test_one_that_hangs_is_killed(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xl, "_MOST_SECONDS", 0.1)
    assert "could not be run to its end" in says(program, "exec sleep 60")


def test_none_at_all(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xl, "_MORE_PATH", "")
    monkeypatch.setenv("PATH", str(program.parent))
    with pytest.raises(xl.XlError, match="is not on this host"):
        xl.detach(1, DEVICE)


def test_of_a_program_that_ends_otherwise_the_last_line_is_told(program: Path) -> None:
    script = "printf 'Traceback (most recent call last):\\n  File \"xl\"\\nValueError: x\\n\\n' >&2; exit 1"
    assert says(program, script) == "xl pci-attach said 'ValueError: x'"
    assert says(program, "exit 3") == "xl pci-attach said 'nothing, and ended with status 3'"


def test_it_keeps_the_lock_of_the_run_that_started_it(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "socket"))
    program.write_text(f"#!/bin/sh\nls -l /proc/$$/fd > {tmp_path}/open\n")
    program.chmod(0o755)
    with run_lock.run_lock(5):
        xl.attach(1, DEVICE, DeviceOptions())
    assert f"-> {tmp_path}\n" in (tmp_path / "open").read_text()
    xl.attach(1, DEVICE, DeviceOptions())
    assert f"-> {tmp_path}\n" not in (tmp_path / "open").read_text()
