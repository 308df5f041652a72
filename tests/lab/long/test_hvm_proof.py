# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plays of an HVM guest, on real Xen and on the simulated host: the same traces. Otherwise as test_proof.py."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorded_runs import recorded
from recorded_runs.lab_stage import LabStage
from recorded_runs.scripts import DEVICES, HVM_PLAYS
from recorded_runs.simulated_stage import SimulatedStage
from recorded_runs.trace import difference
from xenlab import Host


@pytest.fixture(scope="module")
def real(hvm_host: Host) -> Iterator[LabStage]:
    stage = LabStage(hvm_host)
    stage.prepare(DEVICES)
    stage.start_hvm_guest()
    yield stage
    stage.end(DEVICES)


@pytest.mark.parametrize("play", HVM_PLAYS)
def test_the_same_play_leaves_the_same_trace(play: str, real: LabStage, request: pytest.FixtureRequest) -> None:
    real.begin(["h1"])
    HVM_PLAYS[play](real)
    theirs = real.trace()
    if request.config.getoption("--record"):
        recorded.save(play, theirs)
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="sx") as place, SimulatedStage(Path(place) / "h") as simulated:
        simulated.prepare(DEVICES)
        simulated.start_hvm_guest()
        simulated.begin(["h1"])
        HVM_PLAYS[play](simulated)
        parted = difference(theirs, simulated.trace())
    assert parted is None, parted
