# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated host is what it claims to be: each play, performed there and on real Xen, leaves the same trace.

With --record the real traces replace those under recorded_runs/recorded, with which `make test` compares. Those in
which xl alone ends a guest, or waits for one, are in long/test_xl_proof.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stages import parted, real_stage

from recorded_runs.lab_stage import LabStage
from recorded_runs.scripts import ENDS_BY_XL, PLAYS
from xenlab import Host


@pytest.fixture(scope="module")
def real(host: Host) -> Iterator[LabStage]:
    with real_stage(host) as stage:
        yield stage


@pytest.mark.parametrize("play", [play for play in PLAYS if play not in ENDS_BY_XL])
def test_the_same_play_leaves_the_same_trace(play: str, real: LabStage, request: pytest.FixtureRequest) -> None:
    assert parted(play, real, request.config.getoption("--record")) is None
