# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a program of this directory finds what pytest finds through pyproject.toml: imported before anything else."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("tests/faults", "tests/support", "roles/simulated_host/files", ".build/collections")
sys.path[1:1] = [str(ROOT / place) for place in PLACES]
