# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan what the xl.cfg of each domain is to say, so that it lists the same devices as the declaration.

The declaration is applied to the file as it is to the domain, so what is not declared stays in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf
from ..values.device_options import DEFAULTS, DeviceOptions
from ..values.refusal import Refusal
from ..values.words import listed
from .domain_lookup import find_domain
from .domain_plan import DesiredDomain
from .names import Moved


@dataclass(frozen=True)
class FileChange:
    """One domain's file, as it is and as it is to be; `backup_file` is the path of a copy, `error` why it failed.

    Of a domain that does not run (`running` false), there is nothing else to be brought in step.
    """

    want: DesiredDomain
    path: str
    before: str
    after: str
    backup_file: str | None = None
    error: str = ""
    running: bool = True

    @property
    def changed(self) -> bool:
        """Whether the file has to change, or had to."""
        return self.before != self.after


def plan_files(
    host: Host, desired: Iterable[DesiredDomain], moved: Sequence[Moved]
) -> tuple[tuple[FileChange, ...], tuple[Refusal, ...]]:
    """Plan what the files of these domains are to say, and refuse each that cannot be read or understood."""
    declared = [(want, want.config) for want in desired if want.config is not None]
    if not declared:
        return (), ()
    from ..values.xl_config import XlConfigError  # noqa: PLC0415 - for domains with a file; each import costs every run

    changes, refusals = [], []
    for want, path in declared:
        if path in host.unreadable_files:
            refusals.append(Refusal("config-file", want.name, f"{want.name}: {host.unreadable_files[path]}"))
            continue
        try:
            before = host.config_files[path]
            running = isinstance(find_domain(host, want.name, want.uuid), Domain)
            changes.append(FileChange(want, path, before, text_for(want, before, moved), running=running))
        except XlConfigError as error:
            reason = f"{want.name}: its configuration {path} cannot be changed: {error}"
            refusals.append(Refusal("config-file", want.name, reason))
    return tuple(changes), tuple(refusals)


def listed_in_file(host: Host, path: str | None) -> tuple[Sbdf, ...]:
    """Find the devices that the file of a domain lists; none if there is no file, or one that is refused anyway."""
    return devices_in(host.config_files.get(path, "")) if path is not None else ()


def devices_in(text: str) -> tuple[Sbdf, ...]:
    """Find the devices that a file of this text lists; none if it is not understood."""
    from ..model.xl_file import devices_of  # noqa: PLC0415 - as in plan_files
    from ..values.xl_config import XlConfigError  # noqa: PLC0415 - as in plan_files

    try:
        return devices_of(text)
    except XlConfigError:
        return ()


def undeclared_options(change: FileChange) -> list[str]:
    """Write a sentence for each declared device that a file gives other options than are declared of it."""
    from ..model.xl_file import options_of  # noqa: PLC0415 - as in plan_files

    found = []
    for device, options in options_of(change.after).items() if change.want.present else ():
        declared = change.want.options.get(device, DeviceOptions())
        names = [different.partition("=")[0] for different in options.differences(DEFAULTS)]
        values = [
            f"{name}={value}" for name, value in options.words() if name in names and getattr(declared, name) is None
        ]
        if device in change.want.devices and values:
            found.append(
                f"{change.want.name}: {change.path} gives it {device} with {listed(values)}, which the catalog does not"
                " declare, so it has that only if it is created from the file"
            )
    return found


def text_for(want: DesiredDomain, before: str, moved: Sequence[Moved]) -> str:
    """Return the text of a domain's file with the declared devices. Raises XlConfigError if it is not understood."""
    from ..model.xl_file import devices_of, updated  # noqa: PLC0415 - as in plan_files

    name = want.guest_name or want.name
    listed = devices_of(before)
    # Where a device was before it moved, there is another device now, or none.
    left = {move.before for move in moved if move.after in want.devices and move.after not in listed}
    if not want.present:
        return updated(before, name, remove={*want.devices, *left})
    return updated(before, name, add=want.devices, remove=left, only=want.exclusive, options=want.options)
