# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring physical functions to their declared virtual functions, step by step, and back again if a step fails."""

from __future__ import annotations

from collections.abc import Sequence

from ..host.access import HostAccess
from ..host.sriov import Sriov, SriovError
from ..plan.function_plan import Configure, SetAutoprobe, SetCount, Step
from ..values.address import Sbdf
from .undo import Undo, all_or_none


def apply_functions(access: HostAccess, steps: Sequence[Step]) -> None:
    """Make all steps, or none; raises StepFailed."""
    sriov = access.sriov
    # What is set for new functions ends with them.
    new = {step.pf for step in steps if isinstance(step, SetCount)}
    with all_or_none() as undo:
        for step in steps:
            ends_with_it = isinstance(step, Configure) and step.pf in new
            _apply(access, sriov, step, Undo() if ends_with_it else undo)


def _apply(access: HostAccess, sriov: Sriov, step: Step, undo: Undo) -> None:
    if isinstance(step, SetAutoprobe):
        undo.add(lambda: sriov.set_drivers_autoprobe(step.pf, not step.offer))
        sriov.set_drivers_autoprobe(step.pf, step.offer)
    elif isinstance(step, SetCount):
        undo.add(lambda: _recount(access, sriov, step.pf, step.before))
        _recount(access, sriov, step.pf, step.count)
    else:
        _configure(sriov, step, undo)


def _recount(access: HostAccess, sriov: Sriov, pf: Sbdf, count: int) -> None:
    """Change the number of virtual functions through 0, as the kernel wants it, and see that it is as asked."""
    if access.sysfs.device(pf).virtfns:
        sriov.set_count(pf, 0)
    if count:
        sriov.set_count(pf, count)
    seen = len(access.sysfs.device(pf).virtfns)
    if seen != count:
        raise SriovError(f"{pf} has {seen} virtual functions, not {count}, although the kernel accepted that number")


def _configure(sriov: Sriov, step: Configure, undo: Undo) -> None:
    """Set what differs for one virtual function, and see that it is set.

    What a driver sets by itself for a new function, such as spoof check, need not be set again.
    """
    before = sriov.vf_settings(step.interface).get(step.index)
    if before is None:
        raise SriovError(
            f"{step.interface}, of {step.pf}, says nothing of its virtual function {step.index}; its driver cannot"
            " set MAC address, VLAN or spoof check"
        )
    missing = step.settings.missing_in(before)
    undo.add(lambda: sriov.set_vf(step.interface, step.index, before))
    sriov.set_vf(step.interface, step.index, missing)
    left = step.settings.missing_in(sriov.vf_settings(step.interface).get(step.index, before))
    if str(left):
        raise SriovError(
            f"{step.interface}, virtual function {step.index}: the driver accepted {left} but has not set it"
        )
