# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What assignable_devices returns: each device before and after, changes and the diff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..model.boot_facts import BootFacts
from ..model.device import PCIBACK
from ..plan.assignment_state import AssignmentState
from ..plan.boot_plan import BootPlan, Holding
from ..plan.device_steps import Step
from ..values.address import Sbdf
from .common import change, diff_of, file_diff


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


def planned_changes(steps: Sequence[Step], boot: BootPlan) -> list[dict[str, str]]:
    """List what a run does, as data: steps of devices, then files of the next boot and what is rebuilt from them."""
    return [
        *(change("pciback", step.sbdf, step.action) for step in steps),
        *(change("boot", f"/{path}", "write" if text is not None else "delete") for path, text in boot.files.items()),
        *(change("boot", stage.value, "rebuild") for stage in boot.stages),
    ]


def diff(
    before: Mapping[Sbdf, str | None], after: AssignmentState, boot: BootFacts, plan: BootPlan
) -> list[dict[str, Any]]:
    """Make Ansible's diff: the drivers, then the files of the boot configuration."""
    drivers = diff_of(
        {str(sbdf): driver or "no driver" for sbdf, driver in before.items()},
        {str(sbdf): driver or "no driver" for sbdf, driver in after.drivers.items()},
    )
    return [
        drivers,
        *(file_diff(f"/{path}", boot.files.get(path) or "", text or "") for path, text in sorted(plan.files.items())),
    ]
