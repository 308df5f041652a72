# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipe for an HVM guest: take a device out in the way of a removal, which finishes whatever was half-done."""

from __future__ import annotations

from ..apply.device_model_change import DeviceModelChange
from ..apply.domain_change import Handover
from ..apply.loop import Clock
from ..apply.report import Recorder
from ..faults.diagnose import Finding
from ..faults.table import Recipe
from ..host.access import HostAccess
from ..model.host import Host
from ..plan.domain_plan import DomainPlan

_RECIPES = (Recipe.UNPLUG, Recipe.DROP_RECORD, Recipe.DETACH)


def unplugging_for(access: HostAccess, host: Host, finding: Finding, clock: Clock) -> DeviceModelChange | None:
    """The removal that mends the finding; None if that is no matter of a device model."""
    domain = host.domains.get(finding.whose)
    if finding.recipe not in _RECIPES or domain is None or domain.device_model is None:
        return None
    plan = DomainPlan(domain, remove=finding.devices)
    return DeviceModelChange(access, plan, host.devices, Handover(), clock, Recorder())
