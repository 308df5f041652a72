# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against giving a device away, each with the reason, its evidence, and whether a user may overrule it.

Two kinds: the host needs the device itself (`needs_of_host`), or the device cannot be told apart from others in
hardware (`ties`), so that who gets it gets a piece of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice

from ..model.host import Acs, NetInterface, PciDevice
from ..model.topology import Topology
from ..model.usage import NetworkUse
from ..values.address import Sbdf
from ..values.catalogue import Entry
from .resolve import listed

#: Parts of the mainboard by class: SMBus (it reaches the memory modules), interrupt controllers, timers, IOMMU.
_MAINBOARD_CLASSES = ("0c05", "0800", "0801", "0802", "0803", "0806")

#: So many of those that share a line are named; on a large host there may be hundreds.
_EXAMPLES = 3


class Check(Enum):
    """What is looked at; the values are the names under which users overrule them."""

    BRIDGE = "bridge"
    CONNECTION = "connection"
    MAINBOARD = "mainboard"
    DISK = "disk"
    NETWORK = "network"
    CONSOLE = "console"
    VIRTUAL_FUNCTIONS = "virtual-functions"
    NO_RESET = "no-reset"
    UNTRUSTED = "untrusted"
    SHARED_PAGE = "shared-page"
    SHARED_INTERRUPT = "shared-interrupt"
    GROUP = "group"
    ACS = "acs"
    RESERVED_MEMORY = "reserved-memory"
    DEAD = "dead"
    PERMISSIVE = "permissive"


#: Nobody may overrule these; permissive has a declaration of its own.
_NEVER = (Check.BRIDGE, Check.CONNECTION, Check.DEAD, Check.PERMISSIVE)


@dataclass(frozen=True)
class Refusal:
    """Why a device must stay; `reason` is a sentence without its full stop."""

    sbdf: Sbdf
    check: Check
    reason: str
    waivable: bool = True

    def __str__(self) -> str:
        return f"{self.reason} ({self.check.value}: {'may' if self.waivable else 'cannot'} be waived)."


@dataclass(frozen=True)
class Waived:
    """A refusal that the user overruled, and why."""

    refusal: Refusal
    why: str


@dataclass(frozen=True)
class Verdict:
    """What remains after the user's waivers; `warnings` are reasons that forbid nothing."""

    refusals: tuple[Refusal, ...] = ()
    waived: tuple[Waived, ...] = ()
    warnings: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class Ties:
    """What a device hangs together with: refusals, and warnings where it can do without what is shared."""

    refusals: list[Refusal] = field(default_factory=list)
    warnings: list[Refusal] = field(default_factory=list)


def judge(refusals: Sequence[Refusal], waive: Mapping[str, str], warnings: Sequence[Refusal] = ()) -> Verdict:
    """Set aside what the user overrules, warnings included; `waive` has the reason for each check."""
    overruled = [one for one in refusals if one.waivable and one.check.value in waive]
    return Verdict(
        refusals=tuple(one for one in refusals if one not in overruled),
        waived=tuple(Waived(one, waive[one.check.value]) for one in overruled),
        warnings=tuple(one for one in warnings if one.check.value not in waive),
    )


def wrong_waivers(catalogue: Mapping[str, Entry]) -> list[str]:
    """Sentences on waivers of checks that do not exist or that nobody may overrule."""
    known = [check.value for check in Check if check not in _NEVER]
    return [
        f"Device {name!r}: waive names {check!r}, which is no check that can be waived; those are {', '.join(known)}."
        for name, entry in catalogue.items()
        for check in entry.waive
        if check not in known
    ]


def needs_of_host(device: PciDevice, network: NetworkUse, assigned: Collection[Sbdf] = ()) -> list[Refusal]:
    """Why the host must not lose the device; empty if it may. `assigned` are the functions that pciback holds.

    A device that pciback holds already is refused only for what it is: the host no longer uses it.
    """
    reasons: list[Refusal] = []
    if device.is_bridge:
        behind = f", and {_count(len(device.children), 'device')} behind it would go with it" if device.children else ""
        text = (
            f"{device.sbdf} is a bridge (class {device.class_code}), which cannot be given away{behind};"
            " give away the devices behind it instead"
        )
        reasons.append(Refusal(device.sbdf, Check.BRIDGE, text, waivable=False))
    if device.class_code.startswith(_MAINBOARD_CLASSES):
        text = f"{device.sbdf} is a part of the mainboard (class {device.class_code}), which the host itself needs"
        reasons.append(Refusal(device.sbdf, Check.MAINBOARD, text))
    if device.consoles:
        text = f"{device.sbdf} carries the host's console ({', '.join(device.consoles)}); move that first"
        reasons.append(Refusal(device.sbdf, Check.CONSOLE, text))
    if device.virtfns:
        reasons.append(_virtual_functions(device, [one for one in device.virtfns if one in assigned]))
    uses = [f"disk {disk.name}: {use}" for disk in device.block for use in disk.used_by]
    if uses:
        text = f"{device.sbdf} carries {'; '.join(uses)}; stop that use first"
        reasons.append(Refusal(device.sbdf, Check.DISK, text))
    for interface in device.net:
        if interface.is_up:
            reasons += _network_reasons(device.sbdf, interface, network)
    return reasons


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


def _virtual_functions(device: PciDevice, out: Sequence[Sbdf]) -> Refusal:
    exist = f"{device.sbdf} has {_count(len(device.virtfns), 'virtual function')}, which vanish with its driver"
    if out:
        text = f"{exist}, and {listed(out)} of them {'is' if len(out) == 1 else 'are'} with pciback; release them first"
        return Refusal(device.sbdf, Check.VIRTUAL_FUNCTIONS, text, waivable=False)
    text = f"{exist}; remove them first, or give them away instead"
    return Refusal(device.sbdf, Check.VIRTUAL_FUNCTIONS, text)


def _network_reasons(sbdf: Sbdf, interface: NetInterface, network: NetworkUse) -> list[Refusal]:
    name, stack = interface.name, (interface.name, *interface.upper)
    reasons = []
    through = next((layer for layer in stack if layer in network.connection), None)
    if through is not None:
        text = (
            f"{sbdf} is network interface {name}, which carries the connection that Ansible uses{_via(through, name)};"
            " move that to another interface first"
        )
        reasons.append(Refusal(sbdf, Check.CONNECTION, text, waivable=False))
    uses = []
    through = next((layer for layer in stack if layer in network.default_route), None)
    if through is not None:
        uses.append(f"carries the host's default route{_via(through, name)}")
    addressed = next((layer for layer in stack if network.networks.get(layer)), None)
    if addressed is not None:
        uses.append(f"has an address in {', '.join(network.networks[addressed])}{_via(addressed, name)}")
    if interface.upper:
        uses.append(f"is a part of {', '.join(interface.upper)}")
    if uses:
        text = f"{sbdf} is network interface {name}, which is up and {' and '.join(uses)}; end that first"
        reasons.append(Refusal(sbdf, Check.NETWORK, text))
    return reasons


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


def _via(through: str, name: str) -> str:
    return f" through {through}" if through != name else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
