# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipe for an HVM guest: take a device out in the way of a removal, which finishes whatever was half-done."""

from __future__ import annotations

from ..decisions.diagnose import Finding, Signs
from ..decisions.faults import Recipe
from ..decisions.plan import DomainPlan
from .change import Ledger
from .loop import Clock
from .outside import Outside
from .plugging import Plugging
from .report import Record

_RECIPES = (Recipe.UNPLUG, Recipe.DROP_RECORD, Recipe.DETACH)


def unplugging_for(outside: Outside, signs: Signs, finding: Finding, clock: Clock) -> Plugging | None:
    """The removal that mends the finding; None if that is no matter of a device model."""
    domain = signs.host.domains.get(finding.whose)
    if finding.recipe not in _RECIPES or domain is None or domain.device_model is None:
        return None
    plan = DomainPlan(domain, remove=finding.devices)
    return Plugging(outside, plan, signs.host.devices, Ledger(), clock, Record())
