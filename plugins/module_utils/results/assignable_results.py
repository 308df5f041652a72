# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible is told of assignable devices: where each stands, expected before a run, seen after it, and the diff."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..model.boot_facts import BootFacts
from ..model.device import PCIBACK
from ..model.host import Host
from ..plan.assignable_plan import FinishRelease, Plan, Release, Take
from ..plan.boot_plan import BootPlan, Holding
from ..plan.safety import Waived
from ..values.address import Sbdf


@dataclass(frozen=True)
class AssignmentState:
    """With which driver devices are, which one a release would give them to, and what holds after a reboot."""

    drivers: Mapping[Sbdf, str | None]
    recorded: Mapping[Sbdf, str]
    quarantined: Collection[Sbdf]
    after_reboot: Collection[Sbdf]

    @classmethod
    def expected(
        cls, host: Host, plan: Plan, devices: Collection[Sbdf], after_reboot: Collection[Sbdf]
    ) -> AssignmentState:
        """As the plan will leave it."""
        released = {step.sbdf for step in plan.steps if isinstance(step, (Release, FinishRelease))}
        recorded = {sbdf: path for sbdf, path in host.driver_paths.items() if sbdf not in released}
        recorded.update({step.sbdf: step.driver for step in plan.steps if isinstance(step, Take) and step.driver})
        quarantined = host.quarantined | {step.sbdf for step in plan.steps if step.sbdf not in released}
        drivers = {sbdf: _expected_driver(host, plan, sbdf) for sbdf in devices}
        return cls(drivers, recorded, quarantined, after_reboot)

    @classmethod
    def seen(cls, host: Host, devices: Collection[Sbdf], after_reboot: Collection[Sbdf]) -> AssignmentState:
        """As it is observed."""
        drivers = {sbdf: host.devices[sbdf].driver for sbdf in devices}
        return cls(drivers, host.driver_paths, host.quarantined, after_reboot)


def _expected_driver(host: Host, plan: Plan, sbdf: Sbdf) -> str | None:
    now = host.devices[sbdf].driver
    for step in plan.steps:
        if step.sbdf == sbdf:
            if isinstance(step, FinishRelease):
                return step.driver or now
            return step.driver if isinstance(step, Release) else PCIBACK
    return now


def told(before: Mapping[Sbdf, str | None], after: AssignmentState, names: Mapping[Sbdf, str]) -> list[dict[str, Any]]:
    """Each device in the result; `before` are the drivers from before the run."""
    return [
        {
            "address": str(sbdf),
            "name": names.get(sbdf),
            "driver_before": before[sbdf],
            "driver_after": driver,
            "quarantined": driver == PCIBACK and sbdf in after.quarantined,
            "held": Holding.of(driver == PCIBACK, sbdf in after.after_reboot).value,
            "recorded_driver": after.recorded[sbdf].rpartition("/")[2] if after.recorded.get(sbdf) else None,
        }
        for sbdf, driver in after.drivers.items()
    ]


def overruled(waived: Waived) -> dict[str, str]:
    """A refusal that the user has waived."""
    refusal = waived.refusal
    return {
        "address": str(refusal.sbdf),
        "check": refusal.check.value,
        "reason": f"{refusal.reason}.",
        "waiver": waived.why,
    }


def diff(before: Mapping[Sbdf, str | None], after: AssignmentState, boot: BootFacts, plan: BootPlan) -> Any:
    """Ansible's diff: the drivers, and behind them, where there are any, the files of the boot configuration."""
    drivers = {
        "before": {str(sbdf): driver or "no driver" for sbdf, driver in before.items()},
        "after": {str(sbdf): driver or "no driver" for sbdf, driver in after.drivers.items()},
    }
    files = [
        {
            "before_header": f"/{path}",
            "after_header": f"/{path}",
            "before": boot.files.get(path) or "",
            "after": text or "",
        }
        for path, text in sorted(plan.files.items())
    ]
    return [drivers, *files] if files else drivers
