# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring domains to their declared devices: observe, plan, check, apply, verify by observation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ..host.access import HostAccess
from ..host.sysfs import SysfsError
from ..host.xenstore import XenStoreGone
from ..host.xenstore_nodes import domain_exists, read_connection
from ..model.connection import Entry, PciConnection
from ..model.device import PCIBACK, XenOwner
from ..model.device_model import DeviceModel
from ..model.evidence import Evidence
from ..model.host import Host
from ..plan.domain_plan import DesiredDomain, DomainPlan, Plan, make_plan
from ..values.address import Sbdf
from ..values.errors import HostError
from .device_model_change import DeviceModelChange
from .domain_change import DomainChange, Handover
from .handshake import Handshake
from .loop import Again, Clock, DeadlinePassed, Flow, Outcome, Work, run
from .report import DomainFailed, DomainReport, Interrupted, Recorder

#: Configuration space raises no event; a driver's first write to it comes within its probe.
_LOOK_AGAIN = 0.05


class ConvergeLevel(Enum):
    """How far a device must have come before a run calls it done."""

    CONNECTED = "connected"
    ACTIVE = "active"


class Refused(Exception):
    """Nothing was touched; `conflicts` says why, one sentence each."""

    def __init__(self, conflicts: Sequence[str]) -> None:
        super().__init__("; ".join(conflicts))
        self.conflicts = tuple(conflicts)


@dataclass(frozen=True)
class Converged:
    """Outcome of a run: what was planned, and how each domain came out."""

    plan: Plan
    reports: tuple[DomainReport, ...]

    @property
    def errors(self) -> tuple[str, ...]:
        """One sentence for each domain that failed."""
        return tuple(report.error for report in self.reports if report.error)

    @property
    def changed(self) -> bool:
        """Whether any domain's devices are not those from before, or may not be."""
        return any(set(report.before) != set(report.after) or report.unseen for report in self.reports)


def prepare(host: Host, desired: Sequence[DesiredDomain]) -> Plan:
    """Plan; raises Refused. Changes nothing."""
    plan = make_plan(host, desired)
    if plan.conflicts:
        raise Refused(plan.conflicts)
    return plan


def converge(access: HostAccess, host: Host, plan: Plan, level: ConvergeLevel, timeout: float) -> Converged:
    """Carry the plan out, all domains side by side, each within `timeout` seconds; then look again."""
    handover = Handover(givers={device: step.domain.name for step in plan.domains for device in step.remove})
    recorders: dict[str, Recorder] = {}
    flows: dict[str, tuple[Flow, Clock]] = {}
    for step in plan.domains:
        clock, recorder = Clock(time.monotonic() + timeout), Recorder()
        way = Handshake if step.domain.device_model is None else DeviceModelChange
        change = way(access, step, host.devices, handover, clock, recorder)
        flows[change.token] = (_to_level(access, change, level), clock)
        recorders[change.token] = recorder
    outcomes = run(access.store, flows)
    ends = [(step, recorders[token], outcomes[token]) for step, token in zip(plan.domains, recorders)]
    try:
        with access.answering() as seeing:
            reports = [_report(seeing, *end, level) for end in ends]
    except XenStoreGone as error:
        reports = [_unseen(*end, error) for end in ends]
    return Converged(plan, tuple(reports))


def _to_level(access: HostAccess, change: DomainChange, level: ConvergeLevel) -> Flow:
    yield from change.flow()
    if level is ConvergeLevel.ACTIVE:
        yield from _await_drivers(access, change.plan)


def _await_drivers(access: HostAccess, step: DomainPlan) -> Flow:
    waiting = list(step.after)
    try:
        while True:
            model = yield Work(lambda: _model(access, step))
            waiting = [one for one in waiting if not _is_active(access, one, model)]
            if not waiting:
                return
            yield Again(_LOOK_AGAIN)
    except DeadlinePassed:
        raise DomainFailed(
            f"{step.domain.name} has {_list(waiting)}, but no driver in the guest has enabled "
            f"{'it' if len(waiting) == 1 else 'them'} in time; load one there, or ask for converge: connected"
        ) from None


def _model(access: HostAccess, step: DomainPlan) -> DeviceModel | None:
    """What the guest's device model says now, for a guest that has one."""
    domain = step.domain
    return None if domain.device_model is None else access.toolstack.device_model(domain)


def _is_active(access: HostAccess, device: Sbdf, model: DeviceModel | None) -> bool:
    """Whether a driver in the guest has enabled the device; QEMU keeps the host's registers to itself."""
    if model is None:
        try:
            return access.sysfs.config_flags(device).driver_is_active
        except SysfsError:  # it has gone from the host, which is no reason to tell nothing of all the others
            return False
    plugged = model.has(device)
    return plugged is not None and plugged.enabled


