# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out the plan of a host's domains, all side by side, and say how each domain's change ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..host.access import HostAccess
from ..host.sysfs import SysfsError
from ..model.device_model import DeviceModel
from ..model.evidence import ConvergeLevel
from ..model.host import Host
from ..plan.domain_plan import DomainPlan, DomainsPlan
from ..values.address import Sbdf
from ..values.errors import HostError
from ..values.words import listed
from .device_model_change import DeviceModelChange
from .domain_change import DomainChange, Handover
from .handshake import Handshake
from .loop import Again, Clock, DeadlinePassed, Flow, Work, run
from .report import DomainFailed, Interrupted, Recorder

#: Configuration space raises no event; a driver's first write to it comes within its probe.
_LOOK_AGAIN = 0.05


@dataclass(frozen=True)
class DomainOutcome:
    """How the change of one domain ended.

    `error`: why it failed, a sentence, empty if it did not. `interrupted`: something outside of the domain failed in
    the middle, so that only a look shows what is left.
    """

    step: DomainPlan
    recorder: Recorder
    error: str = ""
    interrupted: bool = False


def converge(
    access: HostAccess, host: Host, plan: DomainsPlan, level: ConvergeLevel, timeout: float
) -> tuple[DomainOutcome, ...]:
    """Carry the plan out, all domains side by side, each within `timeout` seconds."""
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
        return f"{name}: time was over before anything was changed"
    if isinstance(error, HostError):
        return f"{name}: {error}"
    raise error


def _to_level(access: HostAccess, change: DomainChange, level: ConvergeLevel) -> Flow:
    yield from change.flow()
    if level is ConvergeLevel.ACTIVE:
        yield from _await_drivers(access, change.plan)


def _await_drivers(access: HostAccess, step: DomainPlan) -> Flow:
    waiting: Sequence[Sbdf] = step.after
    try:
        while True:
            model = yield Work(lambda: _model(access, step))
            waiting = [device for device in waiting if not _is_active(access, device, model)]
            if not waiting:
                return
            yield Again(_LOOK_AGAIN)
    except DeadlinePassed:
        raise DomainFailed(
            f"{step.domain.name} has {listed(waiting)}, but no driver in the guest has enabled "
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
        except SysfsError:  # it has gone from the host, which the look after the run shows
            return False
    plugged = model.has(device)
    return plugged is not None and plugged.enabled
