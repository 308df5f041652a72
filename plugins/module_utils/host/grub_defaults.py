# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive from GRUB's defaults which command line its next rebuild gives to dom0's kernel.

As grub-mkconfig does, /etc/default/grub is evaluated first, then /etc/default/grub.d in order; 20_linux_xen puts the
variables together. What scripts in /etc/grub.d add is not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..model.boot_facts import is_ours
from ..model.boot_line import BootLine, HideSetting
from ..values.command_line import settings_of, split_hypervisors, words, words_of_pieces
from ..values.shell_lexer import ShellError
from ..values.shell_variables import Piece, ShellVariables
from .boot_lines import BootFiles
from .kernel_files import read_text

DEFAULTS = "etc/default/grub"
_SCRIPTS = "etc/grub.d"
_MKCONFIG = ("usr/sbin/grub-mkconfig", "usr/sbin/grub2-mkconfig", "usr/bin/grub-mkconfig")
#: As 20_linux_xen has it: the second replaces the first if it is not empty.
_OF_DOM0 = (
    ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_XEN_REPLACE"),
    ("GRUB_CMDLINE_LINUX_DEFAULT", "GRUB_CMDLINE_LINUX_XEN_REPLACE_DEFAULT"),
)
_OF_XEN = ("GRUB_CMDLINE_XEN", "GRUB_CMDLINE_XEN_DEFAULT")
#: What grub-mkconfig itself sets before it reads the files.
_GIVEN = ("GRUB_DEVICE", "GRUB_FS", "GRUB_PRELOAD", "GRUB_ACTUAL")
_HIDE = re.compile(r"\bxen[-_]pciback\.hide=([^\s\"'}]*)")


class GrubDefaults:
    """GRUB's defaults and scripts below a root."""

    def __init__(self, root: Path, files: BootFiles) -> None:
        self._root = root
        self._files = files
        self.paths = self._defaults()
        self._texts = {files.named(path): read_text(path) or "" for path in self.paths}

    def lines(self) -> tuple[BootLine, ...]:
        """Derive the command line, and one for each script that has a `hide=` of its own; none without defaults."""
        if not self.paths:
            return ()
        variables = ShellVariables(_GIVEN)
        for source, text in self._texts.items():
            variables.run(text, source)
        return (self._line(variables), *self._of_scripts())

    def remarks(self, lines: Sequence[BootLine]) -> Iterator[str]:
        """Yield a sentence for each `hide=` in the defaults that dom0's kernel does not get."""
        heard = {(setting.source, setting.text) for line in lines for setting in line.settings}
        if any(line.unknown for line in lines[:1]):
            return
        for source, text in self._texts.items():
            for value in dict.fromkeys(_hidden_in(text)):
                if value and (source, value) not in heard and not is_ours(text):
                    yield (
                        f"hide={value} in {source} has no effect: of GRUB's variables, dom0's kernel does not get the"
                        " one that it is in, or another assignment overrides it. Correct it there, and run update-grub."
                    )

    def _defaults(self) -> list[Path]:
        first = self._root / DEFAULTS
        if not first.is_file():
            return []
        # Only some distributions have it read the directory, too.
        program = next((text for path in _MKCONFIG if (text := read_text(self._root / path))), "default/grub.d")
        more = sorted((self._root / f"{DEFAULTS}.d").glob("*.cfg")) if "default/grub.d" in program else []
        return [first, *more]

    def _line(self, variables: ShellVariables) -> BootLine:
        try:
            pieces = [piece for names in _OF_DOM0 for piece in (*_first(variables, names), Piece(" ", ""))]
        except ShellError as error:
            return BootLine(f"/{DEFAULTS}", unknown=f"what GRUB's next rebuild makes is not known ({error})")
        pieces += self._handed_on(variables)
        found = words_of_pieces(pieces)
        # Where each setting was written is asked of the word that it is in.
        settings = [
            replace(setting, source=source, ours=is_ours(self._texts.get(source, "")))
            for word, source in found
            for setting in self._files.line("", [word]).settings
            if not setting.adds
        ]
        whole = self._files.line(f"/{DEFAULTS}", [word for word, _source in found])
        return replace(whole, settings=(*settings, *(setting for setting in whole.settings if setting.adds)))

    def _handed_on(self, variables: ShellVariables) -> list[Piece]:
        """Return what Xen's own line hands on to dom0, and remark on a `hide=` that it does not."""
        try:
            pieces = [piece for name in _OF_XEN for piece in (*variables.value(name), Piece(" ", ""))]
        except ShellError:
            return []
        own, handed_on = split_hypervisors("".join(piece.text for piece in pieces))
        for value in settings_of(words(own), "xen-pciback.hide"):
            self._files.remarks.append(
                f"hide={value} in GRUB_CMDLINE_XEN or GRUB_CMDLINE_XEN_DEFAULT is on the line of Xen, where dom0's"
                " kernel does not see it. Put it in GRUB_CMDLINE_LINUX, and run update-grub."
            )
        return [Piece(f" {handed_on}", f"/{DEFAULTS}")] if handed_on else []

    def _of_scripts(self) -> Iterator[BootLine]:
        for path in self._files.found([f"{_SCRIPTS}/*"]):
            text = read_text(path) or ""
            found = _hidden_in(text)
            if found:
                source = self._files.named(path)
                known = tuple(HideSetting(source, value) for value in found[-1:] if "$" not in value)
                yield BootLine(source, known, unknown=f"{source} is a script that sets hide=, and is not followed")


def _first(variables: ShellVariables, names: tuple[str, str]) -> tuple[Piece, ...]:
    """Return the second variable unless it is empty, else the first."""
    replaced = variables.value(names[1])
    return replaced if any(piece.text for piece in replaced) else variables.value(names[0])


def _hidden_in(text: str) -> list[str]:
    """Find the texts of all `hide=` in a file, comments apart."""
    return _HIDE.findall("\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
