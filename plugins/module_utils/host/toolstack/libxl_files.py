# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libxl's files of each running domain: its locks and its stored configuration, used as libxl does it.

Sources: Xen's tools/libs/light/libxl_internal.c (locks), libxl_dom.c (userdata). The text of a configuration ends with
a NUL; a new one is written beside it and renamed. A change of it needs the domain's locks.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from .contract import ConfigError, LockError

#: Outer to inner: the order in which libxl takes them.
CHANGE_LOCKS = ("libxl-device-changes-lock", "domain-userdata-lock")
#: Under it libxl talks to a domain's device model.
QMP_LOCKS = ("qmp-socket-lock",)
_NUL = "\0"
#: Names of domains and files are bytes to libxl; those that are not UTF-8 must come out as they went in.
_ENCODING, _ERRORS = "utf-8", "surrogateescape"


class LibxlFiles:
    """The files below one directory (libxl's XEN_LIB_DIR); where it is absent no libxl is installed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def locked(self, names: tuple[str, ...], domid: int, uuid: str, timeout: float) -> Iterator[None]:
        """Hold these locks of a domain; LockError if they cannot be had within `timeout` seconds.

        Without libxl, or for a domain that it did not start, nothing can race with us.
        """
        deadline = time.monotonic() + timeout
        with ExitStack() as stack:
            if uuid and self._directory.is_dir():
                for name in names:
                    path = self._directory / f"userdata-l.{domid}.{uuid}.{name}"
                    stack.enter_context(_lock(path, deadline))
            yield

    @property
    def are_there(self) -> bool:
        """Whether libxl has any files at all on this host."""
        return self._directory.is_dir()

    def last_change(self) -> str:
        """When a file was last made, renamed or removed there; empty if that cannot be seen, or only to a second."""
        try:
            status = os.stat(self._directory)
        except OSError:
            return ""
        whole_second = status.st_ctime_ns % 1_000_000_000 == 0
        return "" if whole_second else f"{status.st_dev}-{status.st_ino}-{status.st_ctime_ns}"

    def read_config(self, domid: int, uuid: str) -> dict[str, Any] | None:
        """Read the configuration, or None where there is none: another toolstack's domain. Raises ConfigError."""
        file = self._config("d", domid, uuid)
        try:
            config = json.loads(file.read_text(_ENCODING, _ERRORS).rstrip(_NUL))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(f"libxl's configuration of the domain, {file}, cannot be read ({error})") from error
        if not isinstance(config, dict):
            raise ConfigError(f"libxl's configuration of the domain, {file}, cannot be read (it is no JSON object)")
        return config

    def has(self, kind: str, domid: int, uuid: str) -> bool:
        """Whether a program has stored data of this kind with the domain."""
        return bool(uuid) and (self._directory / f"userdata-d.{domid}.{uuid}.{kind}").exists()

    def write_config(self, domid: int, uuid: str, config: dict[str, Any]) -> None:
        """Replace the configuration as a whole; raises ConfigError. The caller holds the domain's locks."""
        # Without indentation, which would take ten times as long (Python does that part itself).
        text = json.dumps(config, ensure_ascii=False) + "\n" + _NUL
        new, current = self._config("n", domid, uuid), self._config("d", domid, uuid)
        try:
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(text.encode(_ENCODING, _ERRORS))
            new.replace(current)
        except OSError as error:
            raise ConfigError(
                f"libxl's configuration of the domain, {current}, cannot be written ({error.strerror})"
            ) from error

    def _config(self, kind: str, domid: int, uuid: str) -> Path:
        return self._directory / f"userdata-{kind}.{domid}.{uuid}.libxl-json"


@contextmanager
def _lock(path: Path, deadline: float) -> Iterator[None]:
    try:
        descriptor = _acquire(path, deadline)
    except OSError as error:  # a full disk, or one that has become read-only
        raise LockError(f"libxl's lock of the domain, {path}, cannot be taken ({error.strerror})") from error
    try:
        yield
    finally:
        # libxl unlocks in this order; a process that waits on the unlinked file notices and opens it again.
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
            raise LockError(f"another toolstack holds {path.name}; wait for it, or find it with fuser")
        time.sleep(0.02)  # flock has no time-out of its own
