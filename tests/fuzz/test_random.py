# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Episodes drawn by chance on simulated hosts, the same ones in each run: `make fuzz` plays fresh ones."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hunt import Choice, play
from world import World

#: Fixed, so that a run fails because of a change and not by luck.
SEED = os.environ.get("FUZZ_SEED") or "2"
EPISODES = int(os.environ.get("FUZZ_EPISODES", "48"))
SHARDS = 8


@pytest.mark.parametrize("shard", range(SHARDS))
def test_random_episodes(world: World, shard: int, record_property: Callable[[str, object], None]) -> None:
    record_property("scenario", f"random episodes {shard}, seed {SEED}")
    numbers = range(shard, EPISODES, SHARDS)
    broken = [words for number in numbers if (words := play(world, Choice(SEED), number))]
    record_property("happened", f"{len(numbers)} episodes")
    assert not broken, "\n\n".join(broken)
