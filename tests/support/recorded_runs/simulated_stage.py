# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated host as a stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recorded_runs.stage import Stage
from recorded_runs.trace import as_log

ROOT = Path(__file__).resolve().parents[3]
LAUNCHER = ROOT / "roles/simulated_host/files/simulated-xen"
COLLECTIONS = ROOT / ".build/collections"


class SimulatedStage(Stage):
    """A host that runs in `directory`, started for one play: use it as a context."""

    silence = 1.0
    patience = 10.0
    python = sys.executable

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._start = 0
        self._environment: dict[str, str] = {}

    def __enter__(self) -> SimulatedStage:
        words = [sys.executable, str(LAUNCHER), "start", "--dir", str(self._directory), "--json"]
        hasty = os.environ | {"SIMULATED_XL_WAIT": "0.5"}
        answer = subprocess.run(words, env=hasty, check=True, capture_output=True, text=True)
        self._environment = hasty | json.loads(answer.stdout)
        self._environment["PYTHONPATH"] += f"{os.pathsep}{COLLECTIONS}"
        return self

    def __exit__(self, *_exception: object) -> None:
        subprocess.run([sys.executable, str(LAUNCHER), "stop", "--dir", str(self._directory)], check=True)

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        done = subprocess.run(words, env=self._environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def product(self, script: str, arguments: dict[str, Any]) -> tuple[int, str]:
        return self.run([sys.executable, str(Path(__file__).parent / "in_dom0" / script), json.dumps(arguments)])

    def load_frontend(self, guest: str) -> None:
        self.run(["simulated-xen", "domain", "load-pcifront", guest])

    def end_inside(self, guest: str, how: str) -> None:
        self.run(["simulated-xen", "domain", how, guest])

    def start_hvm_guest(self) -> None:
        self.run(["simulated-xen", "domain", "create", "h1", "type=hvm"])

    def _log(self) -> list[str]:
        return list(as_log((self._directory / "trace").read_text(encoding="utf-8").splitlines()[self._start :]))

    def _mark(self) -> None:
        self._start = len((self._directory / "trace").read_text(encoding="utf-8").splitlines())
