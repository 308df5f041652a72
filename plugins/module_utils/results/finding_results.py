# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings and the attempts to repair them, as modules return them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..faults.finding import Finding, where
from ..repair.outcome import RepairAttempt
from .common import change
from .device_labels import DeviceLabels
from .plan_lines import repair_lines
from .plan_text import plan_diff


def finding_result(finding: Finding) -> dict[str, Any]:
    """Describe one finding."""
    return {
        "fault": finding.fault.code,
        "domain": finding.domain,
        "domid": finding.domid,
        "devices": [str(device) for device in finding.devices],
        "evidence": finding.evidence,
        "meaning": f"{finding.fault.meaning}.",
        "advice": f"{finding.advice}.",
        "recipe": finding.recipe.text if finding.recipe else "",
        "repaired_by": finding.repaired_by.value,
        "costs": [str(device) for device in finding.costs],
    }


def finding_changes(labels: DeviceLabels, findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """List what a repair of these findings changes, for each of their devices."""
    return [
        change(where(finding), device or "", f"repair {finding.fault.code}", labels.name(device) if device else None)
        for finding in findings
        for device in finding.devices or (None,)
    ]


def repair_diff(labels: DeviceLabels, repaired: Iterable[Finding]) -> list[dict[str, Any]]:
    """Make Ansible's diff of the findings that are repaired, or were."""
    return plan_diff(repair_lines(labels, repaired))


def attempt_result(attempt: RepairAttempt) -> dict[str, Any]:
    """Describe what was done about one finding."""
    finding = attempt.finding
    return {
        "fault": finding.fault.code,
        "domain": finding.domain,
        "devices": [str(device) for device in finding.devices],
        "recipe": finding.recipe.text if finding.recipe else "",
        "problem": attempt.problem,
        "repaired": attempt.repaired,
    }
