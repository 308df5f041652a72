# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What firmware's ACPI tables say of PCI functions."""

from __future__ import annotations

from pathlib import Path

from ..values.reserved_memory import ReservedMemory, parse_dmar

#: Xen renames the table so that dom0 leaves the IOMMU alone (acpi_dmar_zap in xen/drivers/passthrough/vtd/dmar.c; its
#: older versions write an X over the D); all else in it stays.
_NAMES = ("DMAR", "RMAD", "XMAR")


def reserved_memory(sysfs_root: Path) -> tuple[ReservedMemory, ...]:
    """Memory that firmware keeps devices at; nothing where there is no such table or we may not read it."""
    for name in _NAMES:
        try:
            return parse_dmar((sysfs_root / "firmware" / "acpi" / "tables" / name).read_bytes())
        except OSError:
            continue
    return ()
