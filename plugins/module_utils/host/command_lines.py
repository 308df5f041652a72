# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read which command lines the next boot may have, from all boot loaders' files and from what this boot shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ..model.boot_line import BootLine, BootSource, next_boot
from .boot_lines import GRUB, BootFiles
from .grub_defaults import GrubDefaults


@dataclass(frozen=True)
class CommandLines:
    """The lines that the next boot may have, and those after a rebuild of GRUB's configuration.

    `rebuilt` is None where GRUB does not boot this host.
    """

    now: tuple[BootLine, ...]
    rebuilt: tuple[BootLine, ...] | None
    loaders: tuple[str, ...]
    remarks: tuple[str, ...]
    this_boot: BootLine | None = None
    #: When this boot began, None if that is not known.
    began: float | None = None

    @classmethod
    def read(cls, root: Path) -> CommandLines:
        """Read all files below a root."""
        files = BootFiles(root)
        this_boot, sources = files.this_boot(), files.sources()
        defaults = GrubDefaults(root, files)
        derived = defaults.lines()
        ours = {(setting.text, setting.source) for line in derived for setting in line.settings if setting.ours}
        has_configuration = any(source.loader == GRUB for source in sources)
        if derived and not has_configuration:
            sources.append(BootSource(GRUB, derived, files.older(defaults.paths)))
        chosen = next_boot(sources, this_boot)
        # Without a configuration, the defaults may have nothing to do with how the host boots.
        doubted = bool(derived) and not has_configuration and this_boot is not None and bool(this_boot.settings)
        beside = [this_boot] if doubted and this_boot is not None else []
        # Where it may boot by another loader as well, a rebuild of GRUB's configuration promises nothing.
        boots_by_grub = chosen.loaders == (GRUB,)
        of_grub = {line for source in sources if source.loader == GRUB for line in source.lines}
        others = [line for line in chosen.lines if line not in of_grub]
        rebuilt = (*derived, *others, *beside) if derived and boots_by_grub else None
        remarks = [*(f"The host does not boot as its files say: {why}." for why in chosen.refuted), *files.remarks]
        if boots_by_grub:
            remarks += defaults.remarks(derived)
        return cls(
            (*_owned(chosen.lines, ours), *beside),
            rebuilt,
            chosen.loaders,
            tuple(dict.fromkeys(remarks)),
            this_boot,
            files.began,
        )


def _owned(lines: Iterable[BootLine], ours: Collection[tuple[str, str]]) -> Iterable[BootLine]:
    """Mark the settings that come from a file of ours: what GRUB makes of it has the same text."""
    written = dict(ours)
    for line in lines:
        settings = tuple(
            replace(setting, source=written[setting.text], ours=True) if setting.text in written else setting
            for setting in line.settings
        )
        yield replace(line, settings=settings)
