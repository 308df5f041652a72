# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a declaration of domains to what is to be done: observe, mend what stands in the way as far as asked, plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..apply.config_files import FileChange, plan_files
from ..apply.converge import Refused, prepare
from ..faults.finding import Finding, in_words
from ..host.access import HostAccess
from ..host.observe import observe, with_groups
from ..model.host import Host
from ..plan.blocking_faults import blocking_faults
from ..plan.catalog_lookup import device_policies
from ..plan.declaration import desired_domains
from ..plan.domain_plan import DesiredDomain, Plan
from ..plan.isolation import splits
from ..plan.names import Resolution
from ..repair.run import Repaired
from ..values.address import Sbdf
from ..values.catalog import CatalogEntry
from ..values.identity import IdentityError
from .run import Scope, expected_repair, finish_unfinished, repair


@dataclass(frozen=True)
class Declaration:
    """What a task declares: the options of each domain, validated, and the problems found with them.

    `mend_all`: everything in the way that has a recipe, not only what a run of ours has left. `only_look`: nothing is
    mended or changed, and devices `assumed_bound` are taken for pciback's. `timeout` in seconds, for mending.
    """

    domains: Mapping[str, Mapping[str, Any]]
    problems: Sequence[str]
    exclusive: bool
    catalog: Mapping[str, CatalogEntry]
    assumed_bound: Sequence[Sbdf]
    repair_all: bool
    only_look: bool
    timeout: float

    def desired(self, host: Host) -> tuple[list[DesiredDomain], Resolution, dict[Sbdf, str]]:
        """What is wanted on this host, see desired_domains."""
        return desired_domains(self.domains, self.problems, self.exclusive, self.catalog, host)


@dataclass
class FirstAid:
    """What was mended before anything else, or would be if it were not only a look; and what did not help, though it
    may have `changed` the host.
    """

    repaired: list[str] = field(default_factory=list)
    not_repaired: list[str] = field(default_factory=list)
    changed: bool = False
    outcome: Repaired | None = None


@dataclass(frozen=True)
class Decision:
    """What is to be done, and on which host."""

    host: Host
    plan: Plan
    files: list[FileChange]
    resolution: Resolution


def decide(access: HostAccess, declaration: Declaration, aid: FirstAid) -> Decision:
    """Raises Refused, IdentityError and RepairInterrupted, and the errors of the outside systems; whatever it is, `aid`
    tells what was mended before.
    """
    host = observe(access)
    if declaration.only_look:
        host = host.assuming_bound(declaration.assumed_bound)
    desired, resolution, names = declaration.desired(host)
    faults, after = _first_aid(access, declaration, host, desired, aid)
    if aid.repaired:
        host = after if declaration.only_look else observe(access)
        desired, resolution, names = declaration.desired(host)
    if not desired and resolution.missing:
        return Decision(host, Plan((), ()), [], resolution)
    plan = prepare(host, desired)
    hindered = blocking_faults(faults, plan)
    if hindered:
        raise Refused(hindered)
    asked = with_groups(access, host, [one for step in plan.domains for one in step.add])
    refused = splits(asked, plan, device_policies(declaration.catalog, names))
    if refused:
        raise IdentityError([str(refusal) for refusal in refused])
    return Decision(host, plan, plan_files(desired, resolution.moved), resolution)


def _first_aid(
    access: HostAccess,
    declaration: Declaration,
    host: Host,
    desired: Sequence[DesiredDomain],
    aid: FirstAid,
) -> tuple[Sequence[Finding], Host]:
    """Mend what stands in the way, as far as asked: what is left, and the host as it is then, or would be."""
    if not desired:
        return [], host
    everything, timeout = declaration.repair_all, declaration.timeout
    scope = Scope(
        domains=frozenset(want.name for want in desired),
        devices=frozenset(device for want in desired for device in want.devices),
    )
    if declaration.only_look:
        foreseen = expected_repair(host, scope, everything)
        aid.repaired = [in_words(finding) for finding in foreseen.repaired]
        return foreseen.left, foreseen.host
    outcome = repair(access, scope, timeout) if everything else finish_unfinished(access, host, scope, timeout)
    aid.outcome = outcome
    aid.repaired = [in_words(one.finding) for one in outcome.attempts if one.repaired]
    aid.not_repaired, aid.changed = outcome.not_repaired, outcome.changed
    return outcome.left, outcome.after
