# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of a suite: what counts as passed, that one hides no other, that they run side by side, and how they end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import steps

PATIENCE = 60.0
#: Waits until a file is there, so that two steps can only end if they run at the same time.
MEET = """
meet = touch $(1); until [ -e $(2) ]; do sleep 0.05; done
"""


class Clone:
    """A directory with a Makefile and a copy of the program, which looks for both beside itself."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "tools").mkdir()
        shutil.copy(steps.__file__, directory / "tools")
        self.results = directory / ".build" / "results"

    def makefile(self, text: str) -> None:
        (self.directory / "Makefile").write_text("SHELL := /bin/bash\n" + text.replace("    ", "\t"))

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "tools/steps.py", "suite", *words],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))},
        )

    def run(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        output = process.communicate(timeout=PATIENCE)[0]
        return process.returncode, output


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def junit(*cases: str) -> str:
    return "<testsuites><testsuite>" + "".join(cases) + "</testsuite></testsuites>"


GOOD = '<testcase classname="a" name="good"/>'
SKIPPED = '<testcase classname="a" name="later"><skipped message="no"/></testcase>'
BAD = '<testcase classname="a" name="bad"><failure message="first&#10;second"/><error message="teardown"/></testcase>'


@pytest.mark.parametrize(
    ("report", "excuse", "status", "expected"),
    [
        (None, None, 0, (1, 0, 0, ())),
        (None, None, 2, (0, 1, 0, ("status 2",))),
        (None, "no Python", 0, (0, 0, 1, ())),
        (None, "no Python", 1, (0, 1, 0, ("status 1",))),
        (junit(GOOD, GOOD, SKIPPED), None, 0, (2, 0, 1, ())),
        (junit(GOOD, BAD), None, 1, (1, 1, 0, ("a bad: first",))),
        (junit(GOOD, BAD), None, 0, (1, 1, 0, ("a bad: first",))),
        (junit(GOOD), None, 1, (1, 1, 0, ("no test failed, but the step did (status 1)",))),
        (junit(SKIPPED), None, 0, (0, 1, 1, ("no test ran",))),
        (junit(), None, 0, (0, 1, 0, ("no test ran",))),
    ],
)
def test_what_counts(
    report: str | None,
    excuse: str | None,
    status: int,
    expected: tuple[int, int, int, tuple[str, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps, "RESULTS", tmp_path)
    if report is not None:
        (tmp_path / "unit.xml").write_text(report)
    if excuse is not None:
        (tmp_path / "unit.skipped").write_text(excuse)
    outcome = steps.judge("unit", status, 1.5)
    assert (outcome.passed, outcome.failed, outcome.skipped, outcome.failures) == expected


def test_an_unreadable_report_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "RESULTS", tmp_path)
    (tmp_path / "unit.xml").write_text("<testsuites>")
    outcome = steps.judge("unit", 0, 1.5)
    assert (outcome.passed, outcome.failed) == (0, 1)


@pytest.mark.parametrize("lanes", ["1", "2"])
def test_a_step_that_fails_hides_no_other(clone: Clone, lanes: str) -> None:
    clone.makefile("one:\n    @echo first; exit 3\ntwo:\n    @echo second\nthree:\n    @echo third; exit 1\n")
    status, output = clone.run("one", "two", "three", "--lanes", lanes)
    assert status == 1
    assert all(word in output for word in ("first", "second", "third"))
    assert output.endswith("suite: 1 passed, 2 failed\n")
    table = output[output.index("step  ") :].splitlines()
    assert [line.split()[0] for line in table[1:4]] == ["one", "two", "three"]
    assert (clone.results / "suite.total").read_text() == "1 2\n"
    assert (clone.results / "suite.failures").read_text() == "one: status 2\nthree: status 2\n"


def test_results_of_an_earlier_run_do_not_count(clone: Clone) -> None:
    clone.makefile("one:\n    @exit 1\n")
    clone.results.mkdir(parents=True)
    (clone.results / "one.xml").write_text(junit(GOOD))
    (clone.results / "one.skipped").write_text("no Python")
    assert clone.run("one")[0] == 1
    assert (clone.results / "suite.total").read_text() == "0 1\n"


def test_steps_run_side_by_side_and_print_one_after_the_other(clone: Clone) -> None:
    clone.makefile(
        MEET + "one:\n    @echo one begins; $(call meet,a,b); $(call meet,c,d); echo one ends\n"
        "two:\n    @echo two begins; $(call meet,b,a); echo two goes on; $(call meet,d,c); echo two ends >&2\n"
    )
    status, output = clone.run("one", "two", "--lanes", "2")
    assert status == 0
    assert "one begins\none ends\n" in output
    assert "two begins\ntwo goes on\ntwo ends\n" in output
    assert output.index("... two") < output.index("one begins")


def test_in_one_lane_a_step_prints_as_it_goes_and_the_next_one_waits(clone: Clone) -> None:
    clone.makefile(
        "one:\n    @echo begins; until [ -e seen ]; do sleep 0.05; done; touch done\ntwo:\n    @test -e done\n"
    )
    process = clone.start("one", "two", "--lanes", "1")
    assert process.stdout is not None
    assert [process.stdout.readline() for _line in range(3)] == ["\n", "=== one\n", "begins\n"]
    (clone.directory / "seen").touch()
    rest = process.communicate(timeout=PATIENCE)[0]
    assert rest.endswith("suite: 2 passed, 0 failed\n")


@pytest.mark.parametrize("lanes", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_what_the_steps_have_started(clone: Clone, lanes: str, number: signal.Signals) -> None:
    clone.makefile(
        "one:\n    @trap 'touch cleaned' EXIT; sleep 1000 & echo $$! >pid; wait\n"
        "two:\n    @sleep 1000\n"
        "three:\n    @touch begun\n"
    )
    process = clone.start("one", "two", "three", "--lanes", lanes)
    pid = clone.directory / "pid"
    await_text(pid)
    process.send_signal(number)
    output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 130
    assert "suite: interrupted" in output
    assert (clone.directory / "cleaned").exists()
    assert not (clone.directory / "begun").exists()
    assert not (clone.results / "suite.total").exists()
    assert not alive(int(pid.read_text()))


def test_what_does_not_end_is_killed(clone: Clone) -> None:
    clone.makefile("one:\n    @trap '' INT; echo $$$$ >pid; while :; do sleep 0.1; done\n")
    program = clone.directory / "tools" / "steps.py"
    program.write_text(program.read_text().replace("GRACE = 20.0", "GRACE = 0.1"))
    process = clone.start("one")
    pid = clone.directory / "pid"
    await_text(pid)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert not alive(int(pid.read_text()))


def await_text(file: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and that its new parent has not yet looked after does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
