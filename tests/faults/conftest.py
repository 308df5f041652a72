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
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from simulated import Host


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


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table: scenario, what happened, verdict."""
    rows = []
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            properties = dict(getattr(report, "user_properties", ()))
            if getattr(report, "when", "call") == "call" and "scenario" in properties:
                verdict = "as it must be" if outcome == "passed" else "WRONG"
                rows.append((properties["scenario"], properties.get("happened", ""), verdict))
    if rows:
        width = max(len(row[0]) for row in rows)
        terminalreporter.section("scenarios")
        for scenario, happened, verdict in sorted(rows):
            terminalreporter.write_line(f"{scenario:<{width}}  {verdict:<13}  {happened}")
        good = sum(row[2] != "WRONG" for row in rows)
        terminalreporter.write_line(f"{len(rows)} scenarios, {good} as they must be")
