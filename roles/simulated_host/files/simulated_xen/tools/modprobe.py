# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command modprobe: all modules that a simulated host's kernel knows are loaded, and it has no others."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(words: Sequence[str]) -> int:
    """Run one command; modprobe's exit status."""
    options = [word for word in words if word.startswith("-")]
    names = [word for word in words if not word.startswith("-")]
    run = Path(os.environ["SIMULATED_XEN_DIR"])
    if not names or set(options) - {"-q", "--quiet", "-v", "--verbose"}:
        print(f"modprobe: a simulated host only loads modules: modprobe NAME, not {' '.join(words)}", file=sys.stderr)
        return 1
    if names[0].replace("-", "_") in _known(run):
        return 0
    release = (run / "proc/sys/kernel/osrelease").read_text(encoding="ascii").strip()
    print(f"modprobe: FATAL: Module {names[0]} not found in directory /lib/modules/{release}", file=sys.stderr)
    return 1


def _known(run: Path) -> set[str]:
    aliases = [file.read_text(encoding="utf-8").split() for file in run.glob("lib/modules/*/modules.alias")]
    found = {words[number] for words in aliases for number in range(2, len(words), 3)}
    found |= {file.name for file in (run / "sys/module").glob("*")}
    return {name.replace("-", "_") for name in found}
