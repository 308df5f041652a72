# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say which domain is to have each function when a plan is done, also where only a file says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..model.host import Host
from ..values.address import Sbdf
from .domain_plan import DomainsPlan
from .file_plan import FileChange, devices_in


def owners_after(host: Host, plan: DomainsPlan, files: Iterable[FileChange]) -> tuple[frozenset[Sbdf], dict[Sbdf, str]]:
    """Find which functions the plan gives to domains or takes from them, and which domain is to have each one then.

    A domain that does not run has what its file lists, and one that must be created again what only its file gets.
    """
    owners = _holders_after(host, plan)
    moved: set[Sbdf] = set()
    for step in plan.domains:
        moved.update(step.add, step.remove, step.deferred)
        owners.update({sbdf: step.domain.name for sbdf in step.deferred if sbdf not in owners})
    for file in files:
        if not file.running:
            before, after = devices_in(file.before), devices_in(file.after)
            moved.update({*before} ^ {*after})
            owners.update({sbdf: file.want.name for sbdf in after if sbdf not in owners})
    return frozenset(moved), owners


def held_elsewhere(host: Host, plan: DomainsPlan, files: Iterable[FileChange]) -> Iterator[str]:
    """Yield a sentence for each device that a file gives its domain while another domain has it."""
    holders = _holders_after(host, plan)
    for file in files:
        name = file.want.name
        for sbdf in file.want.devices if file.want.present else ():
            if holders.get(sbdf, name) != name:
                now = holders[sbdf]
                yield f"{sbdf} is in {file.path}, but {now} has it, so {name} cannot be created as long as that is so"


def _holders_after(host: Host, plan: DomainsPlan) -> dict[Sbdf, str]:
    holders = {sbdf: domain.called for domain in host.domains.values() for sbdf in domain.devices}
    for step in plan.domains:
        for sbdf in step.remove:
            holders.pop(sbdf, None)
    for step in plan.domains:
        holders.update(dict.fromkeys(step.after, step.domain.name))
    return holders
