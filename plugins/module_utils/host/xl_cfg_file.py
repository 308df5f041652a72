# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The xl.cfg of domains as files: read as they are, replaced as a whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from pathlib import Path

from ..model.xl_file import name_of
from ..values.errors import HostError
from ..values.xl_config import XlConfigError
from .whole_file import rewrite_whole

#: What is no UTF-8 must come out as it went in.
_ENCODING, _ERRORS = "utf-8", "surrogateescape"
#: Where the files of domains are in /etc/xen: those that the host's boot starts are often links in auto.
_PLACES = ("*.cfg", "auto/*", "vm/*")


class DomainFileError(HostError):
    """The file cannot be read or written; it is as it was before."""


class XlCfgFiles:
    """The xl.cfg files of a host: by the paths that a task names, and those where they usually are."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._usual = root / "etc" / "xen"

    def usual(self) -> dict[str, str]:
        """Find the files of domains in /etc/xen, by the names in them; what cannot be read or parsed is left out."""
        found: dict[str, str] = {}
        for path in sorted(path for pattern in _PLACES for path in self._usual.glob(pattern)):
            try:
                name = name_of(self.read(str(path)))
            except (DomainFileError, XlConfigError):
                continue
            if name is not None:
                found.setdefault(name, str(path))
        return found

    def read(self, name: str) -> str:
        """Read the text of a file, line ends as they are; raises DomainFileError."""
        path = Path(name)
        try:
            # A pipe would be waited for, and a device may have no end.
            if not stat.S_ISREG(path.stat().st_mode):
                raise DomainFileError(f"{path} cannot be read (it is no regular file)")
            return path.read_bytes().decode(_ENCODING, _ERRORS)
        except OSError as error:
            raise DomainFileError(f"{path} cannot be read ({error.strerror})") from error
        except ValueError as error:  # a NUL in its name
            raise DomainFileError(f"{str(path)!r} is no path of a file ({error})") from error

    def replace(self, name: str, text: str, backup: bool) -> str | None:
        """Replace the text of a file at once; mode, owner and labels stay. Raises DomainFileError.

        Returns the name of the copy of the old one if `backup`, named as Ansible's own modules name theirs. A link,
        such as those in /etc/xen/auto, stays one, and the copy lies beside what it leads to: a domain is started of
        each file in there when the host boots.
        """
        path = Path(name)
        target = Path(os.path.realpath(path))
        copy = None
        try:
            if backup:
                stamp = time.strftime("%Y-%m-%d@%H:%M:%S~", time.localtime())
                copy = f"{target}.{os.getpid()}.{stamp}"
                shutil.copy2(target, copy)
            rewrite_whole(target, text.encode(_ENCODING, _ERRORS))
        except OSError as error:
            if copy is not None:  # its name is not returned, and it is a copy of what is still there, or of a part
                with contextlib.suppress(OSError):
                    os.unlink(copy)
            raise DomainFileError(f"{path} cannot be written ({error.strerror})") from error
        return copy
