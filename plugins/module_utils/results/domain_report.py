# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report the result of a run for each domain: what was done, and what a second look has verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..apply.report import Cycle, DomainOutcome, Moment, Recorder
from ..host.access import HostAccess
from ..host.observe import observe_domains
from ..host.xenstore import XenStoreGone
from ..model.connection import PciConnection
from ..model.evidence import ConvergeLevel, Evidence
from ..model.host import Host
from ..plan.domain_plan import DomainsPlan
from ..values.address import Sbdf
from ..values.states import XenbusState
from ..values.words import listed
from ..verify.domain_verdict import DomainVerdict, verify_domains


@dataclass(frozen=True)
class DomainReport:
    """The result of a run for one domain.

    `unseen`: its devices could not be read after the run, so `after` is what the domain had before. `unlisted`: devices
    were taken from its stored configuration that it did not have.
    """

    name: str
    domid: int
    before: tuple[Sbdf, ...]
    after: tuple[Sbdf, ...]
    backend_state: XenbusState = XenbusState.UNKNOWN
    frontend_state: XenbusState = XenbusState.UNKNOWN
    evidence: Sequence[Evidence] = ()
    timeline: Sequence[Moment] = ()
    cycles: Sequence[Cycle] = ()
    warnings: Sequence[str] = ()
    error: str = ""
    unseen: bool = False
    unlisted: bool = False
    #: Devices that only its file lists, until the domain is created again.
    deferred: tuple[Sbdf, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the domain's devices are not those from before, or may not be, or its stored configuration is not."""
        return self.unseen or self.unlisted or set(self.before) != set(self.after)


def already_there(host: Host, plan: DomainsPlan, level: ConvergeLevel) -> tuple[DomainReport, ...] | None:
    """Report on a plan that changes nothing, if the observed host already is as declared.

    None if something is to be done or waited for.
    """
    if any(step.changes for step in plan.domains):
        return None
    verdicts = verify_domains(plan, host, level)
    if any(verdict.shortfall for verdict in verdicts):
        return None
    return tuple(_report(DomainOutcome(step, Recorder()), verdict) for step, verdict in zip(plan.domains, verdicts))


def look_again(
    access: HostAccess, plan: DomainsPlan, outcomes: Sequence[DomainOutcome], level: ConvergeLevel
) -> tuple[DomainReport, ...]:
    """Verify the planned domains by a second look, and report that together with the outcome of each change."""
    try:
        with access.answering() as seeing:
            with_options = [step.domain.domid for step in plan.domains if not step.options.keys().isdisjoint(step.add)]
            seen = observe_domains(seeing, [step.domain for step in plan.domains], plan.devices_after, with_options)
    except XenStoreGone as error:
        return tuple(_unseen(outcome, error) for outcome in outcomes)
    return tuple(map(_report, outcomes, verify_domains(plan, seen, level)))


def _report(outcome: DomainOutcome, verdict: DomainVerdict) -> DomainReport:
    domain, recorder, connection = outcome.step.domain, outcome.recorder, verdict.connection
    error = "; ".join([outcome.error or verdict.shortfall, *recorder.aside])
    if outcome.interrupted:
        error += f"; {_what_is_there(connection)}; run again to finish or undo what was begun"
    failure = verdict.pci_failure
    shows_states = connection is not None and domain.device_model is None
    return DomainReport(
        name=domain.name,
        domid=domain.domid,
        before=domain.devices,
        after=verdict.devices,
        backend_state=connection.state if connection and shows_states else XenbusState.UNKNOWN,
        frontend_state=connection.frontend_state if connection and shows_states else XenbusState.UNKNOWN,
        evidence=verdict.evidence,
        timeline=recorder.timeline,
        cycles=recorder.cycles,
        warnings=[*recorder.warnings, *([failure] if failure and not error else [])],
        error=f"{error}; {failure}" if error and failure else error,
        unlisted=bool(outcome.step.unlisted) and not error,
        deferred=outcome.step.deferred,
    )


def _what_is_there(connection: PciConnection | None) -> str:
    if connection is None:
        return "it has no PCI connection now"
    ends = f"backend {connection.state}, frontend {connection.frontend_state}"
    return f"its connection lists {listed(connection.devices, 'no device')} now ({ends})"


def _unseen(outcome: DomainOutcome, gone: XenStoreGone) -> DomainReport:
    """Report on a domain whose devices cannot be read any more."""
    domain, recorder = outcome.step.domain, outcome.recorder
    error = f"{'; '.join([outcome.error, *recorder.aside])}; " if outcome.error else ""
    return DomainReport(
        name=domain.name,
        domid=domain.domid,
        before=domain.devices,
        after=domain.devices,
        timeline=recorder.timeline,
        cycles=recorder.cycles,
        warnings=recorder.warnings,
        error=f"{error}which devices {domain.name} has now is not known ({gone}); once xenstored answers, run again to"
        " finish or undo what was begun",
        unseen=outcome.step.changes,
    )
