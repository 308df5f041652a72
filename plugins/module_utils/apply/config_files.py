# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the xl.cfg of domains, once the domains are as declared."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ..host.xl_cfg_file import DomainFileError, XlCfgFiles
from ..plan.file_plan import FileChange, text_for
from ..plan.names import Moved
from ..values.xl_config import XlConfigError


def write_files(
    files: XlCfgFiles, changes: Sequence[FileChange], moved: Sequence[Moved], failed: Collection[str], backup: bool
) -> list[FileChange]:
    """Write the files of all domains but those that failed; they are read again, since time has passed."""
    return [
        replace(planned, after=planned.before)
        if planned.want.name in failed
        else _written(files, planned, moved, backup)
        for planned in changes
    ]


def _written(files: XlCfgFiles, planned: FileChange, moved: Sequence[Moved], backup: bool) -> FileChange:
    name, path = planned.want.name, planned.path
    try:
        before = files.read(path)
        change = replace(planned, before=before, after=text_for(planned.want, before, moved))
        copy = files.replace(path, change.after, backup) if change.changed else None
    except XlConfigError as error:
        reason = f"its configuration {path} cannot be changed: {error}"
    except DomainFileError as error:
        reason = str(error)
    else:
        return replace(change, backup_file=copy)
    done = "its devices are as declared, but " if planned.running else "it does not run, and "
    return replace(planned, after=planned.before, error=f"{name}: {done}{reason}; run again")
