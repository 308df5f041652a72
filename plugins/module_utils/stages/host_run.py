# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a whole host to its declaration: one plan of all stages, made before anything is touched.

Each stage is planned on the host as it is expected to be after those before it. Once a stage has changed something,
the host is observed again, and what follows is planned once more. That leads to the same, unless something else has
changed the host meanwhile.
The order is what each stage needs: pciback, what has to be released before virtual functions, these, what
pciback takes, the devices of domains, and what only domains had that have given it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from ..host.access import HostAccess
from ..host.observe import observe
from ..model.host import Host
from ..plan.assignment import WantedDevices
from ..plan.declaration import Declaration
from ..plan.host_declaration import HostDeclaration
from ..plan.plan_document import Document, plan_document
from ..repair.first import NO_REPAIRS
from ..results.common import failure, refusal_result
from ..results.device_labels import DeviceLabels
from ..results.host_results import merged_values
from ..values.errors import XenPciError
from ..values.refusal import Refusal
from .assignment_stage import AssignmentStage
from .domain_stage import DomainOptions, DomainStage
from .pciback_stage import PcibackStage
from .stage import Outcome, Stage


class Part(Enum):
    """The stages in their order, each with what it does, in words."""

    PCIBACK = "pciback was loaded"
    RELEASE = "devices were released for a change of virtual functions"
    FUNCTIONS = "virtual functions are as declared"
    ASSIGNMENT = "pciback holds what is declared"
    DOMAINS = "domains have what is declared"
    REST = "devices that nothing declares were released"


@dataclass(frozen=True)
class Planned:
    """A stage of a run, and which one it is."""

    part: Part
    stage: Stage


@dataclass(frozen=True)
class HostPlan:
    """The stages that are left to do, in their order. With any refusal, nothing may be done."""

    stages: tuple[Planned, ...]
    #: Refusals of the declaration itself.
    wrong: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """All reasons of all stages, each once."""
        of_stages = (refusal for planned in self.stages for refusal in planned.stage.refusals)
        return tuple(dict.fromkeys([*self.wrong, *of_stages]))

    @property
    def document(self) -> Document:
        """All stages as one document, with one fingerprint."""
        documents = [(planned.part.name.lower(), planned.stage.document) for planned in self.stages]
        return plan_document(
            "host",
            steps=[{"part": part, "steps": document["steps"]} for part, document in documents],
            basis=[{"part": part, "basis": document["basis"]} for part, document in documents],
            changes=any(document["changes"] for _part, document in documents),
            refusals=self.refusals,
        )

    @property
    def labels(self) -> DeviceLabels | None:
        """What devices are called; None if no part is planned."""
        return DeviceLabels.merged([planned.stage.labels for planned in self.stages]) if self.stages else None

    def expect(self) -> Outcome:
        """Say what a run would do."""
        return together([planned.stage.expect() for planned in self.stages], self.warnings)


