# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/troubles.md names tests: each must exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACES = {
    "unit": ROOT / "tests" / "unit" / "plugins",
    "faults": ROOT / "tests" / "faults",
    "lab": ROOT / "tests" / "lab",
}


def test_every_test_that_the_page_names_exists() -> None:
    text = (ROOT / "docs" / "troubles.md").read_text(encoding="utf-8")
    named = re.findall(r"`(unit|faults|lab)/([\w/]+\.py)::(\w+)`", text)
    assert len(named) > 40
    missing = [
        f"{file}::{test}"
        for place, file, test in named
        if f"def {test}(" not in (PLACES[place] / file).read_text(encoding="utf-8")
    ]
    assert missing == []
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| trouble")]
    assert all("::" in row for row in rows)
