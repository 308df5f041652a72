# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give domains their declared devices, after what has to be repaired first: planned, expected or carried out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Callable

from ..host.access import HostAccess
from ..host.observe import observe, with_config_files, with_groups, with_link_states, with_uses
from ..model.evidence import ConvergeLevel
from ..model.host import Host
from ..plan.declaration import (
    CompletePlan,
    Declaration,
    ResolvedDeclaration,
    cannot_be_repaired,
    complete_plan,
    domains_document,
    left_to_manager,
    resolve_declaration,
)
from ..plan.expected_host import after_domains
from ..plan.file_plan import FileChange
from ..plan.plan_document import Document
from ..repair.first import NO_REPAIRS, FirstRepairs, expect_repairs, leave_all, repair_first
from ..repair.outcome import RepairInterrupted
from ..results.audit import audit, audit_repair, record
from ..results.common import refusal_result, waiver_result
from ..results.device_labels import DeviceLabels
from ..results.domain_report import DomainReport, already_there, look_again
from ..results.domain_results import (
    config_file_diffs,
    config_file_result,
    domain_result,
    halted_results,
    names_result,
    planned_actions,
    planned_changes,
    planned_domain_result,
)
from ..results.plan_lines import domain_lines, first_repair_lines
from ..values.errors import HostError
from ..values.refusal import Refusal
from ..values.words import itemized
from .stage import Outcome

#: From how many -v on a result has the timelines of domains, which are longer than all else in it.
_VERBOSE = 2


@dataclass(frozen=True)
class DomainOptions:
    """How the devices of domains are changed; `timeout` in seconds, `log` writes to the system's log."""

    level: ConvergeLevel
    timeout: float
    repair_everything: bool
    backup: bool
    log: Callable[[str], None]
    #: Whether the result has every change of state that was seen.
    timeline: bool = False

    @classmethod
    def read(cls, params: Mapping[str, Any], log: Callable[[str], None], verbosity: int) -> DomainOptions:
        """Read them from the parameters of a module; `verbosity` is the number of -v."""
        return cls(
            level=ConvergeLevel(params["converge"]),
            timeout=params["timeout"],
            repair_everything=params["repair"] == "first",
            backup=params["backup"],
            log=log,
            timeline=verbosity >= _VERBOSE,
        )


