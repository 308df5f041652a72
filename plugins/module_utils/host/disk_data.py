# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a disk that nothing uses holds data nonetheless: volumes, arrays, file systems, a partition table.

udev has read that of every disk. Where it has not, blkid is asked, which udev's knowledge comes from. Where that is not
there either, the disk itself is read: it is empty, or it holds something.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..model.device import BlockUse
from . import command
from .kernel_files import beside, list_names, read_text

#: What blkid calls the use of a signature.
_KINDS = {
    "filesystem": "a file system",
    "raid": "a part of a volume group, a pool or an array",
    "crypto": "encrypted data",
}
#: Signatures are in the first and in the last part of a disk.
_LOOKED_AT = 1 << 20
_BLKID_SECONDS = 20.0
#: How blkid ends: it found a signature, it found none, it found several that do not go together.
_FOUND, _NOTHING, _AMBIVALENT = 0, 2, 8


class DiskData:
    """What is on the disks of a host."""

    def __init__(self, sysfs_root: Path) -> None:
        self._class = sysfs_root / "class" / "block"
        self._udev = beside(sysfs_root, "run") / "udev" / "data"
        self._nodes = beside(sysfs_root, "dev")

    def on(self, disk: BlockUse) -> list[str]:
        """Sentences on the data of a disk and its partitions; what is in use anyhow is left out."""
        in_use = {use.partition(" ")[0] for use in disk.used_by}
        directory = self._class / disk.name
        partitions = [name for name in sorted(list_names(directory)) if (directory / name / "partition").exists()]
        found = [sentence for node in partitions if node not in in_use for sentence in self._of_node(node)]
        if disk.name in in_use:
            return found
        whole = list(self._of_node(disk.name, bool(partitions)))
        # A partition table says nothing that its partitions do not say.
        return found if found or in_use else whole

    def claim(self, disk: BlockUse) -> str:
        """Say so if a disk is in use though nothing that we know uses it, such as a target of LIO or of NVMe.

        A user of a block device keeps others from opening it exclusively (bd_may_claim in block/bdev.c).
        """
        if disk.used_by:
            return ""
        try:
            os.close(os.open(self._node(disk.name), os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK))
        except OSError as error:
            return f"disk {disk.name}: {disk.name} is in use, and nothing shows what for" * (error.errno == errno.EBUSY)
        return ""

    def _of_node(self, node: str, has_partitions: bool = False) -> Iterator[str]:
        if read_text(self._class / node / "size") == "0":
            return  # no medium
        said = self._said(node)
        signature, table = said.get("ID_FS_TYPE"), said.get("ID_PART_TABLE_TYPE")
        label = said.get("ID_FS_LABEL")
        if signature or said.get("ID_FS_USAGE"):
            kind = _KINDS.get(said.get("ID_FS_USAGE", ""), "data")
            yield f"{node} holds {kind} ({signature or 'unknown'}{f', {label}' if label else ''})"
        elif said.get("ID_FS_AMBIVALENT"):
            yield f"{node} holds data of several kinds ({said['ID_FS_AMBIVALENT']})"
        elif table or has_partitions:
            yield f"{node} has a partition table ({table or 'unknown'})"
        elif not said:
            yield from self._looked_at(node)

    def _said(self, node: str) -> Mapping[str, str]:
        """Return what udev or blkid knows of a node, empty if neither does."""
        number = read_text(self._class / node / "dev") or "none"
        text = read_text(self._udev / f"b{number}")
        if text is not None:
            return _properties(line[2:] for line in text.splitlines() if line.startswith("E:"))
        path = str(self._node(node))
        try:
            done = (
                command.run(["blkid", "-p", "-o", "udev", path], _BLKID_SECONDS) if os.access(path, os.R_OK) else None
            )
        except OSError:
            return {}
        if done is None or done.status not in (_FOUND, _NOTHING, _AMBIVALENT):
            return {}
        several = {"ID_FS_AMBIVALENT": "blkid"} if done.status == _AMBIVALENT else {}
        return {**_properties(done.output.splitlines()), **several}

    def _node(self, name: str) -> Path:
        return self._nodes / name.replace("!", "/")

    def _looked_at(self, node: str) -> Iterator[str]:
        try:
            descriptor = os.open(self._node(node), os.O_RDONLY | os.O_NONBLOCK)
            try:
                end = os.lseek(descriptor, 0, os.SEEK_END)
                parts = [os.pread(descriptor, _LOOKED_AT, at) for at in (0, max(end - _LOOKED_AT, 0))]
            finally:
                os.close(descriptor)
        except OSError as error:
            why = os.strerror(error.errno or errno.EIO)
            yield f"{node} may hold data: udev has not read what is on it, and it cannot be read ({why})"
            return
        if any(part.strip(b"\0") for part in parts):
            yield f"{node} is not empty, and neither udev nor blkid has read what is on it"


def _properties(lines: Iterable[str]) -> dict[str, str]:
    """Read lines of names and values; with one more, so that a node without any is not taken for an unknown one."""
    return {"known": "1", **dict(line.split("=", 1) for line in lines if "=" in line)}
