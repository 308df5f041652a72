# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring virtual functions to their declared number and settings: planned, expected or carried out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..apply.function_steps import apply_functions
from ..host.access import HostAccess
from ..host.observe import observe, with_functions
from ..model.host import Host
from ..plan.expected_host import after_functions
from ..plan.function_plan import FunctionPlan
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

    @classmethod
    def planned(cls, access: HostAccess, host: Host, wanted: WantedFunctions) -> FunctionStage:
        """Look up the names, read what the plan depends on, and plan."""
        declared = resolve_functions(host, wanted)
        host = with_functions(access, host, declared.physical, declared.with_settings)
        return cls(host, declared, complete_function_plan(host, declared))

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
        """The host with the virtual functions that are to be there."""
        return after_functions(self.host, self.plan.steps)

    def expect(self) -> Outcome:
        """Say what would be done."""
        return self._outcome(None)

    def carry_out(self, access: HostAccess) -> Outcome:
        """Create, remove and set up virtual functions, and verify them by a second look. Raises XenPciError."""
        if not self.plan.steps:
            return self._outcome(self.host)
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
        labels = DeviceLabels(self.host, {desired.pf: name for name, desired in self.declared.by_name.items()})
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
            error=error,
        )
