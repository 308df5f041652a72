# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives tests a simulated host with the engine on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from short_path import short_directory

from simulated_xen import daemon

sys.path.insert(0, str(Path(__file__).parent))

from engine_host import TWINS, A, B, C, D, Simulated


@pytest.fixture(scope="module")
def running() -> Iterator[Simulated]:
    description = json.loads((Path(daemon.__file__).parent / "machines" / "small-server.json").read_text())
    description["hidden"] = [A, B, C, D, *TWINS]
    with short_directory() as parent:
        machine = parent / "machine.json"
        machine.write_text(json.dumps(description))
        simulated = Simulated(parent / "host", machine)
        try:
            yield simulated
        finally:
            simulated.close()


@pytest.fixture
def host(running: Simulated) -> Iterator[Simulated]:
    """A host just booted: g1 and g2 wait for devices, g3 has no PCI frontend; six devices are pciback's."""
    running.start()
    yield running
    running.stop()
