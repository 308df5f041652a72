# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libxl keeps about domains and devices besides the connection: locks, records, markers.

Source: Xen's tools/libs/light/libxl_internal.c (locks), libxl_pci.c (markers, since Xen 4.15).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..values.address import AddressError, Sbdf

MARKERS = "/libxl/pci"
USERDATA = Path("/var/lib/xen")
#: Outer to inner: the order in which libxl takes them.
_LOCKS = ("libxl-device-changes-lock", "domain-userdata-lock")
#: libxl_defbool in JSON (libxl_json.c); a default has no value of its own.
_DEFAULTED_BOOL = {"True": True, "False": False}


class LockTimeout(Exception):
    """Another toolstack has held a domain's lock for the whole time allowed."""


@dataclass(frozen=True)
class CreationRecord:
    """What a domain was created with, as far as hot-plug depends on it; None: not recorded."""

    passthrough: str | None = None
    e820_host: bool | None = None


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
    """Hold libxl's locks of a domain; LockTimeout after `timeout` seconds.

    Where the directory is absent no libxl is installed that could race with us.
    """
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        if uuid and directory.is_dir():
            for name in _LOCKS:
                stack.enter_context(_lock(directory / f"userdata-l.{domid}.{uuid}.{name}", deadline))
        yield


def creation_record(domid: int, uuid: str, directory: Path = USERDATA) -> CreationRecord:
    """Read libxl's stored configuration of a domain; an unreadable one says nothing."""
    try:
        text = (directory / f"userdata-d.{domid}.{uuid}.libxl-json").read_text(encoding="utf-8")
        config = json.loads(text.rstrip("\0"))
    except (OSError, ValueError):
        return CreationRecord()
    passthrough = _mapping(_mapping(config).get("c_info")).get("passthrough")
    build = _mapping(_mapping(config).get("b_info"))
    e820_host = _mapping(build.get("type.pv")).get("e820_host")
    return CreationRecord(
        passthrough=passthrough if isinstance(passthrough, str) else None,
        e820_host=_DEFAULTED_BOOL.get(str(e820_host)),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


@contextmanager
def _lock(path: Path, deadline: float) -> Iterator[None]:
    descriptor = _acquire(path, deadline)
    try:
        yield
    finally:
        # libxl unlocks in this order; who waits on the unlinked file notices and opens anew.
        path.unlink(missing_ok=True)
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
            raise LockTimeout(f"another toolstack holds {path.name}; wait for it, or see who does with fuser")
        time.sleep(0.02)  # flock has no time-out of its own
