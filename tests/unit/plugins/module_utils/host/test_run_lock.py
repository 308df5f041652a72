# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One changing run at a time on a host, however the run before it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host.run_lock import RunLockError, check_timeout, run_lock

HOLDER = (
    "import sys\n"
    "from ansible_collections.xen.pci.plugins.module_utils.host.run_lock import run_lock\n"
    "with run_lock(5):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "socket"))
    return tmp_path


def holder() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_gives_up_in_time_and_says_who_to_look_for(directory: Path) -> None:
    with holder() as other:
        with pytest.raises(RunLockError, match=f"another run.*fuser {directory}"), run_lock(0.1):
            pass
        other.communicate()


def test_the_next_run_gets_it_after_the_first_was_killed() -> None:
    with holder() as other:
        other.send_signal(signal.SIGKILL)
        with run_lock(5):
            pass


def test_the_next_run_waits_for_the_first() -> None:
    with holder() as other:
        assert other.stdin is not None
        other.stdin.close()
        with run_lock(5):
            pass


def test_nothing_is_left_behind(directory: Path) -> None:
    with run_lock(1):
        pass
    assert list(directory.iterdir()) == []


def test_no_dom0_is_told(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setenv("XENSTORED_PATH", str(directory / "none" / "socket"))
    with pytest.raises(RunLockError, match="Xen dom0"), run_lock(1):
        pass


@pytest.mark.parametrize("timeout", [0, -1])
def test_no_time_is_refused(timeout: int) -> None:
    with pytest.raises(RunLockError, match=f"timeout must be greater than 0, not {timeout}"):
        check_timeout(timeout)
    check_timeout(0.1)
