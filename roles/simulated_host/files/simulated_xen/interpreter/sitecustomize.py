# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a Python process see a simulated host where it would see a kernel.

Python imports this module at start when its directory is on PYTHONPATH. Two things change in the process:

* a write to a file below the simulated sysfs is handed to the simulator, which acts before the write
  returns and whose refusals come back as the errno that Linux gives. A plain directory can do neither;
* /var/lib/xen and /var/run/xen, paths that Xen's tools have compiled in, are those of the simulated host,
  also for the sockets of QEMU in there.

Programs that are not Python write to the files themselves: see host/watch.py for what happens then.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import sys

# typing itself is not imported: every start of Python would pay for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

RUN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MOVED = {
    "/var/lib/xen": os.path.join(RUN, "var", "lib", "xen"),
    "/var/run/xen": os.path.join(RUN, "run"),
    "/run/xen": os.path.join(RUN, "run"),
}

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
    text = os.fsdecode(path)
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


def _moved(path: Any) -> Any:
    """Where a path is on the simulated host."""
    if isinstance(path, int) or path is None:
        return path
    text = os.fsdecode(path)
    for prefix, target in MOVED.items():
        if text == prefix or text.startswith(prefix + os.sep):
            return target + text[len(prefix) :]
    return path


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
        return _os_open(_moved(path), flags, mode, dir_fd=dir_fd)
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
        return _io_open(_moved(file), mode, buffering, encoding, errors, newline, closefd, opener)
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
        return real(*[_moved(arg) for arg in args[:paths]], *args[paths:], **kwargs)

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
for _name in ("stat", "lstat", "unlink", "remove", "listdir", "scandir", "mkdir", "rmdir", "access", "readlink"):
    _install(os, _name, _following(getattr(os, _name), 1))
for _name in ("rename", "replace"):
    _install(os, _name, _following(getattr(os, _name), 2))


class _Changed:
    """Changes a module when it is first imported: every start of Python would pay for importing it here."""

    def __init__(self, name: str, change: Callable[[Any], None]) -> None:
        self._name = name
        self._change = change

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in sys.meta_path)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self._change(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _use_simulated_library(ctypes: Any) -> None:
    """Have libxenctrl be that of the simulated host."""
    ctypes.CDLL = _loading(ctypes.CDLL)


def _loading(real: Callable[..., Any]) -> Callable[..., Any]:
    def load(name: Any = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(name, str) and name.startswith("libxenctrl.so."):
            from xen.lowlevel._libxenctrl import LibXenCtrl  # noqa: PLC0415 - every start of Python would pay for it

            return LibXenCtrl()
        return real(name, *args, **kwargs)

    return load


def _move_sockets(socket: Any) -> None:
    """Have connections to sockets of the host lead to the simulated host's."""
    for method in ("connect", "connect_ex"):
        setattr(socket.socket, method, _connecting(socket, getattr(socket.socket, method)))


def _connecting(module: ModuleType, real: Callable[..., Any]) -> Callable[..., Any]:
    def connect(self: Any, address: Any) -> Any:
        return real(self, _moved(address) if self.family == module.AF_UNIX else address)

    return connect


sys.meta_path.insert(0, _Changed("socket", _move_sockets))
sys.meta_path.insert(0, _Changed("ctypes", _use_simulated_library))
