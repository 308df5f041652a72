# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write to the kernel where it can be given up on: each write in a child process of its own, with a deadline.

A write to `unbind` ends when the driver's remove function does, and that may wait for a process that uses the device.
Then no signal ends it, and a process cannot exit while one of its threads is in such a write. So a child makes the
write, and a child that does not return is left behind. It holds nothing of the run but a lock on a file, by which later
runs see that the write goes on. The kernel releases that lock when the write has ended, however it ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..values.address import AddressError, Sbdf
from .kernel_files import beside, list_names, read_text, write_attribute

#: How long a write may take if the run has not said.
_MOST_SECONDS = 300.0
#: How long a child may hold its lock after the run that it worked for was killed.
_LATE_SECONDS = 0.5
_LOOK_AGAIN = 0.01
#: How long a write that a signal can end needs for that.
_ENDS_WITHIN = 0.5
#: Functions of the kernel's stack that are named: the innermost ones say what it waits for.
_NAMED_FUNCTIONS = 5
_STANDARD_STREAMS = (0, 1, 2)


class WriteHangs(TimeoutError):
    """A write has not returned in time, or an earlier one of the same device has not; the text says which."""

    def __init__(self, text: str, goes_on: bool = True) -> None:
        super().__init__(errno.ETIMEDOUT, text)
        self.text = text
        self.goes_on = goes_on


class KernelWrites:
    """Writes to the files of the host whose sysfs is at `sysfs_root`; `seconds` is what each may take."""

    def __init__(self, sysfs_root: Path) -> None:
        self._directory = beside(sysfs_root, "run") / "xen.pci"
        self.seconds = _MOST_SECONDS

    def hanging(self) -> dict[Sbdf, str]:
        """Find devices of which an earlier write goes on, each with words that say what was written, where and when."""
        found = {}
        for name in list_names(self._directory):
            with suppress(AddressError, OSError):
                lock = os.open(self._directory / name, os.O_RDWR | os.O_CLOEXEC)
                try:
                    if not _locked(lock):
                        found[Sbdf.parse(name)] = read_text(self._directory / name) or "a write"
                finally:
                    os.close(lock)
        return found

    def write(self, file: Path, text: str, subject: Sbdf) -> None:
        """Write an attribute in one write, for this device; raises OSError, which is WriteHangs if it is given up."""
        written = f"{text.strip() or 'nothing'!r} to {file}"
        with self._claimed(subject, f"{written} at {time.strftime('%H:%M:%S')}") as lock:
            _write_within(self.seconds, file, text, lock)

    @contextmanager
    def _claimed(self, subject: Sbdf, words: str) -> Iterator[int]:
        """Hold the device's lock; its file says what is written, and is removed once that has returned."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / str(subject)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _locked(lock):
                raise WriteHangs(f"an earlier write has not returned: {read_text(path) or 'unknown'}")
            os.ftruncate(lock, 0)
            os.write(lock, words.encode())
            goes_on = False
            try:
                yield lock
            except WriteHangs as error:
                goes_on = error.goes_on
                raise
            finally:
                if not goes_on:
                    with suppress(FileNotFoundError):
                        path.unlink()
        finally:
            os.close(lock)


def _locked(lock: int) -> bool:
    """Take the lock, unless the process that has it keeps it; a child whose run was killed may be about to end."""
    deadline = time.monotonic() + _LATE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_AGAIN)
        else:
            return True


def _write_within(seconds: float, file: Path, text: str, lock: int) -> None:
    reading, writing = os.pipe()
    try:
        try:
            child = os.fork()
        except OSError as error:  # which must not look as if the kernel had refused the write
            raise OSError(errno.EAGAIN, f"no process could be started for it: {error.strerror}") from error
        if child == 0:
            _write_and_exit(file, text, writing, lock)
        os.close(writing)
        writing = -1
        number = _answer(reading, seconds)
        if number is None:
            number = _given_up(child, reading, seconds)
        os.waitpid(child, 0)
    finally:
        for end in (reading, writing):
            if end >= 0:
                os.close(end)
    if number:
        raise OSError(number, os.strerror(number), str(file))


def _write_and_exit(file: Path, text: str, answer: int, lock: int) -> None:
    """Be the child: nothing of the run may be kept by it, neither a lock nor an end of a pipe that others wait for."""
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in _STANDARD_STREAMS:
            os.dup2(nowhere, stream)
        kept = {*_STANDARD_STREAMS, answer, lock}
        for descriptor in map(int, list_names("/proc/self/fd")):
            if descriptor not in kept:
                with suppress(OSError):
                    os.close(descriptor)
        number = 0
        try:
            write_attribute(file, text)
        except OSError as error:
            number = error.errno or errno.EIO
        os.write(answer, bytes([number]))
    finally:
        os._exit(0)


def _answer(reading: int, seconds: float) -> int | None:
    """Return the errno with which the write ended, 0 if it succeeded, None if it goes on; EINTR if it was killed."""
    if not wait_readable(reading, seconds):
        return None
    said = os.read(reading, 1)
    return said[0] if said else errno.EINTR


def wait_readable(descriptor: int, seconds: float) -> bool:
    """Wait until something can be read, or nothing more will come."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def _given_up(child: int, reading: int, seconds: float) -> int:
    """End a write that takes too long: the errno that it returned at the last moment, or WriteHangs.

    Most of what waits in the kernel can be ended by no signal; then the child is left behind.
    """
    stack = _stack(child)
    os.kill(child, signal.SIGKILL)
    number = _answer(reading, _ENDS_WITHIN)
    if number is None:
        where = f", in {stack}" if stack else ""
        raise WriteHangs(f"it has not returned for {seconds:g} s and goes on in the kernel (process {child}{where})")
    if number == errno.EINTR:
        os.waitpid(child, 0)
        where = f" in {stack}" if stack else ""
        raise WriteHangs(f"it had not returned after {seconds:g} s and was ended{where}", goes_on=False)
    return number


def _stack(process: int) -> str:
    """Say what the kernel does for a process, innermost function first; empty if we may not know."""
    lines = (read_text(f"/proc/{process}/stack") or "").splitlines()
    functions = [line.rpartition("] ")[2].partition("+")[0] for line in lines if "+0x" in line]
    return " < ".join(functions[:_NAMED_FUNCTIONS])
