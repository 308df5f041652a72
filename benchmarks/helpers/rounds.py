# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options, alternating rounds and tables that the benchmarks share.

Rounds go from one subject to the next, so that a noisy machine is noisy for all. Of the seconds that each took, the
median says what to expect, and the least what it costs when nothing disturbs. On a machine that does other things
meanwhile, the processor's time says more than the clock's.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent.parent


def options(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options of all comparisons."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="PATH", help="another checkout, to compare this one with")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often each is measured (default: {rounds})")
    parser.add_argument("--processor", action="store_true", help="measure the processor's time, not the clock's")
    return parser


def stopwatch(processor: bool) -> Callable[[], float]:
    """A clock that tells seconds; or the processor's time of this process's children that have ended."""
    return _of_children if processor else time.perf_counter


def _of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measured(act: Callable[..., object], *arguments: object, clock: Callable[[], float]) -> float:
    """How long a call takes."""
    began = clock()
    act(*arguments)
    return clock() - began


def checkouts(before: Path | None) -> dict[str, Path]:
    """The checkouts to compare by the word for each; this one is the last."""
    return {**({"before": before} if before is not None else {}), "after": ROOT}


def alternate(subjects: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The seconds that each subject says it took, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _round in range(rounds):
        for name, measure in subjects.items():
            seconds[name].append(measure())
    return seconds


def ratio(seconds: Sequence[float], to: Sequence[float]) -> str:
    """How many times as long: by the medians, and by the least of each."""
    return f"{median(seconds) / median(to):.2f} ({min(seconds) / min(to):.2f})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table in Markdown, as the documentation has it."""
    lines = [head, ["---"] * len(head), *rows]
    for line in lines:
        print(f"| {' | '.join(line)} |")
    print()
