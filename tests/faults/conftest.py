# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fault suite shares: a simulated host for each worker, how hypothesis searches, the table at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import property_tests
import pytest
import scenario_table

sys.path.insert(0, str(Path(__file__).parent))

from simulated import Host, started

pytest_configure = property_tests.pytest_configure
pytest_terminal_summary = scenario_table.pytest_terminal_summary


@pytest.fixture(scope="session")
def running() -> Iterator[Host]:
    with started() as host:
        yield host


@pytest.fixture
def host(running: Host) -> Host:
    """A host just booted."""
    running.restart()
    return running


@pytest.fixture(params=[False, True], ids=["", "stub domain"])
def hvm(host: Host, request: pytest.FixtureRequest) -> Host:
    """A host with h1."""
    host.ask("create", config={"name": "h1", "type": "hvm", "stubdomain": request.param})
    return host


@pytest.fixture
def plain(host: Host) -> Host:
    """A host with h1, whose device model is in dom0."""
    host.ask("create", config={"name": "h1", "type": "hvm"})
    return host
