# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a declaration of domains to what is to be done: observe, mend what stands in the way as far as asked, plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from ..decisions.assignment import Situation
from ..decisions.diagnose import Finding, in_words
from ..decisions.obstacles import obstacles
from ..decisions.plan import DesiredDomain, Plan
from ..decisions.resolve import Resolution
from ..decisions.splits import splits
from ..interfaces.notes import Note
from ..model.host import Host
from ..values.address import Sbdf
from ..values.catalogue import Entry
from ..values.identity import IdentityError
from .assignment import ask_groups, observe_situation
from .audit import audit_repair, record
from .converge import Refused, prepare
from .declaration import desired_domains
from .domain_files import FileChange, plan_files
from .naming import wishes
from .outside import Outside
from .repair import Scope, finish_unfinished, foresee, repair


@dataclass(frozen=True)
class Declaration:
    """What a task declares: the options of each domain, validated, and the problems found with them.

    `mend_all`: everything in the way that has a recipe, not only what a run of ours has left. `only_look`: nothing is
    mended or changed, and devices `assumed_bound` are taken for pciback's. `timeout` in seconds, for mending.
    """

    domains: Mapping[str, Mapping[str, Any]]
    problems: Sequence[str]
    exclusive: bool
    catalogue: Mapping[str, Entry]
    assumed_bound: Sequence[Sbdf]
    mend_all: bool
    only_look: bool
    timeout: float

    def desired(
        self, situation: Situation, notes: Mapping[Sbdf, Note]
    ) -> tuple[list[DesiredDomain], Resolution, dict[Sbdf, str]]:
        """What is wanted on this host, see desired_domains."""
        return desired_domains(self.domains, self.problems, self.exclusive, self.catalogue, situation, notes)


@dataclass
class FirstAid:
    """What was mended before anything else, or would be if it were not only a look; and what did not help, though it
    may have `changed` the host.
    """

    mended: list[str] = field(default_factory=list)
    in_vain: list[str] = field(default_factory=list)
    changed: bool = False


@dataclass(frozen=True)
class Decision:
    """What is to be done, and on which host."""

    host: Host
    plan: Plan
    files: list[FileChange]
    resolution: Resolution


def decide(outside: Outside, declaration: Declaration, aid: FirstAid, log: Callable[[str], None]) -> Decision:
    """Raises Refused, IdentityError and RepairInterrupted, and the errors of the outside systems; whatever it is, `aid`
    tells what was mended before.
    """
    situation, notes = observe_situation(outside)
    if declaration.only_look:
        situation = replace(situation, host=situation.host.assuming_bound(declaration.assumed_bound))
    desired, resolution, names = declaration.desired(situation, notes)
    faults, host = _first_aid(outside, declaration, situation.host, desired, aid, log)
    if aid.mended:
        if declaration.only_look:
            situation = replace(situation, host=host)
        else:
            situation, notes = observe_situation(outside)
        desired, resolution, names = declaration.desired(situation, notes)
    if not desired and resolution.missing:
        return Decision(situation.host, Plan((), ()), [], resolution)
    plan = prepare(situation.host, desired)
    hindered = obstacles(faults, plan)
    if hindered:
        raise Refused(hindered)
    asked = ask_groups(outside, situation, [one for step in plan.domains for one in step.add])
    refused = splits(asked, plan, wishes(declaration.catalogue, names))
    if refused:
        raise IdentityError([str(refusal) for refusal in refused])
    return Decision(situation.host, plan, plan_files(desired, resolution.moved), resolution)


def _first_aid(
    outside: Outside,
    declaration: Declaration,
    host: Host,
    desired: Sequence[DesiredDomain],
    aid: FirstAid,
    log: Callable[[str], None],
) -> tuple[Sequence[Finding], Host]:
    """Mend what stands in the way, as far as asked: what is left, and the host as it is then, or would be."""
    if not desired:
        return [], host
    everything, timeout = declaration.mend_all, declaration.timeout
    scope = Scope(
        domains=frozenset(want.name for want in desired),
        devices=frozenset(device for want in desired for device in want.devices),
    )
    if declaration.only_look:
        foreseen = foresee(outside, host, scope, everything)
        aid.mended = [in_words(finding) for finding in foreseen.mended]
        return foreseen.left, foreseen.host
    outcome = repair(outside, scope, timeout) if everything else finish_unfinished(outside, host, scope, timeout)
    record(log, audit_repair(outcome))
    aid.mended = [in_words(one.finding) for one in outcome.treatments if one.mended]
    aid.in_vain, aid.changed = outcome.in_vain, outcome.changed
    return outcome.left, outcome.after
