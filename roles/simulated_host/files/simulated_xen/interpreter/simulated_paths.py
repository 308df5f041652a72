# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the files of a host are on the simulated one: whole directories of it are those in the host's own directory.

What a process needs of the machine that it really runs on stays: its Python, its working directory and home, temporary
files, and what procfs says of processes, which are real ones.
"""

from __future__ import annotations

import os
import sys
from os import lstat, stat  # the real ones, before they are changed

# typing itself is not imported: every start of Python would pay for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RUN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: The programs of the host. There are no others.
PROGRAMS = os.path.join(RUN, "bin")
_DIRECTORIES = ("/boot", "/dev", "/efi", "/etc", "/lib/modules", "/opt", "/proc", "/run", "/sys", "/var")
_PROGRAM_DIRECTORIES = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")
#: The first that fits counts. QEMU's sockets are where libxl has them compiled in.
_MOVED = {
    "/var/run/xen": os.path.join(RUN, "run"),
    "/run/xen": os.path.join(RUN, "run"),
    "/var/run": os.path.join(RUN, "run"),
    **{directory: RUN + directory for directory in _DIRECTORIES},
    **dict.fromkeys(_PROGRAM_DIRECTORIES, PROGRAMS),
}
_STARTS = (*_DIRECTORIES, *_PROGRAM_DIRECTORIES)
#: Device nodes that belong to a process and not to the host.
_NODES = (
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/pts", "/dev/ptmx",
    "/dev/std", "/dev/fd",
)  # fmt: skip
_TEMPORARY = tuple(
    os.path.join(directory, "")
    for directory in ("/tmp", "/var/tmp", "/dev/shm", *(os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP")))
    if directory.startswith("/")
)
_HOME = os.path.expanduser("~")


def _kept() -> tuple[str, ...]:
    """Paths below moved directories that stay what they are."""
    places = [sys.prefix, sys.base_prefix, _HOME, os.path.realpath(".")]
    deep = [os.path.join(place, "") for place in places if place.count("/") > 1 and place not in _MOVED]
    return (RUN, os.path.realpath(RUN), sys.executable, os.path.realpath(sys.executable), *_NODES, *_TEMPORARY, *deep)


_KEPT = tuple(filter(None, _kept()))
#: Where a process may write: in the host's directory, and for itself. Ansible keeps temporary files in the home.
_OWN = tuple(os.path.join(path, "") for path in (RUN, os.path.realpath(RUN), *_TEMPORARY, f"{_HOME}/.ansible"))


def moved(path: Any) -> Any:
    """Where a path is on the simulated host."""
    if isinstance(path, int) or path is None:
        return path
    text = os.fsdecode(path)
    if not text.startswith(_STARTS) or text.startswith(_KEPT):
        return path
    for prefix, target in _MOVED.items():
        if text == prefix or text.startswith(prefix + os.sep):
            found = target + text[len(prefix) :]
            if prefix == "/proc" and _is_of_a_process(text) and not _exists(found):
                return path
            return os.fsencode(found) if isinstance(path, bytes) else found
    return path


def is_own(path: str) -> bool:
    """Whether an absolute path is one of the simulated host or of the process itself."""
    return os.path.join(path, "").startswith(_OWN)


def is_of_the_process(path: str) -> bool:
    """Whether it is a file by which a process reaches itself or its terminal."""
    return path.startswith((*_NODES, "/proc/self/"))


def identity(path: str) -> tuple[int, int] | None:
    """What file of this machine a path leads to, None if to none."""
    try:
        found = stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_of_a_process(path: str) -> bool:
    whose = path.split("/")[2:3]
    return whose in (["self"], ["thread-self"]) or "".join(whose).isdecimal()


def _exists(path: str) -> bool:
    try:
        lstat(path)
    except OSError:
        return False
    return True
