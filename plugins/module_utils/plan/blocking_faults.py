# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse a plan because of faults with which its result could not be trusted."""

from __future__ import annotations

from collections.abc import Iterable

from ..faults.finding import Finding, title, where
from ..faults.table import Blocks, Removal
from ..values.refusal import Refusal
from .domain_plan import DomainPlan, DomainsPlan

_HOW_TO_REPAIR = "Run xen.pci.repair, or this task with repair: first"


def blocking_faults(findings: Iterable[Finding], plan: DomainsPlan) -> list[Refusal]:
    """Refuse the plan for each fault that blocks it, unless the plan itself ends the fault."""
    return [
        Refusal(
            finding.fault.code,
            where(finding),
            f"{title(finding)}: {finding.fault.meaning}",
            f"{finding.advice}. {_HOW_TO_REPAIR}" if finding.recipe and not finding.costs else finding.advice,
        )
        for finding in findings
        if finding.fault.blocks is Blocks.PLANS and not _ends(finding, plan)
    ]


def _ends(finding: Finding, plan: DomainsPlan) -> bool:
    """Whether the plan's removals end the fault."""
    leaving = {device for step in plan.domains for device in step.remove}
    if finding.fault.removal is Removal.LEAVES_IT or not finding.devices or not leaving.issuperset(finding.devices):
        return False
    return finding.fault.removal is Removal.ENDS_IT or finding.domid not in map(_going_on, plan.domains)


def _going_on(step: DomainPlan) -> int | None:
    """Return the domain that makes a handshake with pciback for a device in its connection, None if none does.

    A PV guest that keeps no device closes the connection. libxl takes each device of a stub domain by a handshake, the
    last one, too.
    """
    if step.domain.stub is not None:
        return step.domain.stub.domid
    return step.domain.domid if step.after and step.domain.device_model is None else None
