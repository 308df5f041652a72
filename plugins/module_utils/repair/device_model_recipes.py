# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes for HVM guests: take a device out by the steps of a removal, which finish whatever was half done."""

from __future__ import annotations

from ..apply.device_model_change import DeviceModelChange
from ..apply.domain_change import Handover
from ..apply.report import Recorder
from ..faults.recipes import RecipeKind
from ..plan.domain_plan import DomainPlan
from .job import RepairJob


def is_for_device_model(job: RepairJob) -> bool:
    """Whether the recipe takes a device out of the device model of the finding's domain."""
    with_model = (RecipeKind.DEVICE_MODEL, RecipeKind.GUEST)
    return job.recipe.kind in with_model and job.domain.device_model is not None


def removal_by_device_model(job: RepairJob) -> DeviceModelChange:
    """Make the removal that repairs the finding."""
    plan = DomainPlan(job.domain, remove=job.devices)
    return DeviceModelChange(
        job.access, plan, job.host.devices, Handover(quarantined=job.host.quarantined), job.clock, Recorder()
    )
