# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that must stay with the host, each with the reason and its evidence."""

from __future__ import annotations

from ..model.host import PciDevice
from ..model.usage import NetworkUse


def refusals(device: PciDevice, network: NetworkUse) -> list[str]:
    """Why the host must not lose the device, one sentence each; empty if it may.

    A device that pciback holds already is refused only for what it is: the host no longer uses it.
    """
    reasons = []
    if device.is_bridge:
        behind = f", and {_count(len(device.children), 'device')} behind it would go with it" if device.children else ""
        reasons.append(
            f"{device.sbdf} is a bridge (class {device.class_code}), which cannot be given away{behind};"
            " give away the devices behind it instead."
        )
    if device.virtfns:
        reasons.append(
            f"{device.sbdf} has {_count(len(device.virtfns), 'virtual function')}, which vanish with its driver;"
            " remove them first, or give them away instead."
        )
    reasons += [
        f"{device.sbdf} carries disk {disk.name}: {use}; stop that use first."
        for disk in device.block
        for use in disk.used_by
    ]
    for interface in device.net:
        if interface.is_up:
            reasons += _network_reasons(device, interface.name, interface.upper, network)
    return reasons


def _network_reasons(device: PciDevice, name: str, upper: tuple[str, ...], network: NetworkUse) -> list[str]:
    reasons = []
    stack = (name, *upper)
    for carrying, what in (
        (network.connection, "the connection that Ansible uses"),
        (network.default_route, "the host's default route"),
    ):
        through = next((layer for layer in stack if layer in carrying), None)
        if through is not None:
            via = f" through {through}" if through != name else ""
            reasons.append(
                f"{device.sbdf} is network interface {name}, which carries {what}{via};"
                " move that to another interface first."
            )
    return reasons


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
