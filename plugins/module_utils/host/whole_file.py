# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file written whole: readers see the old text or the new one, also if the host fails in between."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Callable


def write_whole(target: Path, text: str, mode: int = 0o644) -> None:
    """Write a file, and the directories above it if need be. Raises OSError; then the file is as it was."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _replace(target, text.encode("utf-8"), lambda new: os.chmod(new, mode))


def rewrite_whole(target: Path, content: bytes) -> None:
    """Give a file other content; mode, owner and labels stay. Raises OSError; then the file is as it was."""

    def dress(new: str) -> None:
        before = target.stat()
        os.chown(new, before.st_uid, before.st_gid)
        shutil.copystat(target, new)
        os.utime(new)

    _replace(target, content, dress)


def _replace(target: Path, content: bytes, dress: Callable[[str], None]) -> None:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".xen-pci-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        dress(name)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
