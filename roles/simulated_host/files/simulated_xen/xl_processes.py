# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of xl that nobody on the host waits for: a racing toolstack's, and xl's own for guests that end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LAUNCHER = Path(__file__).resolve().parent.parent / "simulated-xen"


class XlProcesses:
    """Those of one host."""

    def __init__(self, run: Path) -> None:
        self._environment = {**os.environ, "SIMULATED_XEN_DIR": str(run)}
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def running(self) -> bool:
        """Whether one has not ended yet."""
        self._started = [process for process in self._started if process.poll() is None]
        return bool(self._started)

    def start(self, *words: str) -> None:
        """Start one; `words` as for simulated-xen."""
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            [sys.executable, str(LAUNCHER), *words], env=self._environment, stdin=quiet, stdout=quiet, stderr=quiet
        )
        self._started.append(process)

    def stop(self) -> None:
        """End them all."""
        for process in self._started:
            process.kill()
            process.wait()
        self._started.clear()
