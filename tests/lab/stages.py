# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Performs a play on real Xen and on a simulated host, and compares the traces that it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from short_path import short_directory

from recorded_runs import recorded
from recorded_runs.lab_stage import LabStage
from recorded_runs.scripts import DEVICES, PLAYS
from recorded_runs.simulated_stage import SimulatedStage
from recorded_runs.trace import Event, difference
from xenlab import Host


@contextmanager
def real_stage(host: Host) -> Iterator[LabStage]:
    """A host of the lab, with new guests before and afterwards."""
    stage = LabStage(host)
    stage.renew()
    stage.prepare(DEVICES)
    try:
        yield stage
    finally:
        stage.renew()
        stage.end(DEVICES)


def parted(play: str, real: LabStage, record: bool) -> str | None:
    """Where the traces differ, or None; with `record` the real one is kept for tests without a lab."""
    with short_directory() as directory, SimulatedStage(directory / "h") as simulated:
        simulated.prepare(DEVICES)
        ours = perform(play, simulated)
    real.renew()
    theirs = perform(play, real)
    if record:
        recorded.save(play, theirs)
    return difference(theirs, ours)


def perform(play: str, stage: LabStage | SimulatedStage) -> list[Event]:
    stage.begin()
    PLAYS[play](stage)
    return stage.trace()
