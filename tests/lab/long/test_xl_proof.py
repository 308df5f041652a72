# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plays in which xl alone ends a guest, or waits for one: the same traces on both hosts, as in test_proof.py.

They take longest, the product has no part in them, and `make test` compares the simulated host with what was recorded.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stages import parted, real_stage

from recorded_runs.lab_stage import LabStage
from recorded_runs.scripts import ENDS_BY_XL
from xenlab import Host


@pytest.fixture(scope="module")
def real(host: Host) -> Iterator[LabStage]:
    with real_stage(host) as stage:
        yield stage


@pytest.mark.parametrize("play", ENDS_BY_XL)
def test_the_same_play_leaves_the_same_trace(play: str, real: LabStage, request: pytest.FixtureRequest) -> None:
    assert parted(play, real, request.config.getoption("--record")) is None
