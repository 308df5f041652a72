# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out the plan of a host's domains, all side by side, and say how each domain's change ended."""

from __future__ import annotations

import time

from ..host.access import HostAccess
from ..model.evidence import ConvergeLevel
from ..model.host import Host
from ..plan.domain_plan import DomainPlan, DomainsPlan
from ..values.errors import HostError
from .device_model_change import DeviceModelChange
from .domain_change import Handover
from .handshake import Handshake
from .loop import Clock, DeadlinePassed, Flow, run
from .report import DomainFailed, DomainOutcome, Interrupted, Recorder


def converge(
    access: HostAccess, host: Host, plan: DomainsPlan, level: ConvergeLevel, timeout: float
) -> tuple[DomainOutcome, ...]:
    """Carry the plan out, all domains side by side, each within `timeout` seconds."""
    givers = {device: step.domain.name for step in plan.domains for device in step.remove}
    handover = Handover(givers=givers, quarantined=host.quarantined)
    recorders: dict[str, Recorder] = {}
    flows: dict[str, tuple[Flow, Clock]] = {}
    for step in plan.domains:
        clock, recorder = Clock(time.monotonic() + timeout), Recorder()
        way = Handshake if step.domain.device_model is None else DeviceModelChange
        change = way(access, step, host.devices, handover, clock, recorder)
        change.left = host.left_devices(step.domain)
        flows[change.token] = (change.flow_to(level), clock)
        recorders[change.token] = recorder
    outcomes = run(access.store, flows)
    return tuple(
        _outcome(step, recorders[token], outcomes[token].error) for step, token in zip(plan.domains, recorders)
    )


def _outcome(step: DomainPlan, recorder: Recorder, error: Exception | None) -> DomainOutcome:
    if error is None:
        return DomainOutcome(step, recorder)
    return DomainOutcome(step, recorder, _sentence(step.domain.name, error), isinstance(error, Interrupted))


def _sentence(name: str, error: Exception) -> str:
    if isinstance(error, DomainFailed):
        return str(error)
    if isinstance(error, DeadlinePassed):
        return f"{name}: the timeout passed before anything was changed; run again, with a longer timeout"
    if isinstance(error, HostError):
        return f"{name}: {error}"
    raise error
