# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a Python process see a simulated host where it would see a kernel.

Python imports this module at start when its directory is on PYTHONPATH. Three things change in the process:

* a write to a file below the simulated sysfs is handed to the simulator, which acts before the write
  returns and whose refusals come back as the errno that Linux gives. A plain directory can do neither;
* the files of a host, such as those in /etc and /proc, are those of the simulated host (simulated_paths.py), also its
  sockets, its system log and libxenctrl (simulated_modules.py);
* what would reach the machine below is refused (simulated_limits.py).

Programs that are not Python write to the files themselves: see host/watch.py for what happens then.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import sys

import simulated_limits
import simulated_modules
from simulated_paths import RUN, moved

# typing itself is not imported: every start of Python would pay for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

_SYS = tuple({os.path.join(RUN, "sys") + os.sep, os.path.join(os.path.realpath(RUN), "sys") + os.sep})
_REAL_SYS = os.path.join(os.path.realpath(RUN), "sys") + os.sep

_os_open, _os_write, _os_close, _io_open = os.open, os.write, os.close, io.open
_control_files: dict[int, str] = {}  # by descriptor


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def _control_file(path: Any) -> str | None:
    """The real path of a file of the simulated sysfs, None for any other path."""
    if isinstance(path, int):
        return None
    text = os.fsdecode(moved(path))
    if not os.path.isabs(text):
        text = os.path.abspath(text)
    if not text.startswith(_SYS):
        return None
    real = os.path.realpath(text)
    return real if real.startswith(_REAL_SYS) and not real.endswith("/config") else None


def _check_writable(path: str, creates: bool) -> None:
    """kernfs refuses to open a file for writing that has no write permission bit, also to root, and
    never creates one."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise _error(errno.EACCES if creates else errno.ENOENT, path) from None
    if not mode & 0o222:
        raise _error(errno.EACCES, path)


def _hand_over(path: str, data: Any) -> int:
    from xen.lowlevel._simulator import Refused, ask  # noqa: PLC0415 - every start of Python would pay for it

    text = bytes(data).decode("latin-1")
    try:
        if ask("sysfs-write", path=path, data=text) == "hangs":
            number = _hang(lambda: ask("sysfs-write", path=path, data=text, patient=True))
            if number:
                raise _error(number, path)
    except Refused:
        raise _error(errno.EIO, path) from None
    return len(data)


def _hang(write: Callable[[], Any]) -> int:
    """A write that does not return; its errno once it does.

    No signal ends a process that waits in the kernel like that, and what it has open stays open. So another process
    waits, which has the same files and outlives this one.
    """
    waiting = os.fork()
    if waiting == 0:
        number = errno.EIO
        try:
            os.setsid()
            write()
            number = 0
        except OSError as error:
            number = error.errno or errno.EIO
        finally:
            os._exit(number)
    return os.waitstatus_to_exitcode(os.waitpid(waiting, 0)[1])


class _ControlFile(io.FileIO):
    """An open file of sysfs: reads come from the file, writes go to the simulator."""

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor, "r+")
        self._path = path

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            return _hand_over(self._path, view.tobytes())

    def truncate(self, size: int | None = None) -> int:
        return size or 0

    def close(self) -> None:
        if not self.closed:
            _control_files.pop(self.fileno(), None)
        super().close()


class _Patched:
    """A replacement for a function. An object, because pathlib keeps functions as class attributes, and
    a plain function would become a method there."""

    def __init__(self, real: Callable[..., Any], replacement: Callable[..., Any]) -> None:
        self._replacement = replacement
        self.__name__ = real.__name__
        self.__doc__ = real.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._replacement(*args, **kwargs)


def _open_descriptor(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    control = _control_file(path) if dir_fd is None and flags & (os.O_WRONLY | os.O_RDWR) else None
    if control is None:
        return _os_open(moved(path), flags, mode, dir_fd=dir_fd)
    _check_writable(control, bool(flags & os.O_CREAT))
    descriptor = _os_open(control, os.O_RDONLY | os.O_CLOEXEC)
    _control_files[descriptor] = control
    return descriptor


def _write_descriptor(descriptor: int, data: Any) -> int:
    path = _control_files.get(descriptor)
    return _os_write(descriptor, data) if path is None else _hand_over(path, data)


def _close_descriptor(descriptor: int) -> None:
    _control_files.pop(descriptor, None)
    _os_close(descriptor)


def _open_file(  # noqa: PLR0913, PLR0917 - as many as open() has
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    writes = set(mode) & set("wax+")
    control = None
    if writes:
        control = _control_files.get(file) if isinstance(file, int) else _control_file(file)
    if control is None:
        return _io_open(moved(file), mode, buffering, encoding, errors, newline, closefd, opener)
    if not isinstance(file, int):
        _check_writable(control, "r" not in mode)
        file = _os_open(control, os.O_RDONLY | os.O_CLOEXEC)
    raw = _ControlFile(file, control)
    if "b" in mode and buffering == 0:
        return raw
    buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
    if "b" in mode:
        return buffered
    return io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)


def _following(real: Callable[..., Any], paths: int) -> Callable[..., Any]:
    """A function of os whose first one or two arguments are paths."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return real(*[moved(arg) for arg in args[:paths]], *args[paths:], **kwargs)

    return call


def _linking(real: Callable[..., Any]) -> Callable[..., Any]:
    """os.symlink: what it writes is text, where it writes is a path."""

    def call(target: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
        return real(target, moved(path), *args, **kwargs)

    return call


def _install(module: ModuleType, name: str, replacement: Callable[..., Any]) -> None:
    real = getattr(module, name)
    patched = _Patched(real, replacement)
    setattr(module, name, patched)
    for group in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
        if real in group:
            group.add(patched)
    # pathlib of 3.9 and 3.10 keeps its own references, if something imported it before us.
    accessor = getattr(sys.modules.get("pathlib"), "_NormalAccessor", None)
    if accessor is not None and hasattr(accessor, name):
        setattr(accessor, name, patched)


_install(os, "open", _open_descriptor)
_install(os, "write", _write_descriptor)
_install(os, "close", _close_descriptor)
_install(io, "open", _open_file)
builtins.open = io.open
_PATHS = {
    1: "stat lstat statvfs access readlink listdir scandir chdir mkdir rmdir unlink remove truncate chmod chown lchown"
    " utime mkfifo mknod listxattr getxattr setxattr removexattr",
    2: "rename replace link",
}
for _paths, _names in _PATHS.items():
    for _name in _names.split():
        _install(os, _name, _following(getattr(os, _name), _paths))
_install(os, "symlink", _linking(os.symlink))
simulated_modules.install()
simulated_limits.install()
