# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that a plan would give to a domain although they hang together with what others keep or get."""

from __future__ import annotations

from collections.abc import Mapping

from ..values.address import Sbdf
from .assignment import Situation, Wish
from .plan import Plan
from .safety import Check, Refusal, judge, ties


def splits(situation: Situation, plan: Plan, wishes: Mapping[Sbdf, Wish]) -> list[Refusal]:
    """Refusals for all devices that domains gain; those that the user overrules are left out.

    A device in quarantine that nobody gets is no other owner. Devices that one domain releases count as released.
    """
    owners = {sbdf: domain.domid for domain in situation.host.domains.values() for sbdf in domain.devices}
    for step in plan.domains:
        for sbdf in step.remove:
            owners.pop(sbdf, None)
    for step in plan.domains:
        owners.update(dict.fromkeys(step.after, step.domain.domid))
    found: list[Refusal] = []
    for step in plan.domains:
        own = frozenset(step.after)
        apart = (situation.with_host | frozenset(owners)) - own
        for sbdf in step.add:
            wish = wishes.get(sbdf, Wish())
            refusals = ties(situation.topology, sbdf, apart, situation.groups.get(sbdf, frozenset())).refusals
            if situation.host.devices[sbdf].permissive and not wish.permissive:
                refusals.append(_permissive(sbdf, step.domain.name))
            found += judge(refusals, wish.waive).refusals
    return found


def _permissive(sbdf: Sbdf, domain: str) -> Refusal:
    text = (
        f"{sbdf} (for {domain}) is permissive from an earlier use, and nothing declares why {domain} may write all of"
        " its configuration space; give it to xen.pci.assignable_devices, which clears that, or declare permissive"
        " with a reason"
    )
    return Refusal(sbdf, Check.PERMISSIVE, text, waivable=False)
