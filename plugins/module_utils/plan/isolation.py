# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks for devices that hardware does not keep apart, so that the owner of one can affect the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ..model.device import Acs, PciDevice
from ..model.topology import Topology
from ..model.xen import NO_INTERRUPT_REMAPPING, REMAP_INTERRUPTS, Xen
from ..values.address import Sbdf
from ..values.device_options import DeviceOptions
from ..values.refusal import Refusal
from ..values.words import listed, shortened
from .safety import Check, against

#: How many of the devices that share a line are named; on a large host there may be hundreds.
_EXAMPLES = 3


#: Advice against memory that firmware reserves for several devices.
_RELAX = "declare the device with rdm_policy: relaxed, and waive reserved-memory with a reason"
#: Checks that depend on which other devices go along, so they say nothing while some of those are not known.
OF_OTHERS = frozenset(
    check.value for check in (Check.SHARED_PAGE, Check.SHARED_INTERRUPT, Check.GROUP, Check.ACS, Check.RESERVED_MEMORY)
)


@dataclass(frozen=True)
class Ties:
    """What a device shares with others: refusals, and warnings if the device can work without what is shared."""

    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[Refusal, ...] = ()


def ties_of(
    topology: Topology,
    sbdf: Sbdf,
    apart: Collection[Sbdf],
    group: Collection[Sbdf] = (),
    require_reset: bool = False,
) -> Ties:
    """Check what a device shares with those that get another owner (`apart`), and whether it can be reset.

    `group` are the functions that Xen can only assign together with it. A shared interrupt line is not used as long as
    drivers use message interrupts, so it is refused only for a device that has none.
    """
    device = topology.devices[sbdf]
    found = [
        *_dead(device),
        *_shared_pages(topology, sbdf, apart),
        *_shared_line(topology, device, apart),
        *_shared_group(sbdf, apart, group),
        *_paths_past_iommu(topology, sbdf, apart),
        *_reserved_memory(device),
        *([] if device.reset_methods else [_no_reset(topology, device, require_reset)]),
    ]
    refusals = tuple(refusal for refusal, forbids in found if forbids)
    return Ties(refusals, tuple(warning for warning, forbids in found if not forbids))


def against_interrupts(xen: Xen, sbdf: Sbdf) -> list[Refusal]:
    """Refuse any device to guests where Xen does not remap interrupts.

    A message interrupt is a write to memory, which every device can make that can reach memory at all, however it is
    set up. Without remapping, it names vector and processor itself.
    """
    if xen.interrupt_remapping is not False or xen.iommu is False:  # without an IOMMU, no guest gets any
        return []
    reason = f"{sbdf}: {NO_INTERRUPT_REMAPPING}"
    return [against(Check.INTERRUPT_REMAPPING, sbdf, reason, REMAP_INTERRUPTS)]


#: A refusal or a warning, and whether it forbids.
_Found = tuple[Refusal, bool]


def _dead(device: PciDevice) -> Iterator[_Found]:
    if not device.answers:
        reason = (
            f"{device.sbdf} does not answer: its configuration space reads as all ones, as it does after a failed reset"
            " or without power"
        )
        yield against(Check.DEAD, device.sbdf, reason, "switch the host off and on, or replace the device"), True


def _shared_pages(topology: Topology, sbdf: Sbdf, apart: Collection[Sbdf]) -> Iterator[_Found]:
    for page, users in sorted(topology.sharing_page(sbdf).items()):
        others = sorted(user for user in users if user in apart)
        if others:
            reason = (
                f"{sbdf} has registers in the same page of memory (0x{page:x}) as {shortened(others)}, which would have"
                " a different owner, and Xen assigns whole pages only"
            )
            yield against(Check.SHARED_PAGE, sbdf, reason, "assign them together"), True


def _shared_line(topology: Topology, device: PciDevice, apart: Collection[Sbdf]) -> Iterator[_Found]:
    on_line = (user for user in topology.on_line(device.sbdf) if user in apart and user != device.sbdf)
    others = list(islice(on_line, _EXAMPLES + 1))
    if not others:
        return
    shared = (
        f"{device.sbdf} shares interrupt line {device.irq} with {_some(others)}, which would have a different owner"
    )
    if device.message_interrupts:
        reason = f"{shared}. That is harmless while the driver in the guest uses MSI or MSI-X, which the device has"
        yield against(Check.SHARED_INTERRUPT, device.sbdf, reason), False
    else:
        reason = f"{shared}, and it needs the line, because it has neither MSI nor MSI-X"
        yield against(Check.SHARED_INTERRUPT, device.sbdf, reason, "assign them together"), True


