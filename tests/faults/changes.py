# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes that scenarios disturb, and where each can be met."""

from __future__ import annotations

from collections.abc import Iterator

from scenarios import State
from simulated import A, B, C

CHANGES: dict[str, tuple[State, State]] = {
    "first device": ({"g1": []}, {"g1": [A]}),
    "more": ({"g1": [A]}, {"g1": [A, B]}),
    "fewer": ({"g1": [A, B]}, {"g1": [B]}),
    "both": ({"g1": [A, B]}, {"g1": [B, C]}),
    "last device": ({"g1": [A]}, {"g1": []}),
}
#: Where each change can be met, by who gets there: dom0's kernel or the guest's.
STEPS = {
    "first device": ("0 backend:2", "g1 frontend:1", "0 backend:export", "0 backend:3", "g1 frontend:4", "0 backend:4"),
    "more": ("g1 frontend:7", "0 backend:7", "0 backend:export", "g1 frontend:8", "0 backend:4"),
    "fewer": ("g1 frontend:7", "g1 guest:remove", "0 backend:7", "0 backend:reset", "g1 frontend:8", "0 backend:4"),
    "both": ("g1 frontend:7", "0 backend:export", "g1 frontend:8"),
    "last device": ("g1 frontend:5", "0 backend:6"),
}
#: Where each change is slow, in dom0's kernel, and the state of the backend then.
SLOW = {"first device": ("2", "1"), "more": ("7", "7"), "fewer": ("7", "7"), "last device": ("6", "5")}


def each_step() -> Iterator[tuple[str, str, str]]:
    """Every change with every place at which it can be met: who gets there, and the step."""
    for change, steps in STEPS.items():
        for step in steps:
            who, _space, where = step.partition(" ")
            yield change, who, where
