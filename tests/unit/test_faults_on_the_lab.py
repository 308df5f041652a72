# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault of the catalog is made on the lab by a test there, so that its name and recipe are no deduction."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.xen.pci.plugins.module_utils.faults.table import Fault

TESTS = Path(__file__).resolve().parents[1] / "lab"


def test_each_fault_is_made_on_the_lab() -> None:
    texts = [file.read_text(encoding="utf-8") for file in TESTS.glob("**/test_*.py")]
    made = {fault for fault in Fault if any(f'"{fault.code}"' in text for text in texts)}
    assert made == set(Fault)
