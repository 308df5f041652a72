# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs simulated hosts, each in a fork: a host boots in milliseconds where nothing is imported anew.

Each line of standard input is a machine's description and a run directory, as a JSON list.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from simulated_xen import daemon


def run(machine: str, directory: Path) -> None:
    """One host until it is stopped. What it says goes to its log."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # it starts programs itself
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.setsid()
    daemon.serve(machine, directory, os.getppid())


def serve() -> None:
    """Start what is asked for; hosts end with this process, which ends with the one that tells it what to do."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        machine, directory = json.loads(line)
        if os.fork() == 0:
            run(machine, Path(directory))
            return


if __name__ == "__main__":
    serve()
