# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way from the interfaces of a connection down to the cards, and where it is lost.

The kernel links each interface with those below it, but not all: a tunnel (WireGuard, VXLAN, GRE, PPP, tun) and a port
of Open vSwitch have none. Where a way ends at such an interface, any card may carry what goes through it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from . import command
from .kernel_files import link_name, link_target, list_names, pci_function_of, read_text

_IP_SECONDS = 20.0
#: How toolstacks name dom0's end of a guest's interface where QEMU serves it (xl, XAPI, libvirt).
_GUEST_TAP = re.compile(r"(vif|tap)\d+\.\d+(-emu)?|vnet\d+")
_BACKEND = re.compile(r"vif-(\d+)-\d+")
_GUEST_INTERFACE = re.compile(r"(?:vif|tap)(\d+)\.\d+(?:-emu)?")
#: Interfaces that lead to a part of this host.
_LOCAL_KINDS = ("veth", "dummy")


class Way(NamedTuple):
    """The interfaces on the way, those at which it ends without a card, and the guests (domids) that are there."""

    interfaces: frozenset[str]
    ends: frozenset[str]
    guests: frozenset[int]


class InterfaceStack:
    """What each interface of the host stands on."""

    def __init__(self, class_directory: Path) -> None:
        self._class = class_directory

    def way(self, names: Iterable[str]) -> Way:
        """Follow these interfaces down as far as anything shows what is below them."""
        seen: set[str] = set()
        ends: set[str] = set()
        for name in names:
            ends |= self._ends(name, seen)
        return Way(frozenset(seen), frozenset(ends), frozenset(self._guests(ends)))

    def _guests(self, ends: Iterable[str]) -> Iterator[int]:
        for name in ends:
            of_kernel = _BACKEND.fullmatch(link_name(self._class / name / "device") or "")
            match = of_kernel or _GUEST_INTERFACE.fullmatch(name)
            if match is not None:
                yield int(match[1])

    def _ends(self, name: str, seen: set[str]) -> set[str]:
        """Where the way down from an interface ends without a card.

        A port that leads to a guest or a container of this host is no end where a card is beside it.
        """
        seen.add(name)
        if self._is_hardware(name):
            return set()
        lower = self._below(name)
        if not lower:
            return {name}
        reached = {port: self._ends(port, seen) for port in lower if port not in seen}
        beside_a_card = any(not ends for ends in reached.values())
        return {
            end
            for port, ends in reached.items()
            if not (beside_a_card and ends == {port} and self._leads_inward(port))
            for end in ends
        }

    def _below(self, name: str) -> list[str]:
        """Interfaces directly below one; of a port of Open vSwitch, all other ports of its kernel's switch.

        A port's interface is not linked with the switch (ovs-system), with which all cards in it are.
        """
        lower = self._linked(name)
        if not lower and self._kinds.get(name) == "openvswitch":
            switches = (other for other, kind in self._kinds.items() if kind == "openvswitch")
            lower = [port for switch in switches for port in self._linked(switch)]
        return lower

    def _linked(self, name: str) -> list[str]:
        entries = sorted(list_names(self._class / name))
        lower = [entry[len("lower_") :] for entry in entries if entry.startswith("lower_")]
        return lower or [other for other, upper in self._upper.items() if name in upper]

    @cached_property
    def _upper(self) -> dict[str, set[str]]:
        """What is directly above each interface; some interfaces do not say what is below them."""
        names = sorted(list_names(self._class))
        return {
            name: {entry[len("upper_") :] for entry in list_names(self._class / name) if entry.startswith("upper_")}
            for name in names
        }

    def _is_hardware(self, name: str) -> bool:
        """Whether it is the interface of a card, or of another device of its own; a guest's is neither."""
        path = link_target(f"{self._class}/{name}")
        if pci_function_of(path) is not None:
            return True
        return (self._class / name / "device").exists() and not self._is_backend(name)

    def _leads_inward(self, name: str) -> bool:
        return self._is_backend(name) or self._kinds.get(name) in _LOCAL_KINDS or _GUEST_TAP.fullmatch(name) is not None

    def _is_backend(self, name: str) -> bool:
        device = self._class / name / "device"
        return (link_name(device / "subsystem") or "") == "xen-backend" or (link_name(device) or "").startswith("vif-")

    @cached_property
    def _kinds(self) -> dict[str, str]:
        """What iproute2 says of virtual interfaces, which sysfs does not show; only where it means the same ones."""
        return {
            str(link["ifname"]): str(link.get("linkinfo", {}).get("info_kind", ""))
            for link in ip_says("-details", "link", "show")
            if is_same(self._class, link)
        }


def ip_says(*words: str) -> list[dict[str, Any]]:
    """Ask iproute2, and return its answer item by item; nothing where it is not there or does not know."""
    try:
        said = json.loads(command.run(["ip", "-json", *words], _IP_SECONDS).output)
    except (OSError, ValueError):
        return []
    return [item for item in said if isinstance(item, dict)] if isinstance(said, list) else []


def is_same(class_directory: Path, link: dict[str, Any]) -> bool:
    """Whether iproute2 and sysfs mean the same interface: in another network namespace number or MAC address differ.

    Of a tunnel each writes the address in a way of its own, or it has none.
    """
    number, address = (read_text(class_directory / str(link.get("ifname")) / file) for file in ("ifindex", "address"))
    return number == str(link.get("ifindex")) and (
        link.get("link_type", "ether") != "ether" or address == link.get("address")
    )
