# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One changing run of this collection per host at a time.

The lock is a flock on the directory of xenstored's socket: every dom0 has it, it stands for this very
host, nothing is created that could be left behind, and the kernel releases it however a run ends.
A program that changes the host for a run inherits it, and so outlives a run that is killed with the lock held.
libxl's own locks are per domain and are taken for the moment of a commit only (see `toolstack/libxl_files.py`).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..values.errors import HostError

_DEFAULT_SOCKET = "/var/run/xenstored/socket"  # as pyxs and libxenstore have it
_LOOK_AGAIN = 0.02  # flock has no time-out of its own


class RunLockError(HostError):
    """Another run has held the lock for the whole time allowed, there is nothing to lock, or no time at all."""


def check_timeout(timeout: float) -> None:
    """Refuse to run with no time at all; raises RunLockError."""
    if timeout <= 0:
        raise RunLockError(f"timeout must be greater than 0, not {timeout:g}; nothing was changed")


#: Descriptors of the locks that this process holds.
_HELD: list[int] = []


def held() -> tuple[int, ...]:
    """Return the descriptors for programs that change the host for us: the lock lasts until all that have them end."""
    return tuple(_HELD)


@contextmanager
def run_lock(timeout: float) -> Iterator[None]:
    """Hold the host's lock; RunLockError after `timeout` seconds."""
    directory = Path(os.environ.get("XENSTORED_PATH") or _DEFAULT_SOCKET).parent
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RunLockError(
            f"{directory}, where xenstored's socket should be, cannot be opened ({error.strerror}); run on a Xen dom0"
        ) from error
    try:
        _acquire(descriptor, directory, timeout)
        _HELD.append(descriptor)
        yield
    finally:
        _HELD[:] = [other for other in _HELD if other != descriptor]
        os.close(descriptor)


def _acquire(descriptor: int, directory: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise RunLockError(
                    f"another run of xen.pci has been changing this host for {timeout:g} s (or a program that one "
                    "started and that outlived it), nothing was changed; "
                    f"wait for it, or find it with `fuser {directory}`"
                ) from None
            time.sleep(_LOOK_AGAIN)
        else:
            return
