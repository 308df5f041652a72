# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firmware's tables about the IOMMU, as dom0's kernel shows them."""

from __future__ import annotations

from pathlib import Path

#: Xen renames the table so that dom0 leaves the IOMMU alone (acpi_dmar_zap in xen/drivers/passthrough/vtd/dmar.c; its
#: older versions write an X over the D); all else in it stays.
_DMAR_NAMES = ("DMAR", "RMAD", "XMAR")
#: AMD's. Xen leaves it as it is.
_IVRS = "IVRS"


def dmar_table(sysfs_root: Path) -> bytes | None:
    """Read Intel's table, None where there is none or we may not read it."""
    for name in _DMAR_NAMES:
        try:
            return (_tables(sysfs_root) / name).read_bytes()
        except OSError:
            continue
    return None


def has_ivrs_table(sysfs_root: Path) -> bool:
    """Whether there is AMD's table."""
    return (_tables(sysfs_root) / _IVRS).exists()


def _tables(sysfs_root: Path) -> Path:
    return sysfs_root / "firmware" / "acpi" / "tables"
