# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against giving a device away, each with the reason, its evidence, and whether a user may overrule it.

Two kinds: the host needs the device itself (`needs_of_host`), or the device cannot be told apart from others in
hardware (`ties`), so that who gets it gets a piece of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ..model.device import NetInterface, PciDevice
from ..model.usage import NetworkUse
from ..values.address import Sbdf
from ..values.catalog import CatalogEntry
from .names import listed

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


def judge(refusals: Sequence[Refusal], waive: Mapping[str, str], warnings: Sequence[Refusal] = ()) -> Verdict:
    """Set aside what the user overrules, warnings included; `waive` has the reason for each check."""
    overruled = [one for one in refusals if one.waivable and one.check.value in waive]
    return Verdict(
        refusals=tuple(one for one in refusals if one not in overruled),
        waived=tuple(Waived(one, waive[one.check.value]) for one in overruled),
        warnings=tuple(one for one in warnings if one.check.value not in waive),
    )


def wrong_waivers(catalog: Mapping[str, CatalogEntry]) -> list[str]:
    """Sentences on waivers of checks that do not exist or that nobody may overrule."""
    known = [check.value for check in Check if check not in _NEVER]
    return [
        f"Device {name!r}: waive names {check!r}, which is no check that can be waived; those are {', '.join(known)}."
        for name, entry in catalog.items()
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


def _via(through: str, name: str) -> str:
    return f" through {through}" if through != name else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
