# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sum up what ansible-test integration reported: .build/results/integration.xml for tools/steps.py.

ansible-test counts every task as a test. Here those count that assert something (`assert` is in their name), and
whatever failed, so that neither preparations nor looks at the host make the number larger than it is.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
REPORTS = CLONE / ".build/ansible_collections/xen/pci/tests/output/junit"
SUMMARY = CLONE / ".build/results/integration.xml"


def is_test(case: ET.Element) -> bool:
    """Whether a task asserts something or has failed."""
    failed = case.find("failure") is not None or case.find("error") is not None
    skipped = case.find("skipped") is not None
    return failed or (" assert " in case.get("name", "").lower() and not skipped)


def last_words(target: str) -> str:
    """The last line that ansible-test printed in a run of one target."""
    log = REPORTS.parent / f"{target}.log"
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "and nothing was printed")


def main(targets: list[str]) -> int:
    """Write the summary; every target must have left a report with at least one test in it."""
    suite = ET.Element("testsuite", name="integration")
    for target in targets:
        reports = list(REPORTS.glob(f"{target}-*.xml"))
        cases = [case for report in reports for case in ET.parse(report).iter("testcase") if is_test(case)]
        if not cases:
            missing = ET.SubElement(suite, "testcase", classname=target, name="ran at all")
            ET.SubElement(missing, "failure", message=f"no assertion was made; {last_words(target)}")
        for case in cases:
            case.set("classname", target)
            case.set("name", case.get("name", "").partition(" that=")[0])  # the arguments follow the task's name
            for output in case.findall("system-out"):
                case.remove(output)
        suite.extend(cases)
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(SUMMARY, encoding="unicode")
    print(f"{len(suite)} assertions of {len(targets)} targets")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
