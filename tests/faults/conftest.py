# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fault suite shares: one simulated host for each worker, and the table at the end."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import scenario_table

sys.path.insert(0, str(Path(__file__).parent))

from simulated import Host

pytest_terminal_summary = scenario_table.pytest_terminal_summary


@pytest.fixture(scope="session")
def running() -> Iterator[Host]:
    memory = Path("/dev/shm")  # sockets have short paths, and sysfs is faster in memory
    parent = Path(tempfile.mkdtemp(prefix="xen-faults-", dir=memory if memory.is_dir() else None))
    host = Host(parent / "h")
    host.start()
    try:
        yield host
    finally:
        host.close()
        shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
def host(running: Host) -> Host:
    """A host just booted."""
    running.restart()
    return running
