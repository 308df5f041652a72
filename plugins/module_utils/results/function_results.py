# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of virtual_functions: each physical function before and after, changes and the diff."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..model.host import Host
from ..plan.function_plan import Configure, DesiredFunctions, FunctionPlan, SetAutoprobe, SetCount
from ..values.address import Sbdf
from .common import change, diff_of


def function_changes(plan: FunctionPlan) -> list[dict[str, str]]:
    """List what a run does, as data; a virtual function is named by its physical function and its index."""
    changes = []
    for step in plan.steps:
        if isinstance(step, SetCount):
            changes.append(change(step.pf, step.pf, f"set-count {step.count}"))
        elif isinstance(step, SetAutoprobe):
            changes.append(change(step.pf, step.pf, "set-drivers-autoprobe"))
        else:
            changes.append(change(step.pf, f"{step.pf} vf {step.index}", "configure"))
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


def function_diff(plan: FunctionPlan, before: Host, desired: Sequence[DesiredFunctions]) -> list[dict[str, Any]]:
    """Make Ansible's diff: the number of virtual functions always, the rest where it changes."""
    functions = before.functions
    old: dict[str, Any] = {str(wanted.pf): {"count": len(functions[wanted.pf].device.virtfns)} for wanted in desired}
    new: dict[str, Any] = {str(wanted.pf): {"count": wanted.count} for wanted in desired}
    for step in plan.steps:
        if isinstance(step, SetAutoprobe):
            old[str(step.pf)]["drivers_autoprobe"] = not step.offer
            new[str(step.pf)]["drivers_autoprobe"] = step.offer
        elif isinstance(step, Configure):
            seen = functions[step.pf].settings.get(step.index)
            old[str(step.pf)][f"vf {step.index}"] = str(seen) if seen else "new"
            new[str(step.pf)][f"vf {step.index}"] = str(step.settings)
    return [diff_of(old, new)]
