# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring physical functions to their declared virtual functions: observe, apply, back again if a step fails."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..decisions.virtual_functions import Configure, DesiredFunctions, SetAutoprobe, SetCount, Step
from ..interfaces.sriov import Sriov, SriovError, set_vf, vf_settings
from ..interfaces.sysfs import SysfsError
from ..model.host import Host
from ..model.virtual_functions import PhysicalFunction
from ..values.address import Sbdf
from .outside import Outside
from .undo import Undo, all_or_none

_FAILURES = (SriovError, SysfsError)


def observe_functions(
    outside: Outside, host: Host, desired: Collection[DesiredFunctions]
) -> dict[Sbdf, PhysicalFunction]:
    """The physical functions that are declared, as they are now. Settings are read only where some are declared."""
    sriov = Sriov(outside.sysfs.root)
    found = {}
    for one in desired:
        function = PhysicalFunction(host.devices[one.pf], sriov.drivers_autoprobe(one.pf))
        if one.settings and function.interface is not None:
            function = PhysicalFunction(function.device, function.drivers_autoprobe, vf_settings(function.interface))
        found[one.pf] = function
    return found


def apply_functions(outside: Outside, steps: Sequence[Step]) -> None:
    """Make all steps, or none; raises StepFailed."""
    sriov = Sriov(outside.sysfs.root)
    # What is set for new functions ends with them.
    new = {step.pf for step in steps if isinstance(step, SetCount)}
    with all_or_none(_FAILURES) as undo:
        for step in steps:
            ends_with_it = isinstance(step, Configure) and step.pf in new
            _apply(outside, sriov, step, Undo(_FAILURES) if ends_with_it else undo)


def _apply(outside: Outside, sriov: Sriov, step: Step, undo: Undo) -> None:
    if isinstance(step, SetAutoprobe):
        undo.add(lambda: sriov.set_drivers_autoprobe(step.pf, not step.offer))
        sriov.set_drivers_autoprobe(step.pf, step.offer)
    elif isinstance(step, SetCount):
        undo.add(lambda: _recount(outside, sriov, step.pf, step.before))
        _recount(outside, sriov, step.pf, step.count)
    else:
        _configure(step, undo)


def _recount(outside: Outside, sriov: Sriov, pf: Sbdf, count: int) -> None:
    """From any number to any other, as the kernel wants it: through 0; and the number is looked at afterwards."""
    if outside.sysfs.device(pf).virtfns:
        sriov.set_count(pf, 0)
    if count:
        sriov.set_count(pf, count)
    seen = len(outside.sysfs.device(pf).virtfns)
    if seen != count:
        raise SriovError(f"{pf} has {seen} virtual functions, not {count}, although the kernel accepted that number")


def _configure(step: Configure, undo: Undo) -> None:
    """What a driver sets by itself for a new function, such as spoof check, need not be set again."""
    before = vf_settings(step.interface).get(step.index)
    if before is None:
        raise SriovError(
            f"{step.interface}, of {step.pf}, tells nothing about its virtual function {step.index}; its driver cannot"
            " set MAC address, VLAN or spoof check"
        )
    missing = step.settings.missing_in(before)
    undo.add(lambda: set_vf(step.interface, step.index, before))
    set_vf(step.interface, step.index, missing)
    left = step.settings.missing_in(vf_settings(step.interface).get(step.index, before))
    if str(left):
        raise SriovError(
            f"{step.interface}, virtual function {step.index}: the driver accepted {left} but has not set it"
        )
