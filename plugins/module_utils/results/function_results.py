# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of virtual_functions: each physical function before and after, changes and the diff."""

from __future__ import annotations

from typing import Any

from ..model.host import Host
from ..plan.function_plan import DesiredFunctions, FunctionPlan, SetAutoprobe, SetCount
from ..values.address import Sbdf
from .common import change
from .device_labels import DeviceLabels


def function_changes(labels: DeviceLabels, plan: FunctionPlan) -> list[dict[str, Any]]:
    """List what a run does, as data; a virtual function is named by its physical function and its index."""
    changes = []
    for step in plan.steps:
        name = labels.name(step.pf)
        if isinstance(step, SetCount):
            changes.append(change(step.pf, step.pf, f"set-count {step.count}", name))
        elif isinstance(step, SetAutoprobe):
            changes.append(change(step.pf, step.pf, "set-drivers-autoprobe", name))
        else:
            changes.append(change(step.pf, f"{step.pf} vf {step.index}", "configure", name))
    return changes


def function_result(name: str, desired: DesiredFunctions, before: Host, after: Host) -> dict[str, Any]:
    """Describe one physical function in the result."""
    return {
        "address": str(desired.pf),
        "pf": name,
        "count_before": len(before.devices[desired.pf].virtfns),
        "count": desired.count,
        "vfs": _functions(after, desired.pf),
    }


def _functions(host: Host, pf: Sbdf) -> list[dict[str, Any]]:
    functions = [(sbdf, host.devices.get(sbdf)) for sbdf in host.devices[pf].virtfns]
    return [
        {"index": index, "address": str(sbdf), "driver": device.driver if device else None}
        for index, (sbdf, device) in enumerate(functions)
    ]
