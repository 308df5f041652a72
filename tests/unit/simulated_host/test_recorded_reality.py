# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated host against traces that were recorded on real Xen: each step, its writer, its value.

The product's plays are replayed (the toolstack's part as it was recorded, so that the product may change);
those of xl are performed by the simulated xl. An HVM guest's kernel writes nothing to xenstore, and libxl does most of
the toolstack's part: its plays are performed as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from recorded_runs import recorded
from recorded_runs.replay import replay
from recorded_runs.scripts import BY_XL, DEVICES, HVM_PLAYS, PLAYS
from recorded_runs.simulated_stage import SimulatedStage
from recorded_runs.stage import GUESTS
from recorded_runs.trace import DOM0, difference


@pytest.mark.parametrize("play", [name for name in PLAYS if name not in BY_XL])
def test_kernels_answer_as_they_did_on_real_xen(play: str, short_path: Path) -> None:
    real = recorded.load(play)
    assert sum(event.writer == DOM0 for event in real) > 3
    parted = difference(real, replay(real, short_path))
    assert parted is None, parted


@pytest.mark.parametrize("play", BY_XL)
def test_xl_does_what_it_did_on_real_xen(play: str, short_path: Path) -> None:
    with SimulatedStage(short_path / "h") as stage:
        stage.prepare(DEVICES)
        assert performed_otherwise(play, stage, GUESTS) is None


@pytest.mark.parametrize("play", HVM_PLAYS)
def test_devices_of_an_hvm_guest_go_as_they_did_on_real_xen(play: str, short_path: Path) -> None:
    with SimulatedStage(short_path / "h") as stage:
        stage.prepare(DEVICES)
        stage.start_hvm_guest()
        assert performed_otherwise(play, stage, ["h1"]) is None


def performed_otherwise(play: str, stage: SimulatedStage, guests: Sequence[str]) -> str | None:
    """Perform a play with these guests; where it parts from the recording."""
    stage.begin(guests)
    {**PLAYS, **HVM_PLAYS}[play](stage)
    return difference(recorded.load(play), stage.trace())


def test_every_recording_belongs_to_a_play() -> None:
    assert {path.stem for path in recorded.DIRECTORY.glob("*.txt")} == {*PLAYS, *HVM_PLAYS}
