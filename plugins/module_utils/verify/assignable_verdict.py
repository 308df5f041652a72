# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare where a second look finds devices, now and after a reboot, with what was expected of the plan."""

from __future__ import annotations

from collections.abc import Iterator

from ..model.device import PCIBACK
from ..model.host import Host
from ..plan.assignable_plan import AssignablePlan
from ..plan.assignment_state import AssignmentState
from ..values.address import Sbdf


def verify_assignable(plan: AssignablePlan, seen: Host, expected: AssignmentState) -> list[str]:
    """Compare where devices are, now and after a reboot, with what was expected.

    Returns a sentence for each difference.
    """
    now = AssignmentState.seen(seen, expected.drivers)
    return [
        difference
        for sbdf in expected.drivers
        for difference in _differences(sbdf, now, expected, by_kernel=sbdf in plan.driver_of_choice)
    ]


def _differences(sbdf: Sbdf, now: AssignmentState, expected: AssignmentState, by_kernel: bool) -> Iterator[str]:
    """Yield a sentence for each difference of one device; with `by_kernel`, any driver of the host is right."""
    driver, wanted = now.drivers[sbdf], expected.drivers[sbdf]
    if driver != wanted and not (by_kernel and driver != PCIBACK):
        yield f"{sbdf} has {_driver(driver)}, not {_driver(wanted)}"
    elif driver == PCIBACK and sbdf in expected.quarantined and sbdf not in now.quarantined:
        yield f"{sbdf} is not known to be in Xen's quarantine"
    elif (sbdf in now.permissive) != (sbdf in expected.permissive):
        yield f"{sbdf} is {'' if sbdf in now.permissive else 'not '}permissive"
    elif now.recorded_driver(sbdf) != expected.recorded_driver(sbdf):
        recorded, wanted = now.recorded_driver(sbdf), expected.recorded_driver(sbdf)
        yield f"the record of the driver from before says {_driver(recorded)} for {sbdf}, not {_driver(wanted)}"
    if (sbdf in now.after_reboot) != (sbdf in expected.after_reboot):
        will = "will" if sbdf in now.after_reboot else "will not"
        yield f"pciback {will} hold {sbdf} after a reboot"


def _driver(name: str | None) -> str:
    return f"driver {name}" if name else "no driver"
