# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a kernel's command line as the kernel does (next_arg in lib/cmdline.c, parameq in kernel/params.c)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .shell_variables import Piece

#: What boot loaders put before the parameters of a kernel that Xen starts, or beside them.
_OF_LOADERS = ("placeholder", "BOOT_IMAGE", "initrd")
_WORD = re.compile(r'(?:"[^"]*"?|[^\s"])+')


def words(text: str) -> list[str]:
    """Divide a command line; a double quote keeps blanks together, and is dropped."""
    return [match.group().replace('"', "") for match in _WORD.finditer(text)]


def words_of_pieces(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """Divide a line that is put together of pieces: each word with the file that its end was written in."""
    text, found = "".join(piece.text for piece in pieces), []
    ends = []
    length = 0
    for piece in pieces:
        length += len(piece.text)
        ends.append((length, piece.source))
    for match in _WORD.finditer(text):
        source = next((source for end, source in ends if match.end() <= end), "")
        found.append((match.group().replace('"', ""), source))
    return found


def settings_of(found: Sequence[str], name: str) -> Iterator[str]:
    """Yield the values of a parameter, in their order. In names, - and _ are the same."""
    for word in found:
        key, equals, value = word.partition("=")
        if equals and key.replace("-", "_") == name.replace("-", "_"):
            yield value


def own_words(found: Sequence[str]) -> frozenset[str]:
    """Return the words that say what a system boots with, without those that differ from loader to loader."""
    kept = (word for word in found if word.partition("=")[0] not in _OF_LOADERS)
    return frozenset(word for word in kept if "?" not in word and "$" not in word)


def split_hypervisors(text: str) -> tuple[str, str]:
    """Divide Xen's command line into its own and what it hands on to dom0 (kextra in xen/arch/x86/setup.c)."""
    own, _dashes, handed_on = f"{text} ".partition(" -- ")
    return own, handed_on
