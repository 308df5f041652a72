# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Play random episodes, shrink what fails, and say how to play it again.

By hand it is the command behind `make fuzz`: `tests/fuzz/hunt.py --help`.

Hypothesis' stateful tests were considered and not taken. A step costs a second of real processes, so shrinking must be
bounded in episodes and must bear a step that does not fail each time (a race), which Hypothesis reports as flaky; and
a failing example has to be a text that stays valid when the generator changes, since it becomes a test.
"""

from __future__ import annotations

import argparse
import multiprocessing
import secrets
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import paths  # before the others, which are looked for where it says
from episode import Episode, Failure, shrink
from generator import THEMES, Generator
from machines import MACHINES, Machine
from short_path import short_directory
from step import Step, parse
from world import World

STEPS = 8
PROGRAM = Path(__file__).resolve().relative_to(paths.ROOT)


@dataclass(frozen=True)
class Choice:
    """What random episodes are chosen by; where machine or theme is not given, chance chooses it as well."""

    seed: str
    machine: str | None = None
    theme: str | None = None


def play(world: World, choice: Choice, number: int) -> str:
    """One random episode; what is to be said of it if a rule was broken, else nothing."""
    generator = Generator(f"{choice.seed}/{number}", world.truth, choice.machine, choice.theme)
    failure = Episode(world, generator.machine).play(generator.steps(STEPS))
    if failure is None:
        return ""
    title = f"seed {choice.seed}, episode {number}, theme {generator.theme}"
    return report(world, generator.machine, failure, title)


def report(world: World, machine: Machine, failure: Failure, title: str) -> str:
    """The shortest steps that break the same rule, what they came from, and how to play them again."""
    short = shrink(world, machine, failure)
    line = "; ".join(map(str, short.steps))
    return "\n".join(
        [
            f"{title}, machine {machine.name}: {short.violation}",
            f"shortest of {len(failure.steps)} steps: {line}",
            f"all steps: {'; '.join(map(str, failure.steps))}",
            f"play it again: {PROGRAM} --machine {machine.name} --steps '{line}'",
        ]
    )


def replay(machine: str, steps: list[Step]) -> bool:
    """Play given steps and print each run; whether a rule was broken."""
    with short_directory() as parent:
        world = World(parent / "h")
        try:
            episode = Episode(world, MACHINES[machine])
            failure = episode.play(steps)
            print("\n".join(episode.results))
            print(failure.violation if failure else "no rule was broken")
            if failure:
                print((world.directory / "trace").read_text()[-6000:])
            return failure is not None
        finally:
            world.close()


def _work(choice: Choice, numbers: Iterable[int], deadline: float, found: multiprocessing.Queue[str]) -> None:
    with short_directory() as parent:
        world = World(parent / "h")
        try:
            for number in numbers:
                if time.monotonic() > deadline:
                    break
                found.put(play(world, choice, number))
        finally:
            world.close()
            found.put("end")


def hunt(choice: Choice, minutes: float, workers: int) -> int:
    """Play episodes for some time; how many broke a rule."""
    print(f"seed {choice.seed}, {minutes:g} minutes, {workers} workers", flush=True)
    found: multiprocessing.Queue[str] = multiprocessing.Queue()
    deadline = time.monotonic() + minutes * 60
    processes = [
        multiprocessing.Process(target=_work, args=(choice, range(first, 10**6, workers), deadline, found))
        for first in range(workers)
    ]
    for process in processes:
        process.start()
    episodes = broken = ended = 0
    while ended < workers:
        words = found.get()
        if words == "end":
            ended += 1
            continue
        episodes += 1
        if words:
            broken += 1
            print(f"\n{words}", flush=True)
    print(f"\n{episodes} episodes, {broken} broke a rule (seed {choice.seed})")
    return broken


def main() -> int:
    """Hunt, or play one episode or given steps again."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of the choices (default: a fresh one)")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--episode", type=int, help="play only the episode of this number again")
    parser.add_argument("--machine", choices=MACHINES, help="on this machine (default: chance, for --steps pv)")
    parser.add_argument("--theme", choices=THEMES, help="of this kind (default: chance)")
    parser.add_argument("--steps", help="play these steps again (see step.py), with semicolons between them")
    options = parser.parse_args()
    if options.steps:
        return int(replay(options.machine or "pv", parse(options.steps)))
    choice = Choice(options.seed, options.machine, options.theme)
    if options.episode is not None:
        with short_directory() as parent:
            world = World(parent / "h")
            try:
                words = play(world, choice, options.episode)
            finally:
                world.close()
        print(words or "no rule was broken")
        return int(bool(words))
    return int(bool(hunt(choice, options.minutes, options.workers)))


if __name__ == "__main__":
    sys.exit(main())