def _shared_group(sbdf: Sbdf, apart: Collection[Sbdf], group: Collection[Sbdf]) -> Iterator[_Found]:
    others = sorted(member for member in group if member in apart and member != sbdf)
    if others:
        reason = f"{sbdf} is in the same IOMMU group as {shortened(others)}, which would have a different owner"
        yield against(Check.GROUP, sbdf, reason, "assign them together"), True


def _paths_past_iommu(topology: Topology, sbdf: Sbdf, apart: Collection[Sbdf]) -> Iterator[_Found]:
    """Refuse devices that can reach each other past the IOMMU through a switch without ACS.

    A switch forwards between devices, so it is refused as xend did (is_behind_switch_lacking_acs). Functions of one
    card are only warned about. They must have ACS if the card forwards between them (PCI Express base specification,
    ACS of multi-function devices), so a card without ACS claims that it does not. Xen and libxl believe that, and so
    does Linux of the many network cards whose makers were asked (pci_dev_acs_enabled in drivers/pci/quirks.c). Root
    ports count as apart, as in Xen: those of a processor keep devices apart without saying so in configuration space.
    """
    for port, functions in sorted(topology.past_iommu(sbdf).items()):
        others = list(islice((function for function in functions if function in apart), _EXAMPLES + 1))
        if others:
            lack = "has no ACS" if topology.devices[port].acs is Acs.ABSENT else "has its ACS switched off"
            reason = (
                f"{sbdf} is below the same switch as {_some(others)}, which would have a different owner, and port"
                f" {port} of the switch {lack}, so one can reach the other past the IOMMU"
            )
            yield against(Check.ACS, sbdf, reason, "assign them together, or move one to another slot"), True
    others = sorted(function for function in topology.of_one_card(sbdf) if function in apart)
    if others:
        reason = (
            f"{sbdf} is on the same card as {shortened(others)}, which would have a different owner. The card has no"
            " ACS, so only its own design keeps one function from reaching the other past the IOMMU"
        )
        yield against(Check.ACS, sbdf, reason), False


def _reserved_memory(device: PciDevice) -> Iterator[_Found]:
    """Check memory that the firmware reserves for the device.

    Xen keeps such a region within the device's reach whichever domain owns it. It refuses a region that several devices
    share unless the guest's configuration relaxes that (intel_iommu_assign_device).
    """
    for region in device.reserved_memory:
        kept = f"The firmware reserves memory {region} for {device.sbdf} (RMRR)"
        others = ", ".join(region.others_than(device.path))
        if others:
            reason = (
                f"{kept} and also for {others}: one can reach the other through it, and Xen gives the device to a guest"
                " only with rdm_policy relaxed"
            )
            yield against(Check.RESERVED_MEMORY, device.sbdf, reason), True
        else:
            reason = (
                f"{kept}, so the device can use that memory whichever domain owns it. A setting of the firmware may end"
                " that"
            )
            yield against(Check.RESERVED_MEMORY, device.sbdf, reason), False


def with_waivers_that_help(refusals: Iterable[Refusal], options: DeviceOptions) -> list[Refusal]:
    """Return the refusals of a device; shared reserved memory can be waived only where Xen is to relax, too."""
    return [
        replace(refusal, waivable=options.relaxed, advice=_RELAX)
        if refusal.code == Check.RESERVED_MEMORY.value
        else refusal
        for refusal in refusals
    ]


def _no_reset(topology: Topology, device: PciDevice, required: bool) -> _Found:
    beside = sorted(topology.beside_on_bus(device.sbdf))
    why = f" (nor can its bus, because {shortened(beside, _EXAMPLES)} is on it, too)" if beside else ""
    reason = f"{device.sbdf} cannot be reset{why}, so the next owner finds what the last one left in it"
    if required:
        return against(Check.NO_RESET, device.sbdf, reason, "leave it with the host"), True
    return against(Check.NO_RESET, device.sbdf, f"{reason}. Guests that have it in turn must trust each other"), False


def _some(others: Sequence[Sbdf]) -> str:
    return listed(others[:_EXAMPLES]) + (" and others" if len(others) > _EXAMPLES else "")
