# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real host did in each play, as recorded in the lab."""

from __future__ import annotations

from pathlib import Path

from recorded_runs.trace import Event, read, text

DIRECTORY = Path(__file__).with_name("recorded")


def load(play: str) -> list[Event]:
    """The recorded trace of a play."""
    return read((DIRECTORY / f"{play}.txt").read_text(encoding="utf-8"))


def save(play: str, events: list[Event]) -> None:
    """Record a play."""
    (DIRECTORY / f"{play}.txt").write_text(text(events), encoding="utf-8")
