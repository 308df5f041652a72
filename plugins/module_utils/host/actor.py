# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out which user runs us, as far as the system knows."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

#: Set once at login and kept over sudo (pam_loginuid(8)), so it is the better witness; all ones: no login.
_LOGIN = Path("/proc/self/loginuid")
_NO_LOGIN = 0xFFFFFFFF


def actor(environment: Mapping[str, str] | None = None, login: Path = _LOGIN) -> str:
    """Name the user that logged in, or else asked sudo, or else runs this; and from which address, if known."""
    environment = os.environ if environment is None else environment
    user = _logged_in(login) or environment.get("SUDO_USER") or _name(os.geteuid())
    address = environment.get("SSH_CONNECTION", "").split()[:1]
    return f"{user} from {address[0]}" if address else user


def _logged_in(login: Path) -> str:
    try:
        number = int(login.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ""
    return "" if number == _NO_LOGIN else _name(number)


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"