def _report(
    access: HostAccess, step: DomainPlan, recorder: Recorder, outcome: Outcome, level: ConvergeLevel
) -> DomainReport:
    domid, name, model = step.domain.domid, step.domain.name, _model(access, step)
    backend = read_connection(access.store, domid if step.domain.stub is None else step.domain.stub.domid)
    after = backend.devices if backend is not None else ()
    entries = backend.entries if backend is not None else ()
    evidence = [_evidence(access, entry.device, entry, model) for entry in entries if entry.device is not None]
    exists = domain_exists(access.store, domid)
    error = "" if outcome.error is None else _sentence(name, outcome.error)
    error = "; ".join([error or _shortfall(step, exists, backend, evidence, level), *recorder.aside])
    if isinstance(outcome.error, Interrupted):
        error += f"; {_what_is_there(backend)}; run again, which finishes or takes back what was begun"
    failure = _pci_failure(name, backend.aer_state) if backend is not None else ""
    return DomainReport(
        name=name,
        domid=domid,
        before=step.domain.devices,
        after=after,
        evidence=evidence,
        timeline=recorder.timeline,
        cycles=recorder.cycles,
        warnings=[*recorder.warnings, *([failure] if failure and not error else [])],
        error=f"{error}; {failure}" if error and failure else error,
        unseen=False,
        **({"backend_state": backend.state, "frontend_state": backend.frontend_state} if backend and not model else {}),
    )


def _unseen(step: DomainPlan, recorder: Recorder, outcome: Outcome, gone: XenStoreGone) -> DomainReport:
    """Of a domain whose devices nobody can see any more."""
    domain = step.domain
    error = "" if outcome.error is None else f"{'; '.join([_sentence(domain.name, outcome.error), *recorder.aside])}; "
    return DomainReport(
        name=domain.name,
        domid=domain.domid,
        before=domain.devices,
        after=domain.devices,
        timeline=recorder.timeline,
        cycles=recorder.cycles,
        warnings=recorder.warnings,
        error=f"{error}which devices {domain.name} has now cannot be seen ({gone}); once xenstored answers, run again, "
        "which finishes or takes back what was begun",
        unseen=step.changes,
    )


def _pci_failure(name: str, aer_state: str) -> str:
    """pciback says so once and never takes it back, and not of which device: its log does."""
    if not aer_state:
        return ""
    return (
        f"pciback reports a PCI error (AER) that {name} could not handle (aerState={aer_state[:32]}), so a device of "
        "it may be dead: see dom0's kernel log for which, then detach that one or restart the guest"
    )


def _evidence(access: HostAccess, device: Sbdf, entry: Entry, model: DeviceModel | None) -> Evidence:
    plugged = model.has(device) if model is not None else None
    return Evidence(
        device=device,
        guest_address=entry.guest_address if model is None else plugged.address if plugged is not None else None,
        sub_state=entry.state,
        owned_by_guest=access.hypervisor.owner(device) is not XenOwner.HOST,
        active=_is_active(access, device, model),
        by_device_model=model is not None,
        in_pciback=access.sysfs.driver_of(device) == PCIBACK,
    )


def _what_is_there(backend: PciConnection | None) -> str:
    if backend is None:
        return "it has no PCI connection now"
    ends = f"backend {backend.state}, frontend {backend.frontend_state}"
    return f"its connection lists {_list(backend.devices)} now ({ends})"


def _shortfall(
    step: DomainPlan,
    domain_exists: bool,
    backend: PciConnection | None,
    evidence: Sequence[Evidence],
    level: ConvergeLevel,
) -> str:
    """A sentence if what is there is not what was planned; success is observed, not assumed."""
    name, after = step.domain.name, backend.devices if backend is not None else ()
    if step.after and not domain_exists:
        return f"{name}: the guest is gone, and Xen has {_list(step.after)} back; run again if it comes back"
    if step.domain.device_model is None and backend is not None and not backend.connected:
        return (
            f"{name}: its connection with {_list(after)} did not stay at rest (backend {backend.state}, frontend "
            f"{backend.frontend_state}): the guest closes it, as one does that shuts down, or another toolstack "
            "changes it; see which, and run again"
        )
    if set(after) != set(step.after):
        return f"{name}: after the run it has {_list(after)}, not {_list(step.after)}; another toolstack interfered"
    return _not_given(name, evidence, level)


def _not_given(name: str, evidence: Sequence[Evidence], level: ConvergeLevel) -> str:
    """A sentence if the domain does not really have a device that its connection lists."""
    lost = [one.device for one in evidence if not one.in_pciback]
    if lost:
        return (
            f"{name}: {_list(lost)} stands in its connection, but pciback does not have it any more: it has left the "
            "host or was unbound there; run xen.pci.repair, and then again"
        )
    weak = [one.device for one in evidence if not one.connected]
    if weak:
        giver = "its device model" if evidence[0].by_device_model else "pciback"
        return (
            f"{name}: {_list(weak)} stands in its connection, but {giver} or Xen have not really given it, or have it "
            "back from a guest that ends; run xen.pci.repair, and then again"
        )
    inactive = [one.device for one in evidence if level is ConvergeLevel.ACTIVE and not one.active]
    if inactive:
        return f"{name}: the guest's driver has let go of {_list(inactive)} again"
    return ""


def _sentence(name: str, error: Exception) -> str:
    if isinstance(error, DomainFailed):
        return str(error)
    if isinstance(error, DeadlinePassed):
        return f"{name}: time was over before anything was changed"
    if isinstance(error, HostError):
        return f"{name}: {error}"
    raise error


def _list(devices: Sequence[Sbdf]) -> str:
    return ", ".join(map(str, devices)) or "no device"
