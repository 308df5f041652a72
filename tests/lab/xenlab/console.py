# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person at the host's serial line."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty
from pathlib import Path

LEAVE = b"\x1d"  # Ctrl-]


def attach(path: Path) -> None:
    """Join this terminal to the console until Ctrl-] or the end of the host."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(path))
        keyboard = sys.stdin.fileno()
        before = termios.tcgetattr(keyboard) if os.isatty(keyboard) else None
        try:
            if before:
                tty.setraw(keyboard)
            _relay(line, keyboard)
        finally:
            if before:
                termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _relay(line: socket.socket, keyboard: int) -> None:
    while True:
        ready, _writable, _failed = select.select([line.fileno(), keyboard], [], [])
        if line.fileno() in ready:
            data = line.recv(4096)
            if not data:
                return
            os.write(sys.stdout.fileno(), data)
        if keyboard in ready:
            typed = os.read(keyboard, 1024)
            if not typed or LEAVE in typed:
                return
            line.sendall(typed)