@dataclass(frozen=True)
class DomainStage:
    """The plan for the declared domains of one host, and what was repaired for it, or would be.

    `before` is the host from before the repairs.
    """

    before: Host
    host: Host
    declared: ResolvedDeclaration
    first: FirstRepairs
    plan: CompletePlan
    options: DomainOptions

    @classmethod
    def planned(cls, access: HostAccess, host: Host, declaration: Declaration, options: DomainOptions) -> DomainStage:
        """Plan for the host as it is expected to be after repairs. Raises NeedsJmespath."""
        host, declared = _resolve(access, _with_files(access, host, declaration), declaration)
        first, before = _expect_repairs(host, declared, options), host
        if first.host is not None and first.repaired:
            host, declared = _resolve(access, first.host, declaration)
        return cls(before, host, declared, first, complete_plan(host, declared, first.left), options)

    @classmethod
    def repaired(cls, access: HostAccess, host: Host, declaration: Declaration, options: DomainOptions) -> DomainStage:
        """Repair what has to be repaired first, then plan. Raises RepairInterrupted."""
        host, declared = _resolve(access, _with_files(access, host, declaration), declaration)
        if cannot_be_repaired(host, declared) or left_to_manager(host, declared):
            first = _expect_repairs(host, declared, options)
        else:
            try:
                first = repair_first(access, host, declared, options.repair_everything, options.timeout)
            except RepairInterrupted as error:
                record(options.log, [str(error)])
                raise
        if first.outcome is not None:
            record(options.log, audit_repair(first.outcome))
        before, unseen = host, ""
        if first.repaired:
            try:
                host = _with_files(access, observe(access), declaration)
                host, declared = _resolve(access, host, declaration)
            except HostError as error:
                unseen = str(error)
        plan = complete_plan(host, declared, first.left)
        if unseen:
            plan = CompletePlan(plan.plan, refusals=(Refusal("host", "host", unseen, "correct that, and run again"),))
        return cls(before, host, declared, first, plan, options)

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """All reasons for which it cannot be carried out."""
        return self.plan.refusals

    @cached_property
    def document(self) -> Document:
        """The plan as data, with a fingerprint."""
        return self.document_with(self.first.repaired)

    def document_with(self, repaired: Sequence[str]) -> Document:
        """Write the plan as data; `repaired` are the repairs that were approved with it."""
        return domains_document(self.host, self.declared, self.plan, repaired)

    @cached_property
    def host_after(self) -> Host:
        """The host with the devices where they are to be."""
        return after_domains(self.host, self.plan.plan)

    def refused(self, refusals: Sequence[Refusal], only_looks: bool) -> dict[str, Any]:
        """Return the result of a task that is refused, which says what was repaired before."""
        first = self.first
        repaired, not_repaired = "; ".join(first.repaired), "; ".join(first.not_repaired)
        lead = "Nothing was changed"
        if repaired and only_looks:
            lead = f"Nothing was changed (a run would first repair this: {repaired})"
        elif repaired or not_repaired:
            before = [f"Repaired first: {repaired}."] if repaired else []
            before += [f"Could not repair: {not_repaired}."] if not_repaired else []
            lead = f"{' '.join(before)} No devices were changed"
        changed = first.changed or (only_looks and bool(first.repaired))
        return {**refusal_result(refusals, lead, self.labels), "repaired": list(first.repaired), "changed": changed}

    def expect(self) -> Outcome:
        """Say what would be done."""
        files = self.plan.files
        running = [
            {**planned_domain_result(step), **config_file_result(step.domain.name, files)}
            for step in self.plan.plan.domains
        ]
        planned = self._outcome(None, files, running)
        return replace(planned, changed=bool(planned.changes or self.first.repaired))

    def carry_out(self, access: HostAccess) -> Outcome:
        """Change the devices of all domains, verify them by a second look, and write their files."""
        began, level = time.monotonic(), self.options.level
        reports = already_there(self.host, self.plan.plan, level)
        if reports is None:
            reports = self._apply(access)
        files = self._write_files(access, reports)
        seconds = round(time.monotonic() - began, 3)
        labels = self.labels
        record(self.options.log, map(labels.named, audit(self.host, reports)))
        running = [
            {**domain_result(labels, report, self.options.timeline), **config_file_result(report.name, files)}
            for report in reports
        ]
        errors = [*(report.error for report in reports if report.error), *(file.error for file in files if file.error)]
        sentences = [labels.named(f"{error}.") for error in errors]
        done = self._outcome(reports, files, running)
        return replace(
            done,
            changed=self.first.changed
            or any(report.changed for report in reports)
            or any(file.changed for file in files),
            values={**done.values, "seconds": seconds},
            warnings=[*self._warnings, *(labels.named(warning) for report in reports for warning in report.warnings)],
            error=f"Not everything is as declared:{itemized(sentences)}" if sentences else "",
        )

    def _outcome(
        self,
        reports: Sequence[DomainReport] | None,
        files: Sequence[FileChange],
        running: Sequence[dict[str, Any]],
    ) -> Outcome:
        """Describe what was done, as `reports` say it, or what is expected."""
        labels, plan = self.labels, self.plan
        changes = planned_changes(labels, plan.plan, plan.files)
        return Outcome(
            actions=planned_actions(changes),
            changes=changes,
            lines=[*first_repair_lines(self.first.findings), *domain_lines(labels, plan.plan, files, reports)],
            files=config_file_diffs(files),
            values={
                "repaired": list(self.first.repaired),
                "waived": [waiver_result(labels, waived) for waived in plan.waived],
                "domains": [*running, *halted_results(files, plan.skipped)],
                **names_result(plan.resolution),
            },
            warnings=self._warnings,
        )

    @cached_property
    def labels(self) -> DeviceLabels:
        """What devices are called."""
        return DeviceLabels.of(self.before, self.plan.resolution, self.declared.catalog)

    @property
    def _warnings(self) -> list[str]:
        names = self.plan.resolution
        return [self.labels.named(f"{warning}.") for warning in (*names.moved, *names.recalled, *self.plan.plan.doubts)]

    def _apply(self, access: HostAccess) -> tuple[DomainReport, ...]:
        """Carry the plan out and verify it by a second look.

        The code for it is loaded here, because most runs find everything in place, and each import costs every run.
        """
        from ..apply.converge import converge  # noqa: PLC0415 - see above

        steps, level = self.plan.plan, self.options.level
        return look_again(access, steps, converge(access, self.host, steps, level, self.options.timeout), level)

    def _write_files(self, access: HostAccess, reports: Sequence[DomainReport]) -> Sequence[FileChange]:
        """Bring the domains' xl.cfg files in step; what does so is loaded only where one is declared."""
        if not self.plan.files:
            return self.plan.files
        from ..apply.config_files import write_files  # noqa: PLC0415 - see above

        failed = [report.name for report in reports if report.error]
        moved = self.plan.resolution.moved
        return write_files(access.config_files, self.plan.files, moved, failed, self.options.backup)


def _with_files(access: HostAccess, host: Host, declaration: Declaration) -> Host:
    return with_config_files(access, host, declaration.config_files, declaration.without_file)


def _resolve(access: HostAccess, host: Host, declaration: Declaration) -> tuple[Host, ResolvedDeclaration]:
    """Look up the names of the declaration, and observe what only their devices need."""
    if declaration.catalog.has_pools:
        host = with_uses(access, host)
    declared = resolve_declaration(host, declaration)
    newcomers = declared.newcomers(host)
    return with_link_states(access, with_groups(access, host, newcomers), newcomers), declared


def _expect_repairs(host: Host, declared: ResolvedDeclaration, options: DomainOptions) -> FirstRepairs:
    """Judge what would be repaired first; nothing if the declaration is refused in any case."""
    if cannot_be_repaired(host, declared):
        return NO_REPAIRS
    if left_to_manager(host, declared):
        return leave_all(host, declared)
    return expect_repairs(host, declared, options.repair_everything)
