# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the targets of ansible-test integration side by side in the mirror, with the ansible-core of the Python that runs
this, and sum up: .build/results/<step>.xml for tools/steps.py.

--local: what the modules need is in the environment already, and so the targets can run side by side.
ansible-test counts every task as a test. Here those count that assert something (`assert` is in their name), and
whatever failed, so that neither preparations nor looks at the host make the number larger than it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
MIRROR = CLONE / ".build/ansible_collections/xen/pci"
REPORTS = MIRROR / "tests/output/junit"


def run(target: str) -> tuple[int, str]:
    """Exit status and output of one target."""
    here = Path(sys.executable).parent
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    done = subprocess.run(
        [here / "ansible-test", "integration", "--local", "--python", version, "--color", "no", "--allow-root", target],
        cwd=MIRROR,
        env={**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, done.stdout


def is_test(case: ET.Element) -> bool:
    """Whether a task asserts something or has failed."""
    failed = case.find("failure") is not None or case.find("error") is not None
    skipped = case.find("skipped") is not None
    return failed or (" assert " in case.get("name", "").lower() and not skipped)


def tests_of(target: str, status: int, output: str) -> list[ET.Element]:
    """A test case for each assertion of a target; it must have made one, and fail if its status says so."""
    reports = REPORTS.glob(f"{target}-*.xml")
    cases = [case for report in reports for case in ET.parse(report).iter("testcase") if is_test(case)]
    for case in cases:
        case.set("classname", target)
        case.set("name", case.get("name", "").partition(" that=")[0])  # the arguments follow the task's name
        for printed in case.findall("system-out"):
            case.remove(printed)
    failed = any(case.find("failure") is not None or case.find("error") is not None for case in cases)
    if not cases or (status and not failed):
        last = next((line for line in reversed(output.splitlines()) if line.strip()), "nothing was printed")
        missing = ET.Element("testcase", classname=target, name="ran to its end")
        ET.SubElement(missing, "failure", message=f"status {status} after {len(cases)} assertions; {last}")
        cases.append(missing)
    return cases


def main(step: str, targets: list[str]) -> int:
    """Run them, print what failing ones said, write the summary; 0 if none failed."""
    # Side by side, ansible-core's callback fails to make it (it looks first), and leaves no report then.
    REPORTS.mkdir(parents=True, exist_ok=True)
    suite = ET.Element("testsuite", name=step)
    worst = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for target, (status, output) in zip(targets, pool.map(run, targets), strict=True):
            cases = tests_of(target, status, output)
            if status or any(case.find("failure") is not None for case in cases):
                print(output)
            print(f"{target}: {len(cases)} assertions, status {status}", flush=True)
            suite.extend(cases)
            worst = worst or status
    summary = CLONE / f".build/results/{step}.xml"
    summary.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(summary, encoding="unicode")
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
