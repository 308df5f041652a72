# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of Python that reach a host past Python's own files: each is changed when it is imported, or is not there."""

from __future__ import annotations

import os
import sys
import time

from simulated_paths import RUN, moved

# typing itself is not imported: every start of Python would pay for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

#: Bindings to libraries that change the machine by themselves: its packages, its services, its guests.
_PACKAGES = ("apt", "apt_inst", "apt_pkg", "dnf", "hawkey", "libdnf", "libdnf5", "rpm", "yum")
_ABSENT = frozenset((*_PACKAGES, "dbus", "gi", "libvirt", "systemd"))


class _Changed:
    """A loader that changes the module which another one has loaded."""

    def __init__(self, loader: Any, change: Callable[[Any], None]) -> None:
        self._loader = loader
        self._change = change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change(module)


class _Finder:
    """Finds the changed modules at their first import: every start of Python would pay for importing them here."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name in _ABSENT:
            raise ModuleNotFoundError(f"{name} is left out: it would reach past the simulated host", name=name)
        change = _CHANGES.get(name)
        if change is None:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Changed(spec.loader, change)  # type: ignore[assignment]
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
        return real(self, moved(address) if self.family == module.AF_UNIX else address)

    return connect


def _keep_log(syslog: Any) -> None:
    """Have lines for the system's log be in the simulated host's."""
    program = [os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else "python"]

    def openlog(ident: str = "", *_args: Any, **_kwargs: Any) -> None:
        program[0] = ident or program[0]

    def write(*words: Any) -> None:
        with open(os.path.join(RUN, "var", "log", "syslog"), "a", encoding="utf-8", errors="replace") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {program[0]}[{os.getpid()}]: {words[-1]}\n")

    syslog.openlog, syslog.syslog, syslog.closelog = openlog, write, lambda: None


_CHANGES = {"ctypes": _use_simulated_library, "socket": _move_sockets, "syslog": _keep_log}


def install() -> None:
    """Change what is imported from here on."""
    sys.meta_path.insert(0, _Finder())
