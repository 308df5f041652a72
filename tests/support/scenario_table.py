# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table at the end of a fault suite, of tests that recorded the properties `scenario` and `happened`.

A conftest.py that imports pytest_terminal_summary from here prints it.
"""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table: scenario, what happened, verdict."""
    rows = []
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            properties = dict(getattr(report, "user_properties", ()))
            if getattr(report, "when", "call") == "call" and "scenario" in properties:
                verdict = "as it must be" if outcome == "passed" else "WRONG"
                rows.append((properties["scenario"], properties.get("happened", ""), verdict))
    if rows:
        width = max(len(row[0]) for row in rows)
        terminalreporter.section("scenarios")
        for scenario, happened, verdict in sorted(rows):
            terminalreporter.write_line(f"{scenario:<{width}}  {verdict:<13}  {happened}")
        good = sum(row[2] != "WRONG" for row in rows)
        terminalreporter.write_line(f"{len(rows)} scenarios, {good} as they must be")
