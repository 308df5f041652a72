# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps things outside the source tree."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from xenlab.errors import LabError

LAB = Path(__file__).resolve().parent.parent
RECIPE = LAB / "image"
KERNEL_CONFIG = LAB / "kernel" / "config"


def cache() -> Path:
    """Images: kept, and safe to delete."""
    return _caches() / "xen-pci-lab"


def kernels() -> Path:
    """Kernels that the lab built itself: kept, and safe to delete."""
    return _caches() / "xen-pci-lab-kernels"


def _caches() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def hosts() -> Path:
    """One directory per running host. Short, because a unix socket's path may have 107 bytes only."""
    return Path(tempfile.gettempdir()) / f"xen-pci-lab-{os.getuid()}"


def host(name: str) -> Path:
    """The directory of host `name`; LabError when the name cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name):
        raise LabError(f"{name!r} cannot be a host's name: letters, digits, - and _, at most 32")
    return hosts() / name
