# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages name exists: tests, files, other pages and their headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "plugins" / "module_utils"
PLACES = {
    "unit": ROOT / "tests" / "unit" / "plugins",
    "faults": ROOT / "tests" / "faults",
    "lab": ROOT / "tests" / "lab",
}
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "roles").glob("*/README.md")])
#: Those that name files of the collection by their path or, within one package, by their name alone.
PAGES_OF_FILES = [ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"]


def text_of(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_test_that_the_known_problems_name_exists() -> None:
    text = (ROOT / "docs" / "known-problems.md").read_text(encoding="utf-8")
    named = re.findall(r"`(unit|faults|lab)/([\w/]+\.py)::(\w+)`", text)
    assert len(named) > 40
    missing = [
        f"{file}::{test}"
        for place, file, test in named
        if f"def {test}(" not in (PLACES[place] / file).read_text(encoding="utf-8")
    ]
    assert missing == []
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| problem")]
    assert all("::" in row for row in rows)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        path, _hash, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES_OF_FILES, ids=[page.name for page in PAGES_OF_FILES])
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"`([\w./-]+(?:\.py|\.md|\.yml|/))`", text_of(page)))
    assert len(named) > 3
    missing = [name for name in named if not any((top / name).exists() for top in (ROOT, SHARED, ROOT / "plugins"))]
    assert [name for name in missing if "/" in name or not list(SHARED.rglob(name))] == []
