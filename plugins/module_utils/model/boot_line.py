# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines with which dom0's kernel may start next, and which of them this boot refutes.

A host can have the files of several boot loaders, and only one of them is in use. What this boot shows decides: a file
that is older than the boot, and that would have made another command line, is not what this host boots by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class HideSetting:
    """One place that sets pciback's `hide=`; `ours` says whether it is a file of this collection.

    With `adds`, it is no `hide=`, and takes the devices beside whatever that says. Then `classes` are devices that it
    takes by their class.
    """

    source: str
    text: str
    ours: bool = False
    adds: bool = False
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BootLine:
    """One command line: its settings in their order, and its other words, as far as they say what is booted.

    `unknown` says why it cannot be read as a whole; then `settings` are those that it might have.
    """

    source: str
    settings: tuple[HideSetting, ...] = ()
    words: frozenset[str] = frozenset()
    unknown: str = ""

    @property
    def root(self) -> frozenset[str]:
        """What it names as the root file system."""
        return frozenset(word for word in self.words if word.startswith("root="))

    def made(self, this_boot: BootLine) -> bool:
        """Whether this line can be what this boot was started with; Xen and the kernel may have added words."""
        same = [setting.text for setting in self.settings] == [setting.text for setting in this_boot.settings]
        return not self.unknown and same and self.words <= this_boot.words


@dataclass(frozen=True)
class BootSource:
    """The files of one boot loader, and all command lines that they have for dom0.

    `older`: none of them has changed since this boot began; None if that cannot be seen.
    """

    loader: str
    lines: tuple[BootLine, ...]
    older: bool | None = None

    def against(self, this_boot: BootLine) -> str:
        """Say how this boot refutes that the host boots by these files; empty if it does not."""
        if any(line.unknown or line.made(this_boot) for line in self.lines):
            return ""
        names = ", ".join(dict.fromkeys(line.source for line in self.lines))
        if self.older:
            return (
                f"{names} is older than this boot, but dom0's kernel was not started with what it says"
                f" ({this_boot.source})"
            )
        roots = frozenset(root for line in self.lines for root in line.root)
        if roots and this_boot.root and not roots & this_boot.root:
            return f"{names} has another root file system than this boot ({this_boot.source})"
        return ""


@dataclass(frozen=True)
class NextBoot:
    """What the next boot may start dom0's kernel with: `lines`, the likeliest first; and by which loaders.

    `refuted` says why which files do not count.
    """

    lines: tuple[BootLine, ...]
    loaders: tuple[str, ...]
    refuted: tuple[str, ...] = ()


def next_boot(sources: Sequence[BootSource], this_boot: BootLine | None) -> NextBoot:
    """Choose among the sources by what this boot shows; None where that cannot be seen."""
    if this_boot is None:
        return _of(sources)
    refuted = {source: why for source in sources if (why := source.against(this_boot))}
    left = [source for source in sources if source not in refuted]
    made = [source for source in left if any(line.made(this_boot) for line in source.lines)]
    if left:
        chosen = _of(made or left)
        return NextBoot(chosen.lines, chosen.loaders, tuple(refuted.values()))
    # Nothing here boots this host. Most likely the next boot is like this one, but its line may have been edited once.
    lines = (this_boot, *(line for source in refuted for line in source.lines))
    return NextBoot(lines, (), tuple(refuted.values()))


def _of(sources: Sequence[BootSource]) -> NextBoot:
    lines = tuple(line for source in sources for line in source.lines)
    return NextBoot(lines, tuple(dict.fromkeys(source.loader for source in sources)))
