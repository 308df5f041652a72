# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place for a simulated host."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")


@contextmanager
def short_directory() -> Iterator[Path]:
    """A temporary directory whose sockets have short enough names; in memory where it can be, which sysfs is faster in.

    What is in it when a process of the host still ends, goes as far as it can.
    """
    place = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="xen-pci-", dir=place, ignore_cleanup_errors=True) as directory:
        yield Path(directory)
