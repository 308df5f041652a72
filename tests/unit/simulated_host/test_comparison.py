# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison of traces itself: what it takes as the same, and above all what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recorded_runs import recorded
from recorded_runs.trace import DOM0, Event, difference, from_log, read, text

NAMES = {3: "g1", 4: "g2"}
BE, FE = "/local/domain/0/backend/pci/3/0", "/local/domain/3/device/pci/0"


def events(*lines: str) -> list[str]:
    return [str(event).split(None, 1)[0] + " " + event.path + " " + event.value for event in parsed(*lines)]


def parsed(*lines: str) -> list[Event]:
    return from_log([f"[20261123T00:00:00.000Z]  {line}" for line in lines], NAMES)


def test_a_transaction_counts_when_it_is_committed() -> None:
    lines = [f"A5.1 write {BE}/state 7", "D0 write backend/pci/3/0/state-0 3", "A5.1 commit"]
    assert [event.writer for event in parsed(*lines)] == ["dom0", "toolstack"]
    assert parsed(f"A5.1 write {BE}/state 7") == []
    assert parsed(f"A5.1 write {BE}/state 7", "A5.1 conflict", "A5.1 commit") == []


def test_oxenstoreds_own_ways_to_commit() -> None:
    merged = parsed("D3.5 write device/pci/0/state 3", f"D3.5 coalesce write {FE}/state")
    assert [(event.writer, event.value) for event in merged] == [("g1", "3")]
    repeated = parsed(f"A5.1 write {BE}/state 7", "A5.1 conflict", f"r(1):A5.2 write {BE}/state 7", "r(1):A5.2 commit")
    assert [(event.writer, event.value) for event in repeated] == [("toolstack", "7")]


def test_what_changes_nothing_or_concerns_others_is_left_out() -> None:
    assert parsed(f"A5 rm {BE}/vdevfn-0", "A5 write /local/domain/3/data/x 1", "D0 watch backend 1") == []
    assert len(parsed(f"A5 write {BE}/vdevfn-0 18", f"A5 rm {BE}/vdevfn-0", f"A5 rm {BE}/vdevfn-0")) == 2
    assert len(parsed(f"A5 write {BE}/state 1", "A5 rm /local/domain/0/backend/pci")) == 2


def test_numbers_become_names() -> None:
    told = events(
        f"A5 write {BE}/frontend {FE}",
        f"A5 write {BE}/frontend-id 3",
        f"A5 setperms {BE} n0 r3",
        "D3 write device/pci/0/event-channel 17",
        "A5 write /libxl/pci/0000-01-00-0/domid 4",
    )
    home = "/local/domain/0/backend/pci/g1/0"
    assert told == [
        f"toolstack {home}/frontend /local/domain/g1/device/pci/0",
        f"toolstack {home}/frontend-id g1",
        f"toolstack {home} n0 rg1",
        "g1 /local/domain/g1/device/pci/0/event-channel *",
        "toolstack /libxl/pci/0000-01-00-0/domid g2",
    ]


def test_a_file_keeps_everything() -> None:
    real = recorded.load("batches")
    assert read(text(real)) == real


@pytest.mark.parametrize("play", sorted(path.stem for path in recorded.DIRECTORY.glob("*.txt")))
def test_every_single_change_to_a_trace_is_a_difference(play: str) -> None:
    """Except those that the comparison is told to overlook: at most the order of two neighbours."""
    real = recorded.load(play)
    assert difference(real, real) is None
    for number, event in enumerate(real):
        if "/error/device/" in event.path and play == "destroyed_guest":
            continue
        for other in ([replace(event, value="9")], [replace(event, writer="g9")], [], [event, event]):
            if event.writer == "script" and other and other[0].value:
                continue
            assert difference(real, [*real[:number], *other, *real[number + 1 :]]) is not None, event


def test_the_order_of_a_handshake_counts() -> None:
    real = recorded.load("first_device_and_close")
    swapped = 0
    for number in range(len(real) - 1):
        first, second = real[number : number + 2]
        if first == second:
            continue
        other = [*real[:number], second, first, *real[number + 2 :]]
        if difference(real, other) is None:
            # Only what the two kernels do side by side, and the parent of all backends.
            if "/local/domain/0/backend/pci" in (first.path, second.path):
                continue
            assert {first.writer, second.writer} in ({DOM0, "g1"}, {"toolstack", "g1"})
            swapped += 1
    assert swapped < len(real) / 8
