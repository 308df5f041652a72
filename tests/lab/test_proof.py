# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated host is what it claims to be: each play, performed there and on real Xen, leaves the same trace.

With --record the real traces replace those under recorded_runs/recorded, with which `make test` compares.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from short_path import short_directory

from recorded_runs import recorded
from recorded_runs.lab_stage import LabStage
from recorded_runs.scripts import DEVICES, PLAYS
from recorded_runs.simulated_stage import SimulatedStage
from recorded_runs.trace import Event, difference
from xenlab import Host


@pytest.fixture(scope="module")
def real(host: Host) -> Iterator[LabStage]:
    stage = LabStage(host)
    stage.renew()
    stage.prepare(DEVICES)
    yield stage
    stage.renew()
    stage.end(DEVICES)


@pytest.fixture
def simulated() -> Iterator[SimulatedStage]:
    with short_directory() as directory, SimulatedStage(directory / "h") as stage:
        stage.prepare(DEVICES)
        yield stage


@pytest.mark.parametrize("play", PLAYS)
def test_the_same_play_leaves_the_same_trace(
    play: str, real: LabStage, simulated: SimulatedStage, request: pytest.FixtureRequest
) -> None:
    ours = perform(play, simulated)
    real.renew()
    theirs = perform(play, real)
    if request.config.getoption("--record"):
        recorded.save(play, theirs)
    parted = difference(theirs, ours)
    assert parted is None, parted


def perform(play: str, stage: LabStage | SimulatedStage) -> list[Event]:
    stage.begin()
    PLAYS[play](stage)
    return stage.trace()
