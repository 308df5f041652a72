# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuses what would reach the machine that a simulated host runs on: its programs, its files, its network.

It sees what a Python process asks for by Python's audit events, so it needs no list of what modules may try. What
native code does by itself has no such events: see simulated_modules.py for libraries. Each refusal is an OSError that
says why, and a line in the file `refused` of the host's directory.
"""

from __future__ import annotations

import errno
import os
import re
import sys

from simulated_paths import PROGRAMS, RUN, identity, is_of_the_process, is_own, moved

# typing itself is not imported: every start of Python would pay for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PYTHONS = {identity(path) for path in (sys.executable, getattr(sys, "_base_executable", "")) if path} - {None}
#: Becomes this machine's.
_SHELL = os.path.join(PROGRAMS, "ansible-sh")
_NETLINK = 16
#: Python's options with which it does not import sitecustomize.
_BLIND = re.compile(r"-[A-Za-z]*[IES]")
#: A path in a command line: at the beginning of a word, or behind what ends one for a shell or an option.
_PATH = re.compile(r"(?:^|(?<=[\s='\"<>|;&(,]))(/[^\s'\"|;&<>()$`*?,]+)")


def _refuse(number: int, why: str, what: str) -> OSError:
    with open(os.path.join(RUN, "refused"), "a", encoding="utf-8", errors="replace") as log:
        log.write(f"{what}: {why}\n")
    return OSError(number, why, what)


# -- files -----------------------------------------------------------------------------------------------


def _check_written(path: Any, directory: Any = -1, follows: bool = False) -> None:
    if path is None or isinstance(path, int):
        return
    text = os.fsdecode(path)
    if not os.path.isabs(text) and isinstance(directory, int) and directory >= 0:
        text = os.path.join(os.readlink(f"/proc/self/fd/{directory}"), text)
    text = os.path.abspath(text)
    real = os.path.realpath(text if follows else os.path.dirname(text))
    # Python keeps what it has compiled beside its source.
    if not (is_own(real) or is_of_the_process(text) or "/__pycache__" in text):
        why = f"a simulated host writes in its own directory only, which is {RUN}"
        raise _refuse(errno.EACCES, why, text)


def _opened(path: Any, mode: Any, flags: int) -> None:
    del mode
    if flags & _WRITING:
        _check_written(path, follows=True)


def _changed(paths: Sequence[int], directories: Sequence[int]) -> Callable[..., None]:
    """A check for an event whose arguments have paths at these places, and descriptors of directories at those."""

    def check(*arguments: Any) -> None:
        for path, directory in zip(paths, directories):
            _check_written(arguments[path], arguments[directory] if directory < len(arguments) else -1)

    return check


# -- programs --------------------------------------------------------------------------------------------


def _started(program: Any, words: Any, _directory: Any = None, environment: Any = None) -> None:
    name = os.fsdecode(program)
    path = name if "/" in name else os.path.join(PROGRAMS, name)
    texts = [os.fsdecode(word) for word in ([words] if isinstance(words, (str, bytes)) else words)]
    if identity(path) in _PYTHONS:
        _check_python(name, texts[1:], environment)
        return
    own = str(moved(path))
    # One of the same name elsewhere is another program, unless it is the one that a link of ours leads to.
    if not own.startswith(RUN + os.sep) or identity(own) is None or identity(own) != identity(path):
        raise _refuse(errno.ENOENT, f"a simulated host has no other programs than those in {PROGRAMS}", name)
    _check_path(name, environment)
    if os.path.islink(own) or own == _SHELL:  # a program of this machine, which sees this machine's files
        _check_words(name, texts[1:])


def _check_python(name: str, words: Sequence[str], environment: Any) -> None:
    options = []
    for word in words:
        if not word.startswith("-") or word in ("-c", "-m"):
            break
        options.append(word)
    sees = environment is None or RUN in _variable(environment, "PYTHONPATH")
    if not sees or any(_BLIND.match(option) for option in options):
        raise _refuse(errno.EPERM, "this Python would not see the simulated host, but the machine below it", name)


def _check_path(name: str, environment: Any) -> None:
    places = [] if environment is None else _variable(environment, "PATH").split(os.pathsep)
    if any(not place.startswith(RUN + os.sep) for place in places):
        raise _refuse(errno.EPERM, f"its PATH leads out of the simulated host, whose programs are in {PROGRAMS}", name)


def _check_words(name: str, words: Sequence[str]) -> None:
    for word in words:
        for path in _PATH.findall(word):
            if not _is_harmless(path):
                why = f"only Python sees the files of a simulated host; for other programs this one is {moved(path)}"
                raise _refuse(errno.EPERM, why, f"{name} {path}")


def _is_harmless(path: str) -> bool:
    """Whether it leads to no file of this machine but the host's, or is a program of the host's by its usual path."""
    if is_own(path) or is_of_the_process(path) or identity(path) in _PYTHONS:
        return True
    own = str(moved(path))
    if os.path.dirname(own) == PROGRAMS:
        return identity(own) is not None and identity(own) == identity(path)
    # What begins with no directory of this machine is a pattern, and no path.
    return identity(f"/{path.split('/')[1]}") is None


def _variable(environment: Mapping[Any, Any], name: str) -> str:
    return os.fsdecode(environment.get(name, environment.get(os.fsencode(name), b"")))


def _opened_socket(_socket: Any, family: int, *_rest: Any) -> None:
    if family == _NETLINK:
        raise _refuse(errno.EPERM, "a simulated host has no network of its own to set up", "netlink")


_CHECKS: dict[str, Callable[..., None]] = {
    "open": _opened,
    "os.mkdir": _changed([0], [2]),
    "os.rename": _changed([0, 1], [2, 3]),
    "os.remove": _changed([0], [1]),
    "os.rmdir": _changed([0], [1]),
    "os.truncate": _changed([0], [9]),
    "os.chmod": _changed([0], [2]),
    "os.chown": _changed([0], [3]),
    "os.utime": _changed([0], [3]),
    "os.link": _changed([0, 1], [2, 3]),
    "os.symlink": _changed([1], [2]),
    "os.setxattr": _changed([0], [9]),
    "os.removexattr": _changed([0], [9]),
    "subprocess.Popen": _started,
    "os.exec": lambda path, words, environment: _started(path, words, None, environment),
    "os.posix_spawn": lambda path, words, environment: _started(path, words, None, environment),
    "os.system": lambda command: _started("sh", ["sh", "-c", command]),
    "socket.__new__": _opened_socket,
}


def install() -> None:
    """Watch this process from here on, and have it find the host's programs only."""
    os.environ["PATH"] = PROGRAMS

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        check = _CHECKS.get(event)
        if check is not None:
            check(*arguments)

    sys.addaudithook(hook)
