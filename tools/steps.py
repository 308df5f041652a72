# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run several make targets as the steps of a suite, all of them even if one fails, and count what really ran.

A step that leaves .build/results/<step>.xml (JUnit, as pytest writes it) counts by its tests, any other step as one.
A step that could not run leaves .build/results/<step>.skipped with the reason: it is neither passed nor failed.
The sums are left in .build/results/<suite>.total as "<passed> <failed>", and what failed in <suite>.failures, for
.ci/run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
RESULTS = CLONE / ".build/results"


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


def run(step: str) -> Outcome:
    """Run one make target with the results of earlier runs out of the way."""
    for suffix in ("xml", "skipped"):
        (RESULTS / f"{step}.{suffix}").unlink(missing_ok=True)
    print(f"\n=== {step}", flush=True)
    start = time.monotonic()
    status = subprocess.run(["make", "--no-print-directory", step], cwd=CLONE, check=False).returncode
    return judge(step, status, time.monotonic() - start)


def main() -> int:
    """Run the steps, print the table, leave the sums; the exit status tells whether any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", help="name under which the sums are left")
    parser.add_argument("steps", nargs="+", help="make targets")
    arguments = parser.parse_args()

    RESULTS.mkdir(parents=True, exist_ok=True)
    total = RESULTS / f"{arguments.suite}.total"
    total.unlink(missing_ok=True)
    failures = total.with_suffix(".failures")
    failures.unlink(missing_ok=True)
    outcomes = [run(step) for step in arguments.steps]

    print(f"\n{'step':<16}{'passed':>8}{'failed':>8}{'skipped':>8}{'seconds':>9}")
    for it in outcomes:
        print(f"{it.step:<16}{it.passed:>8}{it.failed:>8}{it.skipped:>8}{it.seconds:>9.1f}  {it.note}".rstrip())
    bad = [f"{it.step}: {failure}\n" for it in outcomes for failure in it.failures]
    failures.write_text("".join(bad))
    print("".join(bad), end="")
    passed, failed = sum(it.passed for it in outcomes), sum(it.failed for it in outcomes)
    total.write_text(f"{passed} {failed}\n")
    print(f"{arguments.suite}: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
