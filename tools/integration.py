# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the targets of ansible-test integration side by side, with the ansible-core of the Python that runs this, and sum
up: .build/results/<step>.xml for tools/steps.py.

--local: what the modules need is in the environment already, and so the targets can run side by side. Each has a mirror
for itself: runs in one directory would write the same inventory file while another one reads it.
ansible-test counts every task as a test. Here those count that assert something (`assert` is in their name), and
whatever failed, so that neither preparations nor looks at the host make the number larger than it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mirror

CLONE = Path(__file__).resolve().parent.parent


def run(target: str, copy: Path) -> tuple[int, str]:
    """Exit status and output of one target, run in a copy of the collection."""
    here = Path(sys.executable).parent
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    done = subprocess.run(
        [here / "ansible-test", "integration", "--local", "--python", version, "--color", "no", "--allow-root", target],
        cwd=copy,
        env={**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, done.stdout


def is_failure(case: ET.Element) -> bool:
    """Whether a task has failed."""
    return case.find("failure") is not None or case.find("error") is not None


def is_test(case: ET.Element) -> bool:
    """Whether a task asserts something or has failed."""
    skipped = case.find("skipped") is not None
    return is_failure(case) or (" assert " in case.get("name", "").lower() and not skipped)


def cases_of(target: str, reports: list[Path]) -> list[ET.Element]:
    """The tests among the tasks of ansible-core's reports, by short names and without what was printed."""
    cases = [case for report in reports for case in ET.parse(report).iter("testcase") if is_test(case)]
    for case in cases:
        case.set("classname", target)
        case.set("name", case.get("name", "").partition(" that=")[0])  # the arguments follow the task's name
        for printed in case.findall("system-out"):
            case.remove(printed)
    return cases


def tests_of(target: str) -> list[ET.Element]:
    """Run a target; a test case for each of its assertions. It must have made one, and fail if its status says so.

    What it printed is printed if it failed.
    """
    with tempfile.TemporaryDirectory(prefix=f"{target}-", dir=CLONE / ".build") as room:
        copy = Path(room) / "ansible_collections/xen/pci"  # the path that ansible-test insists on
        mirror.bring(copy)
        status, output = run(target, copy)
        reports = sorted((copy / "tests/output/junit").glob(f"{target}-*.xml"))
        cases = cases_of(target, reports)
    failed = any(is_failure(case) for case in cases)
    if not cases or (status and not failed):
        last = next((line for line in reversed(output.splitlines()) if line.strip()), "nothing was printed")
        missing = ET.Element("testcase", classname=target, name="ran to its end")
        ET.SubElement(missing, "failure", message=f"status {status} after {len(cases)} assertions; {last}")
        cases.append(missing)
    if status or failed:
        print(output)
    print(f"{target}: {len(cases)} assertions, status {status}", flush=True)
    return cases


def main(step: str, targets: list[str]) -> int:
    """Run them, write the summary; 0 if none failed."""
    suite = ET.Element("testsuite", name=step)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for cases in pool.map(tests_of, targets):
            suite.extend(cases)
    summary = CLONE / f".build/results/{step}.xml"
    summary.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(summary, encoding="unicode")
    return 1 if any(is_failure(case) for case in suite) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
