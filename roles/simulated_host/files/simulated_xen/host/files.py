# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories, links and attribute files on disk.

Attributes are replaced by renaming a new file over them: a reader sees the old or the new text, and the
watch for foreign writers (see watch.py) is not triggered by our own updates.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

READ_ONLY = 0o444
READ_WRITE = 0o644
WRITE_ONLY = 0o600


class Files:
    """The tree below `root`; `scratch` is a directory on the same file system."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = root
        self._scratch = scratch
        root.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(parents=True, exist_ok=True)

    def directory(self, path: str) -> Path:
        """Make a directory with all above it."""
        full = self.root / path
        os.makedirs(full, exist_ok=True)
        return full

    def attribute(self, path: str, value: str | bytes, mode: int = READ_ONLY) -> None:
        """Create or replace a file; text gets the newline that sysfs files end in."""
        data = value if isinstance(value, bytes) else (f"{value}\n" if value else "").encode()
        full = os.path.join(self.root, path)
        target = os.path.join(self._scratch, "next") if os.path.lexists(full) else full
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        if target != full:
            os.replace(target, full)

    def patch(self, path: str, data: bytes) -> None:
        """Overwrite a file in place (configuration space: open descriptors must see the change)."""
        with open(self.root / path, "r+b") as stream:
            stream.write(data)

    def link(self, path: str, target: str) -> None:
        """Make a relative link to another place of the tree; both are given from the root."""
        full = os.path.join(self.root, path)
        relative = os.path.relpath(target, os.path.dirname(path))
        if os.path.islink(full):
            if os.readlink(full) == relative:
                return
            os.unlink(full)
        os.symlink(relative, full)

    def unlink(self, path: str) -> None:
        """Remove a file or link, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.root, path))

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all below it, if it is there."""
        shutil.rmtree(self.root / path, ignore_errors=True)
