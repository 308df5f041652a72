# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libxl keeps about domains and devices besides the connection: locks and markers.

Source: Xen's tools/libs/light/libxl_internal.c (locks), libxl_pci.c (markers, since Xen 4.15).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ...values.address import AddressError, Sbdf
from ...values.errors import HostError
from .stored_config_file import USERDATA

MARKERS = "/libxl/pci"
#: Outer to inner: the order in which libxl takes them.
_LOCKS = ("libxl-device-changes-lock", "domain-userdata-lock")
_QMP_LOCK = "qmp-socket-lock"


class LockError(HostError):
    """A domain's lock cannot be taken: another toolstack has held it for the whole time allowed, or it has no file."""


def holder_node(device: Sbdf) -> str:
    """Node that makes xl treat a device as taken; a left-over one makes it unassignable for ever."""
    return f"{MARKERS}/{device.libxl_key}/domid"


def driver_node(device: Sbdf) -> str:
    """Node that remembers the driver a device had before pciback."""
    return f"{MARKERS}/{device.libxl_key}/driver_path"


def parse_marker_key(key: str) -> Sbdf | None:
    """The device that a child of /libxl/pci stands for."""
    try:
        return Sbdf.parse(key)
    except AddressError:
        return None


@contextmanager
def domain_locks(domid: int, uuid: str, timeout: float, directory: Path = USERDATA) -> Iterator[None]:
    """Hold libxl's locks of a domain; LockError if they cannot be had within `timeout` seconds.

    Where the directory is absent no libxl is installed that could race with us.
    """
    with _locks(_LOCKS, domid, uuid, timeout, directory):
        yield


@contextmanager
def qmp_lock(domid: int, uuid: str, timeout: float, directory: Path = USERDATA) -> Iterator[None]:
    """Hold the lock under which libxl talks to a domain's device model; LockError after `timeout` seconds."""
    with _locks((_QMP_LOCK,), domid, uuid, timeout, directory):
        yield


@contextmanager
def _locks(names: tuple[str, ...], domid: int, uuid: str, timeout: float, directory: Path) -> Iterator[None]:
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        if uuid and directory.is_dir():
            for name in names:
                stack.enter_context(_lock(directory / f"userdata-l.{domid}.{uuid}.{name}", deadline))
        yield


@contextmanager
def _lock(path: Path, deadline: float) -> Iterator[None]:
    try:
        descriptor = _acquire(path, deadline)
    except OSError as error:  # a full disk, or one that has become read-only
        raise LockError(f"libxl's lock of the domain, {path}, cannot be taken ({error.strerror})") from error
    try:
        yield
    finally:
        # libxl unlocks in this order; who waits on the unlinked file notices and opens anew.
        with suppress(OSError):  # a file that is left is no lock
            path.unlink()
        os.close(descriptor)


def _acquire(path: Path, deadline: float) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine, current = os.fstat(descriptor), path.stat()
            if (mine.st_dev, mine.st_ino) == (current.st_dev, current.st_ino):
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise LockError(f"another toolstack holds {path.name}; wait for it, or see who does with fuser")
        time.sleep(0.02)  # flock has no time-out of its own
