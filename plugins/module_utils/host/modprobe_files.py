# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modprobe is configured to do: its lines, in the order in which it reads them (modprobe.d(5))."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: Where modprobe looks: a name in an earlier directory hides the same name in a later one.
_DIRECTORIES = (
    "etc/modprobe.d",
    "run/modprobe.d",
    "usr/local/lib/modprobe.d",
    "usr/lib/modprobe.d",
    "lib/modprobe.d",
)
_ON_COMMAND_LINE = ("modprobe.blacklist", "module_blacklist")
#: What stands for "do not load" behind `install`.
_NOTHING = ("false", "true", "nologin", ":")


class ModprobeFile(NamedTuple):
    """One file, by its path from the root, and its lines in words."""

    path: str
    text: str
    lines: list[list[str]]


def modprobe_files(root: Path) -> Iterator[ModprobeFile]:
    """All files that modprobe reads below a root, in its order. Raises OSError where one cannot be read."""
    found: dict[str, Path] = {}
    for directory in _DIRECTORIES:
        for file in sorted((root / directory).glob("*.conf")):
            found.setdefault(file.name, file)
    for _name, file in sorted(found.items()):
        text = file.read_text(encoding="utf-8", errors="replace")
        lines = [_words(line) for line in text.replace("\\\n", " ").splitlines()]
        yield ModprobeFile(str(file.relative_to(root)), text, [words for words in lines if words])


def not_loaded(root: Path) -> frozenset[str]:
    """Modules, with underscores, that are configured not to be loaded for a device that they fit."""
    found = set()
    for file in modprobe_files(root):
        for command, *arguments in file.lines:
            does_nothing = len(arguments) > 1 and arguments[1].rpartition("/")[2] in _NOTHING
            if arguments and (command == "blacklist" or (command == "install" and does_nothing)):
                found.add(arguments[0].replace("-", "_"))
    try:
        command_line = (root / "proc/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        command_line = ""
    for word in command_line.split():
        name, _equals, value = word.partition("=")
        if name in _ON_COMMAND_LINE:
            found.update(module.replace("-", "_") for module in value.split(",") if module)
    return frozenset(found)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return []
