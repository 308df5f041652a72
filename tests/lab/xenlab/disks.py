# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The NVMe disks: small, and each block says which disk and which block it is."""

from __future__ import annotations

from pathlib import Path

BLOCK_SIZE = 512
BLOCKS = 8192


def block(serial: str, number: int) -> bytes:
    """The content of block `number` of the disk with this serial."""
    return f"{serial} block {number:08d}\n".encode().ljust(BLOCK_SIZE, b".")


def write(path: Path, serial: str) -> None:
    """Make the disk's raw image."""
    path.write_bytes(b"".join(block(serial, number) for number in range(BLOCKS)))
