# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What assignable_devices returns: each device before and after, changes and the diff."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model.device import PCIBACK
from ..plan.assignment import AssignmentPlan
from ..plan.assignment_state import AssignmentState
from ..plan.boot_plan import Holding
from ..values.address import Sbdf
from .common import change, file_diff
from .device_labels import DeviceLabels


def device_results(
    before: Mapping[Sbdf, str | None], after: AssignmentState, names: Mapping[Sbdf, str]
) -> list[dict[str, Any]]:
    """Describe each device before and after the run; `before` are the drivers from before."""
    return [
        {
            "address": str(sbdf),
            "name": names.get(sbdf),
            "driver_before": before[sbdf],
            "driver_after": driver,
            "quarantined": driver == PCIBACK and sbdf in after.quarantined,
            "held": Holding.of(driver == PCIBACK, sbdf in after.after_reboot, sbdf in after.unknown).value,
            "held_unknown": after.unknown.get(sbdf, ""),
            "recorded_driver": after.recorded_driver(sbdf),
        }
        for sbdf, driver in after.drivers.items()
    ]


def planned_changes(labels: DeviceLabels, plan: AssignmentPlan) -> list[dict[str, Any]]:
    """List what a run does, as data: steps of devices, then files of the next boot and what is rebuilt from them."""
    files = plan.boot.files.items()
    return [
        *(change("pciback", step.sbdf, step.action, labels.name(step.sbdf)) for step in plan.devices.steps),
        *(change("boot", f"/{path}", "write" if text is not None else "delete") for path, text in files),
        *(change("boot", stage.value, "rebuild") for stage in plan.boot.stages),
    ]


def boot_file_diffs(labels: DeviceLabels, plan: AssignmentPlan) -> list[dict[str, Any]]:
    """Make the parts of Ansible's diff for the files of the next boot."""
    before = labels.host.boot_facts.files
    return [file_diff(f"/{path}", before.get(path) or "", text or "") for path, text in sorted(plan.boot.files.items())]
