# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that a plan would give to a domain although they hang together with what others keep or get."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ..model.device import Acs, PciDevice
from ..model.host import Host
from ..model.topology import Topology
from ..plan.names import listed
from ..values.address import Sbdf
from ..values.catalog import DevicePolicy
from .domain_plan import Plan
from .safety import Check, Refusal, judge

#: So many of those that share a line are named; on a large host there may be hundreds.
_EXAMPLES = 3


@dataclass(frozen=True)
class Ties:
    """What a device hangs together with: refusals, and warnings where it can do without what is shared."""

    refusals: list[Refusal] = field(default_factory=list)
    warnings: list[Refusal] = field(default_factory=list)


def ties(
    topology: Topology,
    sbdf: Sbdf,
    apart: Collection[Sbdf],
    group: Collection[Sbdf] = (),
    require_reset: bool = False,
) -> Ties:
    """What the device shares with those of the others that get another owner (`apart`), and whether it can be reset.

    `group` are the functions that Xen can only give away together with it. An interrupt line is shared by wire but
    stays silent as long as drivers use message interrupts, so there the device's own ability decides.
    """
    device, found = topology.devices[sbdf], Ties()
    if not device.answers:
        text = (
            f"{sbdf} does not answer: its configuration space reads as all ones, as after a reset that hung or without"
            " power; switch the host off and on, or replace the device"
        )
        found.refusals.append(Refusal(sbdf, Check.DEAD, text, waivable=False))
    for page, users in sorted(topology.sharing_page(sbdf).items()):
        others = [one for one in users if one in apart]
        if others:
            text = (
                f"{sbdf} has registers in the same page of memory (0x{page:x}) as {listed(others)}, which would get"
                " another owner, and Xen gives whole pages only; move them together"
            )
            found.refusals.append(Refusal(sbdf, Check.SHARED_PAGE, text))
    on_line = (one for one in topology.on_line(sbdf) if one in apart and one != sbdf)
    _interrupt_tie(device, list(islice(on_line, _EXAMPLES + 1)), found)
    others = [one for one in group if one in apart and one != sbdf]
    if others:
        text = (
            f"{sbdf} cannot be told apart from {listed(others)} by the IOMMU, as Xen says, and they would get another"
            " owner; move them together"
        )
        found.refusals.append(Refusal(sbdf, Check.GROUP, text))
    _way_past_iommu(topology, sbdf, apart, found)
    _reserved_memory_tie(device, found)
    if not device.reset_methods:
        _reset_tie(topology, device, require_reset, found)
    return found


def splits(host: Host, plan: Plan, device_policies: Mapping[Sbdf, DevicePolicy]) -> list[Refusal]:
    """Refusals for all devices that domains gain; those that the user overrules are left out.

    A device in quarantine that nobody gets is no other owner. Devices that one domain releases count as released.
    """
    owners = {sbdf: domain.domid for domain in host.domains.values() for sbdf in domain.devices}
    for step in plan.domains:
        for sbdf in step.remove:
            owners.pop(sbdf, None)
    for step in plan.domains:
        owners.update(dict.fromkeys(step.after, step.domain.domid))
    found: list[Refusal] = []
    for step in plan.domains:
        own = frozenset(step.after)
        apart = (host.with_host | frozenset(owners)) - own
        for sbdf in step.add:
            policy = device_policies.get(sbdf, DevicePolicy())
            refusals = ties(host.topology, sbdf, apart, host.groups.get(sbdf, frozenset())).refusals
            if host.devices[sbdf].permissive and not policy.permissive:
                refusals.append(_permissive(sbdf, step.domain.name))
            found += judge(refusals, policy.waive).refusals
    return found


def _permissive(sbdf: Sbdf, domain: str) -> Refusal:
    text = (
        f"{sbdf} (for {domain}) is permissive from an earlier use, and nothing declares why {domain} may write all of"
        " its configuration space; give it to xen.pci.assignable_devices, which clears that, or declare permissive"
        " with a reason"
    )
    return Refusal(sbdf, Check.PERMISSIVE, text, waivable=False)


