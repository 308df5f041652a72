# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The PCI connections that dom0's kernel knows, on its xen-backend bus in sysfs."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NAME = re.compile(r"pci-(\d{1,5})-0", re.ASCII)


def kernel_connections(sysfs_root: Path) -> frozenset[int]:
    """Numbers of the domains whose PCI backend the kernel has."""
    try:
        names = os.listdir(sysfs_root / "bus" / "xen-backend" / "devices")
    except OSError:
        return frozenset()  # no xen-backend bus: no backend driver is loaded
    return frozenset(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))
