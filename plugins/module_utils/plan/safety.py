# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of all checks, and those for devices that the host itself needs.

The checks for devices that hardware does not keep apart are in `isolation.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

from ..model.device import NetInterface, PciDevice
from ..model.usage import NetworkUse, OtherUse
from ..values.address import Sbdf
from ..values.catalog import CatalogEntry
from ..values.refusal import Refusal
from ..values.words import counted, did_you_mean, listed, shortened

#: Drivers that keep a device for programs.
_PROGRAM_DRIVERS = ("vfio-pci", "uio_pci_generic", "igb_uio")


class Check(Enum):
    """The checks, by the names that users overrule them with."""

    BRIDGE = "bridge"
    SEGMENT = "segment"
    CONNECTION = "connection"
    MAINBOARD = "mainboard"
    DISK = "disk"
    NETWORK = "network"
    CONSOLE = "console"
    INPUT = "input"
    PERIPHERAL = "peripheral"
    DATA = "data"
    PROCESSES = "processes"
    VIRTUAL_FUNCTIONS = "virtual-functions"
    NO_RESET = "no-reset"
    UNTRUSTED = "untrusted"
    SHARED_PAGE = "shared-page"
    SHARED_INTERRUPT = "shared-interrupt"
    GROUP = "group"
    ACS = "acs"
    RESERVED_MEMORY = "reserved-memory"
    INTERRUPT_REMAPPING = "interrupt-remapping"
    DEAD = "dead"
    PERMISSIVE = "permissive"


#: Checks that no declaration can waive; permissive has a key of its own.
_NEVER = (Check.BRIDGE, Check.SEGMENT, Check.CONNECTION, Check.DEAD, Check.PERMISSIVE)


def against(check: Check, sbdf: Sbdf, reason: str, advice: str = "", waivable: bool = True) -> Refusal:
    """Make the refusal of a device by a check."""
    return Refusal(check.value, str(sbdf), reason, advice, waivable and check not in _NEVER)


@dataclass(frozen=True)
class Waived:
    """A refusal that the user overruled, and why."""

    refusal: Refusal
    why: str


@dataclass(frozen=True)
class Verdict:
    """What is left after the user's waivers; `warnings` are reasons that forbid nothing."""

    refusals: tuple[Refusal, ...] = ()
    waived: tuple[Waived, ...] = ()
    warnings: tuple[Refusal, ...] = ()


def judge(refusals: Sequence[Refusal], waive: Mapping[str, str], warnings: Sequence[Refusal] = ()) -> Verdict:
    """Take out what the user overrules, warnings included; `waive` has the reason for each check."""
    overruled = [refusal for refusal in refusals if refusal.waivable and refusal.code in waive]
    return Verdict(
        refusals=tuple(refusal for refusal in refusals if refusal not in overruled),
        waived=tuple(Waived(refusal, waive[refusal.code]) for refusal in overruled),
        warnings=tuple(warning for warning in warnings if warning.code not in waive),
    )


def wrong_waivers(catalog: Mapping[str, CatalogEntry]) -> list[Refusal]:
    """Refuse waivers of checks that do not exist or cannot be waived."""
    known = [check.value for check in Check if check not in _NEVER]
    never = [check.value for check in _NEVER]
    return [
        Refusal(
            "waiver",
            name,
            f"Device {name!r}: waive names {check!r}, which {'cannot be waived' if check in never else 'is unknown'}",
            did_you_mean("" if check in never else check, known, f"the checks that can be waived are {listed(known)}"),
        )
        for name, entry in catalog.items()
        for check in entry.waive
        if check not in known
    ]


def against_hanging(device: PciDevice) -> list[Refusal]:
    """Refuse to move a device while an earlier write to its files goes on in the kernel."""
    if not device.hanging_write:
        return []
    reason = f"An earlier run wrote {device.hanging_write}, for {device.sbdf}, and that has not returned"
    advice = "find what uses the device (open files of its nodes in /dev, `dmesg`) and end that, or restart dom0"
    return [Refusal("hanging-write", str(device.sbdf), reason, advice)]


def against_kind(device: PciDevice) -> list[Refusal]:
    """Refuse a device because of what it is, also where pciback holds it: a mistake in `hide=` changes nothing."""
    sbdf, reasons = device.sbdf, list[Refusal]()
    if not sbdf.has_xen_number:
        behind = f"is behind the VMD {device.behind}" if device.behind else "has a segment of more than 16 bits"
        reason = f"{sbdf} {behind}, and Xen has no number for it: Linux alone counts segments beyond ffff"
        vmd = f"give away {device.behind} with all behind it, or " if device.behind else ""
        reasons.append(against(Check.SEGMENT, sbdf, reason, f"{vmd}switch VMD off in the firmware"))
    if device.is_bridge:
        behind = f" ({counted(len(device.children), 'device')} behind it would go with it)" if device.children else ""
        reason = f"{sbdf} is a bridge (class {device.class_code}), which cannot be given away{behind}"
        reasons.append(against(Check.BRIDGE, sbdf, reason, "give away the devices behind it instead"))
    if device.is_mainboard_part:
        reason = f"{sbdf} is a part of the mainboard (class {device.class_code}), which the host itself needs"
        reasons.append(against(Check.MAINBOARD, sbdf, reason, "leave it with the host"))
    return reasons


def against_any_use(device: PciDevice) -> list[Refusal]:
    """Refuse a device that no guest may have and that cannot be moved now, whichever driver has it."""
    return [*against_hanging(device), *against_kind(device)]


def needs_of_host(
    device: PciDevice,
    network: NetworkUse,
    assigned: Collection[Sbdf] = (),
    depending: Sequence[PciDevice] = (),
    others: Mapping[Sbdf, OtherUse] = MappingProxyType({}),
) -> list[Refusal]:
    """Refuse a device that the host must not lose; empty if it may. `assigned` are the functions that pciback holds.

    What the host uses `depending` functions for, such as virtual ones, it loses as well. `others` are the uses that are
    no part of a device's facts.
    """
    sbdf, reasons = device.sbdf, against_any_use(device)
    if device.virtfns:
        reasons.append(_virtual_functions(device, [function for function in device.virtfns if function in assigned]))
    reasons += _uses(device, network, others.get(sbdf, OtherUse()))
    for other in depending:
        for use in _uses(other, network, others.get(other.sbdf, OtherUse())):
            reason = f"{sbdf} would take {other.sbdf} from the host, and {use.reason}"
            reasons.append(replace(use, subject=str(sbdf), reason=reason))
    return reasons


def _uses(device: PciDevice, network: NetworkUse, other: OtherUse) -> list[Refusal]:
    """Refuse a device that the host uses now, or may need at any time."""
    sbdf, reasons = device.sbdf, list[Refusal]()
    if device.consoles:
        reason = f"{sbdf} carries the host's console ({listed(device.consoles)})"
        reasons.append(against(Check.CONSOLE, sbdf, reason, "move the console first"))
    uses = [*(f"disk {disk.name}: {use}" for disk in device.block for use in disk.used_by), *other.claims]
    if uses:
        reason = f"{sbdf} carries {'; '.join(uses)}"
        reasons.append(against(Check.DISK, sbdf, reason, "stop that use first"))
    for interface in device.net:
        if interface.is_up:
            reasons += _network_reasons(sbdf, interface, network)
    return [*reasons, *_hidden_interface(device, network), *_other_uses(sbdf, other)]


def _other_uses(sbdf: Sbdf, use: OtherUse) -> Iterator[Refusal]:
    if use.inputs:
        needed = "which the host may need at its console, and for a passphrase when it boots"
        advice = "plug it into another controller, or waive the check if the host is never used that way"
        yield against(Check.INPUT, sbdf, f"{sbdf} carries {listed(use.inputs)}, {needed}", advice)
    things = (*use.peripherals, *use.thunderbolt)
    if things:
        reason = f"{sbdf} carries {listed(things)}, which the host may need at any time"
        yield against(Check.PERIPHERAL, sbdf, reason, "plug it into another controller, or unplug it")
    if use.data:
        advice = "look what it is, and waive the check if the host does not need it, such as a guest's own data"
        yield against(Check.DATA, sbdf, f"{sbdf} carries a disk with data: {'; '.join(use.data)}", advice)
    if use.processes:
        reason = f"Programs have device nodes of {sbdf} open: {shortened(use.processes)}"
        yield against(Check.PROCESSES, sbdf, reason, "stop them first: its driver may wait for them for ever")


def _virtual_functions(device: PciDevice, out: Sequence[Sbdf]) -> Refusal:
    sbdf = device.sbdf
    exist = f"{sbdf} has {counted(len(device.virtfns), 'virtual function')}, which it loses with its driver"
    if out:
        held = f"pciback holds {shortened(sorted(out))} of them"
        return against(Check.VIRTUAL_FUNCTIONS, sbdf, f"{exist}, and {held}", "release them first", waivable=False)
    return against(Check.VIRTUAL_FUNCTIONS, sbdf, exist, "remove them first, or give them away instead")


def _network_reasons(sbdf: Sbdf, interface: NetInterface, network: NetworkUse) -> list[Refusal]:
    name, stack = interface.name, (interface.name, *interface.upper)
    reasons = []
    through = next((layer for layer in reversed(stack) if layer in network.connection), None)
    advice = "move the connection to another interface first"
    if through is not None:
        reason = f"{sbdf} is network interface {name}, which carries the connection that Ansible uses"
        reasons.append(against(Check.CONNECTION, sbdf, f"{reason}{_via(through, name)}", advice))
    elif network.connection_ends and network.is_used(interface):
        reason = f"{sbdf} is network interface {name}, which is up and {_may_carry(network)}"
        advice = f"set {name} down first if it does not, or {advice.removesuffix(' first')}"
        reasons.append(against(Check.CONNECTION, sbdf, reason, advice))
    uses = []
    through = next((layer for layer in stack if layer in network.default_route), None)
    if through is not None:
        uses.append(f"carries the host's default route{_via(through, name)}")
    addressed = next((layer for layer in stack if network.networks.get(layer)), None)
    if addressed is not None:
        uses.append(f"has an address in {listed(network.networks[addressed])}{_via(addressed, name)}")
    if interface.upper:
        uses.append(f"is a part of {listed(interface.upper)}")
    if not uses and name in network.routed:
        uses.append("has a route through it")
    if not uses and interface.promiscuous:
        uses.append("takes all frames, so a program may switch or read them")
    if uses:
        reason = f"{sbdf} is network interface {name}, which is up and {' and '.join(uses)}"
        reasons.append(against(Check.NETWORK, sbdf, reason, "end that use first"))
    return reasons


def _hidden_interface(device: PciDevice, network: NetworkUse) -> Iterator[Refusal]:
    """Refuse a network card whose driver runs but whose interface is not here: another network namespace may have it.

    A driver of programs (DPDK) makes no interface at all; what its program switches nothing shows.
    """
    if not device.interface_elsewhere:
        return
    has = f"{device.sbdf} is a network card that driver {device.driver} runs, but it has no interface here"
    if network.connection_ends:
        advice = "move the connection to another interface, or take the card from that driver first"
        yield against(Check.CONNECTION, device.sbdf, f"{has}. It {_may_carry(network)}", advice)
    if device.driver not in _PROGRAM_DRIVERS:
        reason = f"{has}, so another network namespace may use it"
        yield against(Check.NETWORK, device.sbdf, reason, "look for it with `ip netns` and `lsns -t net`")


def _may_carry(network: NetworkUse) -> str:
    ends = listed(network.connection_ends)
    return f"may carry the connection that Ansible uses: that leads to {ends}, and nothing shows which card is below"


def _via(through: str, name: str) -> str:
    return f" through {through}" if through != name else ""
