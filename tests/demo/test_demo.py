# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`, as a person runs it: to its end, and interrupted in the middle. Neither leaves anything behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where the demo keeps its files: short, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as path:
        yield Path(path)


def start(directory: Path) -> subprocess.Popen[str]:
    """`make demo` as a terminal starts it: in a process group of its own."""
    return subprocess.Popen(
        ["make", "--no-print-directory", "demo"],
        cwd=CLONE,
        env=os.environ | {"TMPDIR": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(directory: Path) -> list[str]:
    """Command lines of all processes that know the directory, by argument or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:  # it has ended, or it is somebody else's
            continue
        if str(directory).encode() in command + environment and int(process.name) != os.getpid():
            found.append(command.decode(errors="replace").replace("\0", " "))
    return found


def assert_nothing_is_left(directory: Path) -> None:
    assert processes_of(directory) == []
    assert list(directory.iterdir()) == []


def lines(scene: str) -> list[str]:
    """The lines of plans in a scene, sorted: the hosts finish in any order."""
    return sorted(re.findall(r"(?m)^\w+ {2,}[-+~] .*$", scene))


def test_the_demo_shows_the_main_job(directory: Path) -> None:
    output = (process := start(directory)).communicate()[0]
    assert process.returncode == 0, output
    scenes = re.split(r"(?m)^\d\. .*─$", output)[1:]
    assert len(scenes) == 9
    intro, plan, run, again, move, mistakes, silent_guest, fault, end = scenes
    assert "scratch: {class" in intro
    assert "--check --diff" in plan and lines(plan) and lines(plan) == lines(run)
    assert re.search(r"(?m)^web01 +\+ scratch +0000:03:00.0 \(nvme S4EV0A1\)", plan)
    assert lines(again) == []
    assert [" ".join(line.split()) for line in lines(move)] == [
        "web01 - scratch 0000:03:00.0 (nvme S4EV0A1) to web02",
        "web02 + scratch 0000:03:00.0 (nvme S4EV0A1) from web01",
    ]
    assert "declared for web01 and for web02" in mistakes and "sda is mounted on /" in mistakes
    assert [int(failed) for failed in re.findall(r"failed=(\d)", mistakes)] == [1, 1]
    assert "guest fw01 did not answer in time" in silent_guest
    assert silent_guest.index("failed=1") < silent_guest.index("xl unpause")
    assert fault.index("fw01: refused_cycle") < fault.index("failed=1") < fault.index("repaired first")
    assert [" ".join(line.split()) for line in lines(fault)] == [
        "fw01 + uplink-b 0000:02:00.0 (network 52-54-00-ff-ff-0c-02-01)",
        "fw01 ~ repaired first",
    ]
    assert "inventories/example" in end
    assert_nothing_is_left(directory)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["1. ", "$ ansible-playbook"])
def test_an_interrupted_demo_cleans_up(directory: Path, moment: str, ending: signal.Signals) -> None:
    process = start(directory)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(moment):
            break
    else:
        pytest.fail("the demo ended before it was interrupted")
    assert processes_of(directory) != []
    if ending == signal.SIGINT:  # Ctrl-C goes to all processes in the foreground
        os.killpg(process.pid, ending)
    else:
        process.send_signal(ending)
    rest = process.communicate()[0]
    assert process.returncode != 0
    assert "Interrupted: stopping the simulated hosts." in rest
    assert "Traceback" not in rest
    assert_nothing_is_left(directory)


def test_a_killed_demo_leaves_no_host_behind(directory: Path) -> None:
    process = start(directory)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("1. "):
        pass
    hosts = {path.parent for path in directory.glob("*/*/pid")}
    assert hosts
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 30
    while processes_of(directory):
        assert time.monotonic() < deadline, processes_of(directory)
        time.sleep(0.05)
    assert not any(host.exists() for host in hosts)
