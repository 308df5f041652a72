# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan how many virtual functions each physical one has, and what is set for them: ordered steps, or refusals.

Linux goes from one number to another only through 0 (sriov_numvfs_store in drivers/pci/iov.c): all virtual functions
are removed, also those that should stay. So nothing is done while any of them is in use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Union

from ..model.device import PciDevice
from ..model.host import Host
from ..model.physical_function import PhysicalFunction, VfSettings
from ..values.address import Sbdf
from ..values.refusal import Refusal
from ..values.words import counted
from .managers import against_devices
from .safety import against_hanging


@dataclass(frozen=True)
class DesiredFunctions:
    """What is declared for one physical function; `drivers_autoprobe` None leaves it as it is."""

    pf: Sbdf
    count: int
    drivers_autoprobe: bool | None = None
    settings: Mapping[int, VfSettings] = field(default_factory=dict)


@dataclass(frozen=True)
class SetAutoprobe:
    """Set whether the host's drivers are offered virtual functions that are created from now on."""

    action: ClassVar[str] = "set-drivers-autoprobe"

    pf: Sbdf
    offer: bool

    def __str__(self) -> str:
        return f"{'offer' if self.offer else 'do not offer'} new virtual functions of {self.pf} to the host's drivers"


@dataclass(frozen=True)
class SetCount:
    """Create or remove virtual functions."""

    action: ClassVar[str] = "set-count"

    pf: Sbdf
    before: int
    count: int

    def __str__(self) -> str:
        removal = f"remove {_functions(self.before)} of {self.pf}" if self.before else ""
        creation = f"create {_functions(self.count)} of {self.pf}" if self.count else ""
        return " and ".join(words for words in (removal, creation) if words)


@dataclass(frozen=True)
class Configure:
    """Have the physical function's driver enforce settings on a virtual one."""

    action: ClassVar[str] = "configure"

    pf: Sbdf
    interface: str
    index: int
    settings: VfSettings

    def __str__(self) -> str:
        return f"set virtual function {self.index} of {self.pf} through {self.interface}: {self.settings}"


Step = Union[SetAutoprobe, SetCount, Configure]


@dataclass(frozen=True)
class FunctionPlan:
    """The steps to take, or the refusals that forbid all of them."""

    steps: tuple[Step, ...] = ()
    refusals: tuple[Refusal, ...] = ()


def plan_functions(host: Host, desired: Sequence[DesiredFunctions]) -> FunctionPlan:
    """Plan the steps for all physical functions; with any refusal, there are none."""
    refusals = [
        Refusal("pf-twice", str(pf), f"{pf} is declared {times} times", "declare it once")
        for pf in {wanted.pf: None for wanted in desired}
        if (times := sum(wanted.pf == pf for wanted in desired)) > 1
    ]
    steps: list[Step] = []
    for wanted in desired:
        # Without SR-IOV there is nothing more to know of it.
        now = host.functions.get(wanted.pf) or PhysicalFunction(host.devices[wanted.pf])
        refusals += [*_refusals(host, now, wanted), *against_hanging(now.device)]
        new = _steps(now, wanted)
        refusals += against_devices(host, [wanted.pf, *now.device.virtfns] if new else ())
        steps += new
    return FunctionPlan(refusals=tuple(refusals)) if refusals else FunctionPlan(tuple(steps))


def _steps(now: PhysicalFunction, desired: DesiredFunctions) -> list[Step]:
    steps: list[Step] = []
    before = len(now.device.virtfns)
    if desired.drivers_autoprobe not in (None, now.drivers_autoprobe):
        steps.append(SetAutoprobe(desired.pf, bool(desired.drivers_autoprobe)))
    if desired.count != before:
        steps.append(SetCount(desired.pf, before, desired.count))
    # New functions have lost what was set for the old ones.
    settings = now.settings if desired.count == before else {}
    for index, wanted in sorted(desired.settings.items()):
        missing = wanted.missing_in(settings.get(index, VfSettings()))
        if now.interface and missing != VfSettings():
            steps.append(Configure(desired.pf, now.interface, index, missing))
    return steps


