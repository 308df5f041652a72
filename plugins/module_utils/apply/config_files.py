# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping the xl.cfg of domains in step with their declaration: looked at before anything is touched, written last.

The declaration is applied to the file as it is to the domain, so what nobody declares stays in both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..host.xl_cfg_file import DomainFileError, read_domain_file, replace_domain_file
from ..model.xl_file import devices_of, updated
from ..plan.domain_plan import DesiredDomain
from ..plan.names import Moved
from ..values.xl_config import XlConfigError
from .converge import Refused


@dataclass(frozen=True)
class FileChange:
    """One domain's file, as it is and as it shall be; `backup_file` is a copy of what was, `error` why it failed."""

    want: DesiredDomain
    path: str
    before: str
    after: str
    backup_file: str | None = None
    error: str = ""

    @property
    def changed(self) -> bool:
        """Whether the file is not yet as it shall be, or was not."""
        return self.before != self.after


def plan_files(desired: Sequence[DesiredDomain], moved: Sequence[Moved]) -> list[FileChange]:
    """What the files of these domains shall be; raises Refused with a sentence for each that is not understood."""
    changes, problems = [], []
    for want in desired:
        if want.config is not None:
            try:
                changes.append(_change(want, want.config, moved))
            except (DomainFileError, XlConfigError) as error:
                problems.append(f"{want.name}: {_sentence(want.config, error)}")
    if problems:
        raise Refused(problems)
    return changes


def write_files(
    changes: Sequence[FileChange], moved: Sequence[Moved], failed: Collection[str], backup: bool
) -> list[FileChange]:
    """Write the files of all domains but those that failed; they are read anew, since time has passed."""
    written = []
    for planned in changes:
        if planned.want.name in failed:
            written.append(replace(planned, after=planned.before))
            continue
        try:
            change = _change(planned.want, planned.path, moved)
            copy = replace_domain_file(Path(change.path), change.after, backup) if change.changed else None
            written.append(replace(change, backup_file=copy))
        except (DomainFileError, XlConfigError) as error:
            text = f"{planned.want.name}: its devices are as declared, but {_sentence(planned.path, error)}; run again"
            written.append(replace(planned, after=planned.before, error=text))
    return written


def _change(want: DesiredDomain, path: str, moved: Sequence[Moved]) -> FileChange:
    before = read_domain_file(Path(path))
    if want.present:
        listed = devices_of(before)
        # Where a device was before it moved is somebody else's address now, or nobody's.
        left = {one.before for one in moved if one.after in want.devices and one.after not in listed}
        after = updated(before, want.name, add=want.devices, remove=left, only=want.exclusive)
    else:
        after = updated(before, want.name, remove=want.devices)
    return FileChange(want, path, before, after)


def _sentence(path: str, error: Exception) -> str:
    return f"its configuration {path} cannot be changed: {error}" if isinstance(error, XlConfigError) else str(error)