class HostRun:
    """One run for one declaration."""

    def __init__(self, access: HostAccess, declaration: HostDeclaration, options: DomainOptions) -> None:
        self._access = access
        self._declaration = declaration
        self._options = options

    def plan(self, host: Host, late: bool = False) -> HostPlan:
        """Plan all stages; `late` if devices are released last in any case. Raises NeedsJmespath."""
        declaration = self._declaration.with_undeclared(host)
        devices = declaration.devices
        stages = self._before_devices(host, declaration)
        if devices is not None:
            first = self._assignment(_last(stages, host), devices)
            waits = declaration.domains is not None and declaration.releases and _waits_for_domains(first)
            late = late or waits
            stages.append(
                Planned(Part.ASSIGNMENT, self._assignment(first.host, _takes_only(devices)) if late else first)
            )
        if declaration.domains is not None:
            stages.append(Planned(Part.DOMAINS, self._domains(_last(stages, host), declaration.domains)))
        if late and devices is not None:
            stages.append(Planned(Part.REST, self._assignment(_last(stages, host), devices)))
        return HostPlan(tuple(stages), declaration.refusals, tuple(self._declaration.warnings(host)))

    def carry_out(self, plan: HostPlan) -> Outcome:
        """Carry out one stage after the other, up to the first one that fails."""
        done: list[tuple[Part, Outcome]] = []
        stages = plan.stages
        while stages and not (done and done[-1][1].error):
            planned, stages = stages[0], stages[1:]
            outcome = self._tried(planned)
            done.append((planned.part, outcome))
            if stages and not outcome.error and (outcome.changed or planned.stage.document["changes"]):
                again = self._again([one.part for one in stages])
                if isinstance(again, Outcome):
                    done.append((stages[0].part, again))
                else:
                    stages = again
        return _done(done, plan.warnings)

    def _tried(self, planned: Planned) -> Outcome:
        try:
            return self._carry_out(planned)
        except XenPciError as error:
            told = failure(error)
            return Outcome(changed=told["changed"], error=told["msg"])

    def _carry_out(self, planned: Planned) -> Outcome:
        stage, declared = planned.stage, self._declaration
        if not isinstance(stage, DomainStage) or stage.first is NO_REPAIRS:
            return stage.carry_out(self._access)
        domains = declared.with_undeclared(stage.before).domains or Declaration(())
        repaired = DomainStage.repaired(self._access, stage.before, domains, self._options)
        if repaired.refusals:
            refused = repaired.refused(repaired.refusals, only_looks=False)
            return Outcome(changed=refused["changed"], error=refused["msg"], values=_as_values(refused))
        return repaired.carry_out(self._access)

    def _again(self, parts: Sequence[Part]) -> tuple[Planned, ...] | Outcome:
        """Plan what is left on the host as it is now; what is refused then ends the run."""
        try:
            plan = self.plan(observe(self._access), late=Part.REST in parts)
        except XenPciError as error:
            return Outcome(error=f"What follows could not be planned on the host as it is now: {error}.")
        left = tuple(planned for planned in plan.stages if planned.part in parts)
        refusals = tuple(dict.fromkeys(refusal for planned in left for refusal in planned.stage.refusals))
        if not refusals:
            return left
        lead = "What follows could not be done on the host as it is now"
        result = refusal_result(refusals, lead, plan.labels)
        return Outcome(error=result["msg"], values=_as_values(result))

    def _before_devices(self, host: Host, declaration: HostDeclaration) -> list[Planned]:
        """Plan what must be there before pciback can take anything."""
        stages: list[Planned] = []
        if declaration.devices is not None and declaration.devices.names and PcibackStage.needed(self._access, host):
            stages.append(Planned(Part.PCIBACK, PcibackStage(host)))
        if declaration.functions is None:
            return stages
        from ..plan.functions import in_the_way  # noqa: PLC0415 - only for hosts that declare virtual functions
        from .function_stage import FunctionStage  # noqa: PLC0415 - the same

        released = in_the_way(host, declaration.functions)
        if released:
            names, catalog = tuple(map(str, released)), declaration.functions.catalog
            wanted = WantedDevices(names, catalog, present=False, leaves_boot=True)
            stages.append(Planned(Part.RELEASE, self._assignment(_last(stages, host), wanted)))
        functions = FunctionStage.planned(self._access, _last(stages, host), declaration.functions)
        return [*stages, Planned(Part.FUNCTIONS, functions)]

    def _assignment(self, host: Host, wanted: WantedDevices) -> AssignmentStage:
        return AssignmentStage.planned(self._access, host, wanted)

    def _domains(self, host: Host, declaration: Declaration) -> DomainStage:
        return DomainStage.planned(self._access, host, declaration, self._options)


def _last(stages: Sequence[Planned], host: Host) -> Host:
    """Return the host as it is expected to be after these stages."""
    return stages[-1].stage.host_after if stages else host


def _waits_for_domains(stage: AssignmentStage) -> bool:
    """Whether a device that nothing declares is still with a domain that may give it up."""
    others = stage.host.in_pciback - stage.plan.names.keys() - stage.wanted.left_alone
    return any(stage.host.holder_of(sbdf) is not None for sbdf in others)


def _takes_only(devices: WantedDevices) -> WantedDevices:
    """Want the same devices, without what can only be done when domains have given up theirs."""
    return replace(devices, exclusive=False, persistent=None, leaves_boot=True)


def _as_values(refused: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a refusal what is added to the result of what was done before."""
    return {key: refused[key] for key in ("refusals", "repaired") if key in refused}


def _done(done: Sequence[tuple[Part, Outcome]], warnings: Sequence[str]) -> Outcome:
    """Put the outcomes together; a failure says what was done before it."""
    whole = together([outcome for _part, outcome in done], warnings)
    before = [part.value for part, outcome in done if outcome.changed and not outcome.error]
    if not whole.error or not before:
        return whole
    return replace(whole, error=f"{whole.error} Before that: {'; '.join(before)}.")


def together(outcomes: Sequence[Outcome], warnings: Sequence[str] = ()) -> Outcome:
    """Make one outcome of several, in their order."""
    return Outcome(
        changed=any(outcome.changed for outcome in outcomes),
        actions=[action for outcome in outcomes for action in outcome.actions],
        changes=[change for outcome in outcomes for change in outcome.changes],
        lines=[line for outcome in outcomes for line in outcome.lines],
        files=[file for outcome in outcomes for file in outcome.files],
        values=merged_values(outcome.values for outcome in outcomes),
        warnings=list(dict.fromkeys([*warnings, *(text for outcome in outcomes for text in outcome.warnings)])),
        error=next((outcome.error for outcome in outcomes if outcome.error), ""),
    )
