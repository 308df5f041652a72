# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many virtual functions physical ones have and what is set for them: ordered steps, or refusals.

Linux goes from one number to another only through 0 (sriov_numvfs_store in drivers/pci/iov.c): all virtual functions
go, also those that should stay. So nothing is done while a single one is out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Union

from ..model.device import PciDevice
from ..model.host import Host
from ..model.physical_function import PhysicalFunction, VfSettings
from ..values.address import Sbdf
from ..values.catalog import MAC

#: 802.1Q has twelve bits; 4095 is reserved.
_LAST_VLAN = 4094


@dataclass(frozen=True)
class DesiredFunctions:
    """What is declared for one physical function; `drivers_autoprobe` None: as it is."""

    pf: Sbdf
    count: int
    drivers_autoprobe: bool | None = None
    settings: Mapping[int, VfSettings] = field(default_factory=dict)


@dataclass(frozen=True)
class SetAutoprobe:
    """Say whether the host's drivers are offered virtual functions that appear from now on."""

    pf: Sbdf
    offer: bool

    def __str__(self) -> str:
        return f"{'offer' if self.offer else 'do not offer'} new virtual functions of {self.pf} to the host's drivers"


@dataclass(frozen=True)
class SetCount:
    """Create or remove virtual functions."""

    pf: Sbdf
    before: int
    count: int

    def __str__(self) -> str:
        removal = f"remove {_functions(self.before)} of {self.pf}" if self.before else ""
        creation = f"create {_functions(self.count)} of {self.pf}" if self.count else ""
        return " and ".join(words for words in (removal, creation) if words)


@dataclass(frozen=True)
class Configure:
    """Have the physical function's driver enforce something on a virtual one."""

    pf: Sbdf
    interface: str
    index: int
    settings: VfSettings

    def __str__(self) -> str:
        return f"set virtual function {self.index} of {self.pf} through {self.interface}: {self.settings}"


Step = Union[SetAutoprobe, SetCount, Configure]


@dataclass(frozen=True)
class Plan:
    """The steps to make, or else the refusals why none may be made."""

    steps: tuple[Step, ...] = ()
    refusals: tuple[str, ...] = ()


def plan_functions(host: Host, desired: Sequence[DesiredFunctions]) -> Plan:
    """All steps for all physical functions; one refusal keeps all of them back."""
    reasons = [
        f"{pf} is declared {times} times; once is enough."
        for pf in {one.pf: None for one in desired}
        if (times := sum(one.pf == pf for one in desired)) > 1
    ]
    steps: list[Step] = []
    for one in desired:
        now = host.functions[one.pf]
        reasons += _refusals(host, now, one)
        steps += _steps(now, one)
    return Plan(refusals=tuple(reasons)) if reasons else Plan(tuple(steps))


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


def _refusals(host: Host, now: PhysicalFunction, desired: DesiredFunctions) -> list[str]:
    device, pf = now.device, desired.pf
    if device.physfn is not None:
        return [f"{pf} is a virtual function itself, of {device.physfn}; name that one."]
    if not device.sriov_totalvfs:
        return [f"{pf} has no SR-IOV; correct the name, or switch SR-IOV on in the firmware."]
    reasons = []
    if not 0 <= desired.count <= device.sriov_totalvfs:
        reasons.append(f"{pf} can have 0 to {device.sriov_totalvfs} virtual functions, not {desired.count}.")
    count_changes = desired.count != len(device.virtfns)
    if count_changes and device.in_pciback:
        reasons.append(
            f"{pf} is with pciback, and only a driver of the host can have virtual functions; release it first."
        )
    elif count_changes and device.driver is None:
        reasons.append(f"{pf} has no driver, which alone can make virtual functions; load it.")
    if count_changes:
        reasons += [
            f"The number of virtual functions of {pf} cannot go from {len(device.virtfns)} to {desired.count}:"
            f" all of them would vanish first, and {sbdf} {use}."
            for sbdf in device.virtfns
            if (use := _use(host, sbdf)) is not None
        ]
    return reasons + _refused_settings(host, now, desired)


def _refused_settings(host: Host, now: PhysicalFunction, desired: DesiredFunctions) -> list[str]:
    pf, reasons = desired.pf, []
    if desired.settings and now.interface is None:
        reasons.append(
            f"{pf} ({now.device.driver or 'no driver'}) has no network interface, through which alone MAC address,"
            " VLAN and spoof check can be set; leave them out."
        )
    for index, wanted in sorted(desired.settings.items()):
        if not 0 <= index < desired.count:
            reasons.append(f"{pf} is to have {_functions(desired.count)}, so there is none with index {index}.")
        if wanted.vlan is not None and not 0 <= wanted.vlan <= _LAST_VLAN:
            reasons.append(
                f"{pf}, virtual function {index}: VLAN {wanted.vlan} is not one of 0 (none) to {_LAST_VLAN}."
            )
        if wanted.mac is not None and not _is_for_one_card(wanted.mac):
            reasons.append(
                f"{pf}, virtual function {index}: {wanted.mac!r} is no MAC address that a card can have; write six"
                " bytes as 02:00:5e:00:00:01, the first of them even."
            )
        seen = now.settings.get(index)
        out = host.holder_of(now.device.virtfns[index]) if 0 <= index < len(now.device.virtfns) else None
        if out is not None and seen is not None and wanted.missing_in(seen).mac is not None:
            reasons.append(
                f"{pf}, virtual function {index}: its MAC address cannot become {wanted.mac} while domain {out.name}"
                " uses it; take it from there first."
            )
    return reasons


def _is_for_one_card(mac: str) -> bool:
    """Drivers refuse an address of many cards (multicast), which the lowest bit of its first byte tells."""
    return MAC.fullmatch(mac) is not None and not int(mac[:2], 16) & 1


def _use(host: Host, sbdf: Sbdf) -> str | None:
    """Who uses a virtual function, in words; None if nobody."""
    holder = host.holder_of(sbdf)
    if holder is not None:
        return f"is with domain {holder.name} ({holder.domid}); take it from there first"
    if sbdf in host.markers:
        return f"is taken by domain {host.markers[sbdf]} in libxl's eyes; take it from there first"
    device = host.devices.get(sbdf)
    return _use_by_host(device) if device is not None else None


def _use_by_host(device: PciDevice) -> str | None:
    if device.in_pciback:
        return "is with pciback; release it first"
    uses = [use for disk in device.block for use in disk.used_by]
    uses += [f"its interface {one.name} is up" for one in device.net if one.is_up]
    return f"is used by the host ({'; '.join(uses)}); end that first" if uses else None


def _functions(count: int) -> str:
    return f"{count} virtual function{'' if count == 1 else 's'}"
