# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The PCI connections that dom0's kernel knows, on its xen-backend bus in sysfs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .sysfs import SysfsError

_NAME = re.compile(r"pci-(\d{1,5})-0", re.ASCII)


def kernel_connections(sysfs_root: Path) -> frozenset[int]:
    """Numbers of the domains whose PCI backend the kernel has."""
    try:
        names = os.listdir(_bus(sysfs_root))
    except OSError:
        return frozenset()  # no xen-backend bus: no backend driver is loaded
    return frozenset(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


def unbind_connection(sysfs_root: Path, domid: int) -> None:
    """Take a domain's backend from its driver; its devices are reset. Nothing is done if it is gone.

    Raises SysfsError if the kernel refuses.
    """
    name = f"pci-{domid}-0"
    try:
        (_bus(sysfs_root) / name / "driver" / "unbind").write_text(name, encoding="ascii")
    except FileNotFoundError:
        return
    except OSError as error:
        raise SysfsError(
            f"dom0's kernel did not let go of {name} ({error.strerror}); see its log (dmesg)", error.errno or 0
        ) from error


def _bus(sysfs_root: Path) -> Path:
    return sysfs_root / "bus" / "xen-backend" / "devices"