def _refusals(host: Host, now: PhysicalFunction, desired: DesiredFunctions) -> list[Refusal]:
    device, pf = now.device, desired.pf
    if device.physfn is not None:
        return [_against(pf, "no-pf", f"{pf} is a virtual function of {device.physfn}", f"name {device.physfn}")]
    if not device.sriov_totalvfs:
        return [_against(pf, "no-sriov", f"{pf} has no SR-IOV", "correct the name, or enable SR-IOV in the firmware")]
    found = []
    if desired.count > device.sriov_totalvfs:
        reason = f"{pf} can have 0 to {device.sriov_totalvfs} virtual functions, not {desired.count}"
        found.append(_against(pf, "vf-count", reason))
    if desired.count != len(device.virtfns):
        found += _against_recount(host, device, desired)
    return found + _refused_settings(host, now, desired)


def _against_recount(host: Host, device: PciDevice, desired: DesiredFunctions) -> Iterator[Refusal]:
    pf = desired.pf
    if device.in_pciback:
        reason = f"{pf} is bound to pciback, and only a driver of the host can create virtual functions"
        yield _against(pf, "pf-in-pciback", reason, "release it first")
    elif device.driver is None:
        reason = f"{pf} has no driver bound, and only the driver can create virtual functions"
        yield _against(pf, "no-driver", reason, "load its driver")
    for sbdf in device.virtfns:
        use = _use(host, sbdf)
        if use is not None:
            reason = (
                f"The number of virtual functions of {pf} cannot go from {len(device.virtfns)} to {desired.count}:"
                f" all of them would be removed first, and {sbdf} {use[0]}"
            )
            yield _against(sbdf, "vf-in-use", reason, use[1])


def _refused_settings(host: Host, now: PhysicalFunction, desired: DesiredFunctions) -> list[Refusal]:
    pf, found = desired.pf, []
    if desired.settings and now.interface is None:
        reason = (
            f"{pf} ({now.device.driver or 'no driver'}) has no network interface, so mac, vlan and spoof_check cannot"
            " be set"
        )
        found.append(_against(pf, "no-interface", reason, "remove them"))
    elif desired.settings and now.settings_problem:
        reason = f"{pf}: what is set for its virtual functions is not known ({now.settings_problem})"
        found.append(_against(pf, "settings-unknown", reason, "correct that, or remove mac, vlan and spoof_check"))
    found += wrong_settings(desired)
    for index, wanted in sorted(desired.settings.items()):
        which = f"{pf}, virtual function {index}"
        seen = now.settings.get(index)
        holder = host.holder_of(now.device.virtfns[index]) if index < len(now.device.virtfns) else None
        if holder is not None and seen is not None and wanted.missing_in(seen).mac is not None:
            reason = f"{which}: its MAC address cannot become {wanted.mac} while {holder.numbered} uses it"
            found.append(_against(pf, "vf-in-use", reason, "detach it from there first"))
    return found


def wrong_settings(desired: DesiredFunctions) -> list[Refusal]:
    """Refuse settings that no virtual function can have, whatever the host has."""
    pf, some = desired.pf, _functions(desired.count)
    return [
        _against(pf, "vf-index", f"{pf}, virtual function {index}: {pf} is to have {some} only")
        for index in sorted(desired.settings)
        if index >= desired.count
    ]


def _against(sbdf: Sbdf, code: str, reason: str, advice: str = "") -> Refusal:
    return Refusal(code, str(sbdf), reason, advice)


def _use(host: Host, sbdf: Sbdf) -> tuple[str, str] | None:
    """Say who uses a virtual function, and what to do about it; None if it is not used."""
    holder = host.holder_of(sbdf)
    if holder is not None:
        return f"is with {holder.numbered}", "detach it from there first"
    if sbdf in host.markers:
        return f"is given to domain {host.markers[sbdf]} by libxl's marker", "detach it from there first"
    device = host.devices.get(sbdf)
    return _use_by_host(device) if device is not None else None


def _use_by_host(device: PciDevice) -> tuple[str, str] | None:
    if device.in_pciback:
        return "is bound to pciback", "release it first"
    uses = [use for disk in device.block for use in disk.used_by]
    uses += [f"its interface {interface.name} is up" for interface in device.net if interface.is_up]
    uses += ["its interface is not here but in another network namespace"] if device.interface_elsewhere else []
    return (f"is used by the host ({'; '.join(uses)})", "end that use first") if uses else None


def _functions(count: int) -> str:
    return counted(count, "virtual function")
