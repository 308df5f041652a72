# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One world for each worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import scenario_table
from short_path import short_directory
from world import World

pytest_terminal_summary = scenario_table.pytest_terminal_summary


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    with short_directory() as parent:
        world = World(parent / "h")
        try:
            yield world
        finally:
            world.close()
