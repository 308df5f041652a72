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
        # Text, not paths: a large machine has tens of thousands of files.
        self._root = f"{root}/"
        self._next = str(scratch / "next")
        root.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(parents=True, exist_ok=True)

    def directory(self, path: str) -> None:
        """Make a directory with all above it."""
        try:
            os.mkdir(self._root + path)
        except FileExistsError:
            return
        except FileNotFoundError:
            os.makedirs(self._root + path, exist_ok=True)

    def attribute(self, path: str, value: str | bytes, mode: int = READ_ONLY) -> None:
        """Create or replace a file; text gets the newline that sysfs files end in."""
        data = value if isinstance(value, bytes) else (f"{value}\n" if value else "").encode()
        full = self._root + path
        try:
            self._new(full, data, mode)
        except FileExistsError:
            self._new(self._next, data, mode)
            os.replace(self._next, full)

    @staticmethod
    def _new(path: str, data: bytes, mode: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def patch(self, path: str, data: bytes) -> None:
        """Overwrite a file in place (configuration space: open descriptors must see the change)."""
        with open(self._root + path, "r+b") as stream:
            stream.write(data)

    def link(self, path: str, target: str) -> None:
        """Make a relative link to another place of the tree; both are given from the root."""
        full, relative = self._root + path, _relative(path, target)
        try:
            os.symlink(relative, full)
        except FileExistsError:
            if os.readlink(full) != relative:
                os.unlink(full)
                os.symlink(relative, full)

    def has_directory(self, path: str) -> bool:
        """Whether a directory is there."""
        return os.path.isdir(self._root + path)

    def unlink(self, path: str) -> None:
        """Remove a file or link, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._root + path)

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all below it, if it is there."""
        shutil.rmtree(self._root + path, ignore_errors=True)


def _relative(path: str, target: str) -> str:
    """The way from a link to its target (os.path.relpath asks for the working directory each time)."""
    here, there = path.split("/")[:-1], target.split("/")
    common = 0
    for one, other in zip(here, there):
        if one != other:
            break
        common += 1
    return "/".join([".."] * (len(here) - common) + there[common:]) or "."
