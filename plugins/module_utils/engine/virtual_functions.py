# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring physical functions to their declared virtual functions: observe, apply, back again if a step fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ..decisions.virtual_functions import Configure, DesiredFunctions, SetAutoprobe, SetCount, Step
from ..interfaces.sriov import Sriov, SriovError, set_vf, vf_settings
from ..interfaces.sysfs import SysfsError
from ..model.host import Host
from ..model.virtual_functions import PhysicalFunction
from ..values.address import Sbdf
from .outside import Outside


class FunctionsError(Exception):
    """A step failed; `left` says in words what could not be undone, best empty."""

    def __init__(self, message: str, left: Sequence[str]) -> None:
        state = f"not everything could be undone: {'; '.join(left)}" if left else "all is as before this run"
        super().__init__(f"{message}; {state}.")
        self.left = tuple(left)


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
    """Make all steps, or none: what was done is undone in reverse if one fails. Raises FunctionsError."""
    sriov = Sriov(outside.sysfs.root)
    undo: list[Callable[[], object]] = []
    # What is set for new functions ends with them.
    new = {step.pf for step in steps if isinstance(step, SetCount)}
    try:
        for step in steps:
            _apply(outside, sriov, step, undo if not isinstance(step, Configure) or step.pf not in new else [])
    except (SriovError, SysfsError) as error:
        raise FunctionsError(str(error), _take_back(undo)) from error
    except BaseException:
        _take_back(undo)
        raise


def _apply(outside: Outside, sriov: Sriov, step: Step, undo: list[Callable[[], object]]) -> None:
    if isinstance(step, SetAutoprobe):
        undo.append(lambda: sriov.set_drivers_autoprobe(step.pf, not step.offer))
        sriov.set_drivers_autoprobe(step.pf, step.offer)
    elif isinstance(step, SetCount):
        undo.append(lambda: _recount(outside, sriov, step.pf, step.before))
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


def _configure(step: Configure, undo: list[Callable[[], object]]) -> None:
    """What a driver sets by itself for a new function, such as spoof check, need not be set again."""
    before = vf_settings(step.interface).get(step.index)
    if before is None:
        raise SriovError(
            f"{step.interface}, of {step.pf}, tells nothing about its virtual function {step.index}; its driver cannot"
            " set MAC address, VLAN or spoof check"
        )
    missing = step.settings.missing_in(before)
    undo.append(lambda: set_vf(step.interface, step.index, before))
    set_vf(step.interface, step.index, missing)
    left = step.settings.missing_in(vf_settings(step.interface).get(step.index, before))
    if str(left):
        raise SriovError(
            f"{step.interface}, virtual function {step.index}: the driver accepted {left} but has not set it"
        )


def _take_back(undo: list[Callable[[], object]]) -> list[str]:
    left = []
    for action in reversed(undo):
        try:
            action()
        except (SriovError, SysfsError) as error:
            left.append(str(error))
    return left
