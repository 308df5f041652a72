# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers that are not Python: a shell that does ``echo BDF > bind`` writes to the plain file itself.

inotify tells when such a writer has closed the file; then what it wrote is done, and the file gets the
text it should have. So the effect follows the write within a millisecond or so instead of preceding its
return, and a refusal shows as no effect (and as a line in the trace): a plain file cannot refuse.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct

from ..store.trace import Trace
from .sysfs import Sysfs

IN_CLOSE_WRITE = 0x00000008
_EVENT = struct.Struct("iIII")


class ForeignWriters:
    """Watches all directories that have a file which can be written to."""

    def __init__(self, root: str, sysfs: Sysfs, trace: Trace) -> None:
        self._root = os.path.realpath(root)
        self._sysfs = sysfs
        self._trace = trace
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = -1
        self._directories: dict[int, str] = {}
        self._watched: set[str] = set()

    def start(self) -> None:
        """Begin to watch; OSError where the kernel has no inotify left for us."""
        if not hasattr(self._libc, "inotify_init1"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._descriptor = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        asyncio.get_running_loop().add_reader(self._descriptor, self._readable)
        for path in list(self._sysfs.actions):
            self.add(os.path.dirname(path))
        self._sysfs.on_directory = self.add

    def stop(self) -> None:
        """Stop watching."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def add(self, directory: str) -> None:
        """Watch one more directory, given from the root of the tree."""
        if directory in self._watched:
            return
        full = os.path.join(self._root, directory).encode()
        number = int(self._libc.inotify_add_watch(self._descriptor, full, ctypes.c_uint32(IN_CLOSE_WRITE)))
        if number < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), directory)
        self._watched.add(directory)
        self._directories[number] = directory

    def _readable(self) -> None:
        data = os.read(self._descriptor, 65536)
        offset = 0
        while offset < len(data):
            number, mask, _cookie, length = _EVENT.unpack_from(data, offset)
            name = data[offset + _EVENT.size : offset + _EVENT.size + length].rstrip(b"\0").decode()
            offset += _EVENT.size + length
            if mask & IN_CLOSE_WRITE:
                self._written(f"{self._directories[number]}/{name}")
            elif number in self._directories:  # IN_IGNORED: the directory is gone
                self._watched.discard(self._directories.pop(number))

    def _written(self, path: str) -> None:
        if path not in self._sysfs.actions:
            return
        try:
            with open(os.path.join(self._root, path), "rb") as stream:
                data = stream.read()
            if data:
                self._sysfs.write(path, data)
        except OSError as error:
            self._trace.note("dom0", "refused", path, error.strerror or "")
        if path in self._sysfs.actions:
            self._sysfs.shown(path)
