# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where devices are, as planned or as seen: their driver, whether they are in quarantine, and where after a reboot."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ..model.boot_facts import Kept
from ..model.device import PCIBACK
from ..model.host import Host
from ..plan.device_steps import FinishRelease, Forget, MakePermissive, Rebind, Release, Take
from ..values.address import Sbdf
from .assignable_plan import AssignablePlan


@dataclass(frozen=True)
class AssignmentState:
    """The driver of each device, the one that a release would give it to, and what pciback holds after a reboot."""

    drivers: Mapping[Sbdf, str | None]
    recorded: Mapping[Sbdf, str]
    quarantined: frozenset[Sbdf]
    after_reboot: frozenset[Sbdf]
    #: Devices whose guest may write all of their configuration space.
    permissive: frozenset[Sbdf] = frozenset()
    #: Devices of which it is not known whether pciback holds them after a reboot, and why.
    unknown: Mapping[Sbdf, str] = field(default_factory=dict)

    def recorded_driver(self, sbdf: Sbdf) -> str | None:
        """Name of the driver that a release would give the device to, None if none is recorded."""
        return self.recorded[sbdf].rpartition("/")[2] if self.recorded.get(sbdf) else None

    @classmethod
    def expected(
        cls,
        host: Host,
        plan: AssignablePlan,
        devices: Collection[Sbdf],
        after_reboot: frozenset[Sbdf],
        unknown: Mapping[Sbdf, str] | None = None,
    ) -> AssignmentState:
        """Derive the state that the plan leads to."""
        released = {step.sbdf for step in plan.steps if isinstance(step, (Release, FinishRelease, Forget))}
        recorded = {sbdf: path for sbdf, path in host.driver_paths.items() if sbdf not in released}
        recorded.update({step.sbdf: step.driver for step in plan.steps if isinstance(step, Take) and step.driver})
        quarantined = (host.quarantined | {step.sbdf for step in plan.steps}) - released
        drivers = {sbdf: _expected_driver(host, plan, sbdf) for sbdf in devices}
        here = [sbdf for sbdf in devices if sbdf in host.devices]
        permissive = {sbdf for sbdf in here if host.devices[sbdf].permissive and sbdf not in released}
        permissive -= {step.sbdf for step in plan.steps if isinstance(step, Rebind)}
        permissive |= {step.sbdf for step in plan.steps if isinstance(step, MakePermissive)}
        return cls(drivers, recorded, quarantined, after_reboot, frozenset(permissive), unknown or {})

    @classmethod
    def seen(cls, host: Host, devices: Collection[Sbdf]) -> AssignmentState:
        """Read the state from an observed host; a device that has left the host has no driver."""
        drivers = {sbdf: host.devices[sbdf].driver if sbdf in host.devices else None for sbdf in devices}
        permissive = frozenset(sbdf for sbdf in devices if sbdf in host.devices and host.devices[sbdf].permissive)
        boot = host.boot_facts
        unknown = {sbdf: why for sbdf in devices if boot.kept(sbdf) is Kept.UNKNOWN and (why := boot.why_unknown(sbdf))}
        return cls(drivers, host.driver_paths, host.quarantined, boot.held(devices), permissive, unknown)


def _expected_driver(host: Host, plan: AssignablePlan, sbdf: Sbdf) -> str | None:
    if sbdf not in host.devices:
        return None
    now = host.devices[sbdf].driver
    for step in plan.steps:
        if step.sbdf == sbdf:
            if isinstance(step, FinishRelease):
                return now if step.bound else step.driver
            return step.driver if isinstance(step, Release) else PCIBACK
    return now
