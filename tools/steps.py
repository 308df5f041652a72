# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run several make targets as the steps of a suite, all of them even if one fails, and count what really ran.

As many steps run side by side as the machine has processors, each as soon as there is room for it, in the order in
which they are named. What a step prints is shown when it has ended, and stays in .build/results/<step>.log; a single
step prints as it goes.

A step that leaves .build/results/<step>.xml (JUnit, as pytest writes it) counts by its tests, any other step as one.
A step that could not run leaves .build/results/<step>.skipped with the reason: it is neither passed nor failed.
The sums are left in .build/results/<suite>.total as "<passed> <failed>", and what failed in <suite>.failures, for
.ci/run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

CLONE = Path(__file__).resolve().parent.parent
RESULTS = CLONE / ".build/results"
# More of them would only multiply the workers of those that use all processors by themselves.
MOST_LANES = 4
# How long a step that is interrupted may take to end what it has started.
GRACE = 20.0
# How often to look whether a signal has come.
GLANCE = 0.5


@dataclass(frozen=True)
class Outcome:
    """What became of one step; note says why there is nothing to count, or what is odd about the counts.

    `failures` has a line for each failed test.
    """

    step: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    note: str = ""
    failures: tuple[str, ...] = ()


def read_report(report: Path) -> tuple[int, tuple[str, ...], int]:
    """(passed, a line for each that failed, skipped) of JUnit. Expected failures are reported by pytest as skipped."""
    passed = skipped = 0
    failures = []
    for case in ET.parse(report).iter("testcase"):
        # A test can pass and its teardown fail: two children, one bad test.
        bad = [child for child in case if child.tag in ("failure", "error")]
        if bad:
            why = (bad[0].get("message") or "").strip().partition("\n")[0][:300]
            failures.append(f"{case.get('classname')} {case.get('name')}: {why}")
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return passed, tuple(failures), skipped


def judge(step: str, status: int, seconds: float) -> Outcome:
    """Weigh the exit status of a step against the report it left: neither alone can make a step green."""
    report, excuse = RESULTS / f"{step}.xml", RESULTS / f"{step}.skipped"
    if not report.exists():
        if status:
            return Outcome(step, 0, 1, 0, seconds, f"status {status}", (f"status {status}",))
        if excuse.exists():
            return Outcome(step, 0, 0, 1, seconds, excuse.read_text().strip())
        return Outcome(step, 1, 0, 0, seconds)

    passed = skipped = 0
    failures: tuple[str, ...] = ()
    note = ""
    try:
        passed, failures, skipped = read_report(report)
    except ET.ParseError as error:
        note = f"unreadable report: {error}"
    if status and not failures and not note:
        note = f"no test failed, but the step did (status {status})"
    elif not passed and not failures and not note:
        note = "no test ran"
    if note:
        failures = (note,)
    return Outcome(step, passed, len(failures), skipped, seconds, note, failures)


class Interruption:
    """Counts the signals that ask for the end. They raise nothing: an exception at any moment may break anything."""

    signals = 0

    @classmethod
    def watch(cls) -> None:
        """Count from now on."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, cls._count)

    @classmethod
    def _count(cls, _number: int, _frame: FrameType | None) -> None:
        cls.signals += 1


class Lanes:
    """Runs steps side by side, each in a process group of its own, so that all it has started can be ended.

    It is a context: what still runs when it is left ends.
    """

    def __init__(self, count: int) -> None:
        self._together = count > 1
        self._pool = ThreadPoolExecutor(count)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._leaving = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_reason: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._leaving = True
            running = tuple(self._running)
        end(running)
        self._pool.shutdown()

    def outcomes(self, steps: Sequence[str]) -> Iterator[Outcome]:
        """Run them all, or until a signal asks for the end; each outcome as soon as it is known."""
        pending = {self._pool.submit(self._run, step) for step in steps}
        while pending and not Interruption.signals:
            ended, pending = wait(pending, GLANCE, FIRST_COMPLETED)
            for one in ended:
                yield one.result()

    def _run(self, step: str) -> Outcome:
        """Run one make target with the results of earlier runs out of the way."""
        for suffix in ("xml", "skipped", "log"):
            (RESULTS / f"{step}.{suffix}").unlink(missing_ok=True)
        print(f"... {step}" if self._together else f"\n=== {step}", flush=True)
        start = time.monotonic()
        if self._together:
            with (RESULTS / f"{step}.log").open("wb") as log:
                status = self._make(step, stdout=log, stderr=subprocess.STDOUT)
        else:
            status = self._make(step)
        return judge(step, status, time.monotonic() - start)

    def _make(self, step: str, **output: Any) -> int:
        words = ["make", "--no-print-directory", step]
        with self._lock:
            if self._leaving:
                return 1
            process = subprocess.Popen(words, cwd=CLONE, stdin=subprocess.DEVNULL, process_group=0, **output)
            self._running.add(process)
        status = process.wait()
        with self._lock:
            self._running.discard(process)
        return status


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End process groups: first as Ctrl-C does, so that they can clean up, then by force."""
    for process in processes:
        _signal(process, signal.SIGINT)
    deadline = time.monotonic() + GRACE
    # A second Ctrl-C: no more patience.
    while any(process.poll() is None for process in processes) and Interruption.signals < 2:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    for process in processes:
        _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def show(outcome: Outcome) -> None:
    """Print what a step has printed, all of it together."""
    log = RESULTS / f"{outcome.step}.log"
    if not log.exists():  # it printed as it went
        return
    print(f"\n=== {outcome.step} ({outcome.seconds:.0f} s)", flush=True)
    with log.open("rb") as text:
        shutil.copyfileobj(text, sys.stdout.buffer)
    sys.stdout.flush()


def sum_up(suite: str, outcomes: Sequence[Outcome]) -> int:
    """Print the table, leave the sums; how many failed."""
    print(f"\n{'step':<20}{'passed':>8}{'failed':>8}{'skipped':>8}{'seconds':>9}")
    for it in outcomes:
        print(f"{it.step:<20}{it.passed:>8}{it.failed:>8}{it.skipped:>8}{it.seconds:>9.1f}  {it.note}".rstrip())
    bad = [f"{it.step}: {failure}\n" for it in outcomes for failure in it.failures]
    (RESULTS / f"{suite}.failures").write_text("".join(bad))
    print("".join(bad), end="")
    passed, failed = sum(it.passed for it in outcomes), sum(it.failed for it in outcomes)
    (RESULTS / f"{suite}.total").write_text(f"{passed} {failed}\n")
    print(f"{suite}: {passed} passed, {failed} failed")
    return failed


def main() -> int:
    """Run the steps, print the table, leave the sums; the exit status says whether any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", help="name under which the sums are left")
    parser.add_argument("steps", nargs="+", help="make targets")
    parser.add_argument("--lanes", type=int, default=min(os.cpu_count() or 1, MOST_LANES), help="how many side by side")
    arguments = parser.parse_args()
    Interruption.watch()

    RESULTS.mkdir(parents=True, exist_ok=True)
    for suffix in ("total", "failures"):
        (RESULTS / f"{arguments.suite}.{suffix}").unlink(missing_ok=True)
    found: dict[str, Outcome] = {}
    with Lanes(min(arguments.lanes, len(arguments.steps))) as lanes:
        for outcome in lanes.outcomes(arguments.steps):
            show(outcome)
            found[outcome.step] = outcome
    if Interruption.signals:
        print(f"\n{arguments.suite}: interrupted", file=sys.stderr)
        return 130
    return 1 if sum_up(arguments.suite, [found[step] for step in arguments.steps]) else 0


if __name__ == "__main__":
    sys.exit(main())
