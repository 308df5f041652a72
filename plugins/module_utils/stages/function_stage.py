# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring virtual functions to their declared number and settings: planned, expected or carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..host.access import HostAccess
from ..host.observe import observe, with_functions
from ..model.device import PciDevice
from ..model.host import Host
from ..plan.expected_host import after_functions
from ..plan.function_plan import FunctionPlan, SetCount
from ..plan.functions import (
    DeclaredFunctions,
    WantedFunctions,
    complete_function_plan,
    functions_document,
    resolve_functions,
)
from ..plan.plan_document import Document
from ..results.device_labels import DeviceLabels
from ..results.function_results import function_changes, function_result
from ..results.plan_lines import function_lines
from ..values.refusal import Refusal
from ..verify.function_verdict import verify_functions
from .stage import Outcome


@dataclass(frozen=True)
class FunctionStage:
    """The plan for all declared physical functions of one host."""

    host: Host
    declared: DeclaredFunctions
    plan: FunctionPlan
    #: The driver that takes new functions with a modalias, where the kernel offers them to drivers.
    drivers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def planned(cls, access: HostAccess, host: Host, wanted: WantedFunctions) -> FunctionStage:
        """Look up the names, read what the plan depends on, and plan."""
        declared = resolve_functions(host, wanted)
        host = with_functions(access, host, declared.physical, declared.with_settings)
        stage = cls(host, declared, complete_function_plan(host, declared))
        new = [one for one in stage.host_after.devices.values() if one.sbdf not in host.devices]
        return replace(stage, drivers=_drivers_of(access, new)) if new else stage

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """All reasons for which it cannot be carried out."""
        return self.plan.refusals

    @cached_property
    def document(self) -> Document:
        """The plan as data, with a fingerprint."""
        return functions_document(self.host, self.declared, self.plan)

    @cached_property
    def host_after(self) -> Host:
        """The host with the virtual functions that are to be there, so that what follows can be judged in any case."""
        return after_functions(self.host, self.plan.steps or self._counts, self.drivers)

    @property
    def _counts(self) -> list[SetCount]:
        """The virtual functions that are declared where there are none, although the plan is refused."""
        functions = self.host.functions
        wanted = ((functions[desired.pf].device, desired.count) for desired in self.declared.desired)
        return [
            SetCount(device.sbdf, 0, min(count, device.sriov_totalvfs))
            for device, count in wanted
            if self.plan.refusals and not device.virtfns
        ]

    @cached_property
    def labels(self) -> DeviceLabels:
        """What devices are called."""
        return DeviceLabels(self.host, {desired.pf: name for name, desired in self.declared.by_name.items()})

    def expect(self) -> Outcome:
        """Say what would be done."""
        return self._outcome(None)

    def carry_out(self, access: HostAccess) -> Outcome:
        """Create, remove and set up virtual functions, and verify them by a second look. Raises XenPciError."""
        if not self.plan.steps:
            return self._outcome(self.host)
        from ..apply.function_steps import apply_functions  # noqa: PLC0415 - most runs find everything in place

        apply_functions(access, self.plan.steps)
        seen = with_functions(access, observe(access), self.declared.physical, self.declared.with_settings)
        shortfalls = verify_functions(self.declared.desired, seen)
        if shortfalls:
            return self._outcome(
                seen,
                f"The virtual functions are not as declared: {'; '.join(shortfalls)}. See dom0's kernel log for what"
                " the driver said, then run this task again.",
            )
        return self._outcome(seen)

    def _outcome(self, seen: Host | None, error: str = "") -> Outcome:
        """Describe what was `seen` after a run, or what is expected."""
        labels = self.labels
        after = seen or self.host_after
        return Outcome(
            changed=bool(self.plan.steps),
            actions=[str(step) for step in self.plan.steps],
            changes=function_changes(labels, self.plan),
            lines=[*function_lines(labels, self.plan, seen)],
            values={
                "physical_functions": [
                    function_result(name, desired, self.host, after) for name, desired in self.declared.by_name.items()
                ]
            },
            error=labels.named(error),
        )


def _drivers_of(access: HostAccess, devices: Sequence[PciDevice]) -> dict[str, str]:
    """Find the driver that the kernel would give each of these devices to, by its modalias, if it is only one."""
    found = {}
    for sbdf, modules in access.modules.drivers_of((device.sbdf, device.modalias) for device in devices).items():
        wanted = [module.name for module in modules if not module.unwanted]
        if len(wanted) == 1:
            drivers = access.sysfs.drivers_of_module(wanted[0])
            found[sbdf] = drivers[0] if len(drivers) == 1 else wanted[0]
    return {device.modalias: found[device.sbdf] for device in devices if device.sbdf in found}