def _interrupt_tie(device: PciDevice, others: Sequence[Sbdf], found: Ties) -> None:
    if not others:
        return
    shared = f"{device.sbdf} shares interrupt line {device.irq} with {_some(others)}, which would get another owner"
    if device.message_interrupts:
        text = f"{shared}; that is harmless while the driver in the guest uses MSI or MSI-X, as the device can"
        found.warnings.append(Refusal(device.sbdf, Check.SHARED_INTERRUPT, text))
    else:
        text = f"{shared}, and it has neither MSI nor MSI-X to do without the line; move them together"
        found.refusals.append(Refusal(device.sbdf, Check.SHARED_INTERRUPT, text))


def _way_past_iommu(topology: Topology, sbdf: Sbdf, apart: Collection[Sbdf], found: Ties) -> None:
    """A switch without ACS is refused, as xend did (is_behind_switch_lacking_acs): it is what forwards between devices.

    Functions of one card are only warned about. They must have ACS if the card forwards between them (PCI Express base
    specification, ACS of multi-function devices), so those without claim that it does not; Xen and libxl believe that,
    and so does Linux of the many network cards whose makers were asked (pci_dev_acs_enabled in drivers/pci/quirks.c).
    Root ports count as apart, as with Xen: a processor's keep devices apart without saying so in configuration space.
    """
    for port, functions in sorted(topology.past_iommu(sbdf).items()):
        others = list(islice((one for one in functions if one in apart), _EXAMPLES + 1))
        if others:
            lack = "has no ACS" if topology.devices[port].acs is Acs.ABSENT else "has its ACS switched off"
            text = (
                f"{sbdf} is below the same switch as {_some(others)}, which would get another owner, and port {port}"
                f" of it {lack}: past the IOMMU one can reach the other; move them together, or to another slot"
            )
            found.refusals.append(Refusal(sbdf, Check.ACS, text))
    others = [one for one in topology.of_one_card(sbdf) if one in apart]
    if others:
        text = (
            f"{sbdf} is on one card with {listed(others)}, which would get another owner, and without ACS only the card"
            " itself keeps one from reaching the other past the IOMMU"
        )
        found.warnings.append(Refusal(sbdf, Check.ACS, text))


def _reserved_memory_tie(device: PciDevice, found: Ties) -> None:
    """Xen keeps such regions within reach of the device, whoever owns it, and refuses those that several share unless
    the guest's configuration relaxes that (intel_iommu_assign_device)."""
    for region in device.reserved_memory:
        kept = f"firmware keeps {device.sbdf} at memory {region} (RMRR)"
        others = ", ".join(region.others_than(device.path))
        if others:
            text = (
                f"{kept}, and {others} too: one can reach the other through it, and Xen gives it to a guest only with"
                " rdm_policy=relaxed in the guest's configuration"
            )
            found.refusals.append(Refusal(device.sbdf, Check.RESERVED_MEMORY, text))
        else:
            text = f"{kept} and may go on using it there, whoever has it; the firmware's settings may end that"
            found.warnings.append(Refusal(device.sbdf, Check.RESERVED_MEMORY, text))


def _reset_tie(topology: Topology, device: PciDevice, required: bool, found: Ties) -> None:
    beside = topology.beside_on_bus(device.sbdf)
    why = f", and {listed(beside, _EXAMPLES)} on its bus keep the kernel from resetting the bus" if beside else ""
    text = f"{device.sbdf} has no way to be reset{why}; what one owner leaves in it the next one finds"
    if required:
        found.refusals.append(Refusal(device.sbdf, Check.NO_RESET, text))
    else:
        found.warnings.append(
            Refusal(device.sbdf, Check.NO_RESET, f"{text}; guests that share it must trust each other")
        )


def _some(others: Sequence[Sbdf]) -> str:
    return listed(others[:_EXAMPLES]) + (" and others" if len(others) > _EXAMPLES else "")
