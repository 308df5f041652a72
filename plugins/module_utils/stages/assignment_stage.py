# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have pciback hold the declared devices, now and after a reboot: planned, expected or carried out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..host.access import HostAccess
from ..host.observe import observe, with_boot, with_groups, with_uses
from ..model.host import Host
from ..plan.assignment import AssignmentPlan, WantedDevices, assignment_document, complete_plan
from ..plan.assignment_state import AssignmentState
from ..plan.catalog_lookup import resolve_names
from ..plan.expected_host import after_assignment
from ..plan.names import Resolution
from ..plan.plan_document import Document
from ..results.assignable_results import boot_file_diffs, device_results, planned_changes
from ..results.common import waiver_result
from ..results.device_labels import DeviceLabels
from ..results.plan_lines import assignment_lines
from ..values.errors import HostError
from ..values.refusal import Refusal
from ..verify.assignable_verdict import verify_assignable
from .stage import Outcome


@dataclass(frozen=True)
class AssignmentStage:
    """The plan for the devices that pciback is to hold on one host, or is to give back."""

    host: Host
    wanted: WantedDevices
    names: Resolution
    plan: AssignmentPlan

    @classmethod
    def planned(cls, access: HostAccess, host: Host, wanted: WantedDevices) -> AssignmentStage:
        """Find the devices that the names mean, read what the plan depends on, and plan. Raises NeedsJmespath."""
        if wanted.catalog.has_pools:
            host = with_uses(access, host)
        names = resolve_names(wanted.catalog.entries, host, wanted.known_names, wanted.leaving)
        devices = names.expand(wanted.names)
        taken = [sbdf for sbdf in devices if sbdf in host.with_host]
        if taken and not wanted.catalog.has_pools:
            host = with_uses(access, host)
        host = with_boot(access, with_groups(access, host, taken), devices)
        return cls(host, wanted, names, complete_plan(host, wanted, names))

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """All reasons for which it cannot be carried out."""
        return self.plan.refusals

    @cached_property
    def document(self) -> Document:
        """The plan as data, with a fingerprint."""
        return assignment_document(self.host, self.wanted, self.plan, self.names)

    @cached_property
    def host_after(self) -> Host:
        """The host with the devices where they are to be, so that what follows can be judged in any case."""
        if self.refusals:
            return self.host.assuming_bound(self.plan.names if self.wanted.present else ())
        return after_assignment(self.host, self.plan.devices)

    @cached_property
    def labels(self) -> DeviceLabels:
        """What devices are called."""
        return DeviceLabels(self.host, self.plan.names, self.wanted.catalog.entries)

    def expect(self) -> Outcome:
        """Say what would be done."""
        return self._outcome(None, self._changes)

    def carry_out(self, access: HostAccess) -> Outcome:
        """Move the devices, set up the next boot, and verify both by a second look. Raises XenPciError.

        Once the devices have moved, a failure is in the outcome.
        """
        changed = bool(self.plan.devices.steps)
        if changed:
            from ..apply.assignable_steps import apply  # noqa: PLC0415 - most runs find everything in place

            apply(access, self.host, self.plan.devices.steps)
        try:
            if self.plan.boot.changes:
                access.boot.apply(self.plan.boot.files, self.plan.boot.stages)
                changed = True
            seen = with_boot(access, observe(access)) if self._changes else self.host
        except HostError as error:
            return self._failure(f"The devices were moved, but keeping them over a reboot failed: {error}.", changed)
        forgotten = access.memory.remember(seen)
        shortfalls = verify_assignable(self.plan.devices, seen, self.plan.expected)
        if shortfalls:
            return self._failure(
                f"The devices are not as planned: {'; '.join(shortfalls)}. Run xen.pci.repair, then run this task"
                " again.",
                changed,
                forgotten,
            )
        after = AssignmentState.seen(seen, self.plan.expected.drivers)
        idle = self.plan.devices.is_idle(self.host, after.drivers) and not self.plan.boot.changes
        return self._outcome(after, self._changes and not idle, forgotten)

    def _failure(self, error: str, changed: bool, *warnings: str) -> Outcome:
        error = self.labels.named(error)
        return Outcome(changed=changed, warnings=[*self._warnings, *filter(None, warnings)], error=error)

    @property
    def _changes(self) -> bool:
        return bool(self.plan.devices.steps) or self.plan.boot.changes

    @property
    def _warnings(self) -> list[str]:
        moves = (f"{message}." for message in (*self.names.moved, *self.names.recalled))
        return [*map(self.labels.named, (*moves, *self.plan.devices.warnings, *self.plan.boot.warnings))]

    def _outcome(self, seen: AssignmentState | None, changed: bool, forgotten: str = "") -> Outcome:
        """Describe what was `seen` after a run, or what is expected."""
        plan, names, labels = self.plan, self.names, self.labels
        drivers = {sbdf: device.driver for sbdf, device in self.host.devices.items()}
        before = {sbdf: drivers.get(sbdf) for sbdf in plan.expected.drivers}
        return Outcome(
            changed=changed,
            actions=[*map(str, plan.devices.steps), *plan.boot.actions],
            changes=planned_changes(labels, plan),
            lines=[*assignment_lines(labels, plan, seen)],
            files=boot_file_diffs(labels, plan),
            values={
                "moved": [str(move) for move in names.moved],
                "missing": list(names.missing),
                "waived": [waiver_result(labels, waived) for waived in plan.devices.waived],
                "devices": device_results(before, seen or plan.expected, plan.names),
            },
            warnings=[*self._warnings, *filter(None, [forgotten])],
        )
