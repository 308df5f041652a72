# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What uses the network interfaces of the host, and which of them carries the connection that we run under.

Uses are followed upward through bonds, bridges and VLANs to addresses and routes. What to make of it is decided
elsewhere.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Union

from ..model.device import NetInterface
from ..model.usage import NetworkUse
from ..values.address import Sbdf
from . import command
from .kernel_files import beside, link_target, list_names, pci_function_of, read_text

_IFF_UP = 0x1
_RTF_UP, _RTF_GATEWAY, _RTF_REJECT = 0x1, 0x2, 0x200
_IPV6_LINK_ONLY = 0x20
_IP_SECONDS = 20.0
_Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


class NetGraph:
    """The network interfaces of a host, what stands on each, and the routes through them."""

    def __init__(self, sysfs_root: Path) -> None:
        self._class = sysfs_root / "class" / "net"
        self._proc = beside(sysfs_root, "proc")

    def by_device(self) -> dict[Sbdf, list[NetInterface]]:
        """Interfaces by the function they stand on; virtual ones stand on none."""
        found: dict[Sbdf, list[NetInterface]] = defaultdict(list)
        for name in sorted(list_names(self._class)):
            function = pci_function_of(link_target(f"{self._class}/{name}"))
            if function is not None:
                found[function].append(self._interface(name))
        return dict(found)

    def use(self, connection: Iterable[str] | None = None) -> NetworkUse:
        """Which interfaces carry a default route, and which lead to or own the addresses of a connection.

        That is the connection that we run under, unless another is given.
        """
        connection = connection_addresses() if connection is None else connection
        routes, own = _routes(self._proc / "net"), self._own_addresses()
        carrying = {name for address in connection for name in _interfaces_to(address, routes, own)}
        return NetworkUse(
            default_route=frozenset(route.interface for route in routes if route.network.prefixlen == 0),
            connection=frozenset(carrying),
            networks=_networks(routes, own, self._proc / "net"),
        )

    def _own_addresses(self) -> dict[str, list[ipaddress.IPv4Interface]]:
        """Read the IPv4 addresses of each interface.

        /proc has only the routes of the main table, in which an address without a network (/32, point-to-point) leaves
        no trace. What iproute2 says of another network namespace than that of sysfs is left out: there number or MAC
        address differ.
        """
        found = {}
        for link in _ip_addresses():
            name = str(link.get("ifname"))
            here = [read_text(self._class / name / file) for file in ("ifindex", "address")]
            if here == [str(link.get("ifindex")), link.get("address")]:
                texts = [
                    f"{info['local']}/{info['prefixlen']}" for info in link["addr_info"] if info["family"] == "inet"
                ]
                found[name] = [ipaddress.IPv4Interface(text) for text in texts]
        return found

    def _interface(self, name: str) -> NetInterface:
        flags = read_text(f"{self._class}/{name}/flags") or "0"
        return NetInterface(
            name=name,
            mac=(read_text(f"{self._class}/{name}/address") or "").lower(),
            is_up=bool(int(flags, 16) & _IFF_UP),
            upper=tuple(self._above(name, frozenset())),
        )

    def _above(self, name: str, seen: frozenset[str]) -> list[str]:
        direct = sorted(
            entry[len("upper_") :] for entry in list_names(f"{self._class}/{name}") if entry.startswith("upper_")
        )
        found: list[str] = []
        for upper in direct:
            if upper not in seen:
                found += [upper, *self._above(upper, seen | {name})]
        return list(dict.fromkeys(found))


def connection_addresses(procfs: Path = Path("/proc")) -> tuple[str, ...]:
    """Both ends of the ssh connection that we run under, empty if there is none.

    Tools that change the user drop SSH_CONNECTION, so our ancestors' environments are read as well.
    """
    pid, text = os.getpid(), os.environ.get("SSH_CONNECTION")
    while text is None and pid > 1:
        try:
            environment = (procfs / str(pid) / "environ").read_bytes().split(b"\0")
            parent = (
                (procfs / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
            )
        except (OSError, IndexError):
            break
        values = [entry[15:] for entry in environment if entry.startswith(b"SSH_CONNECTION=")]
        text = values[0].decode("ascii", "replace") if values else None
        pid = int(parent)
    words = (text or "").split()
    return (words[0], words[2]) if len(words) == 4 else ()


class _Route(NamedTuple):
    network: _Network
    interface: str
    direct: bool = False  # reached without a gateway


def _routes(directory: Path) -> list[_Route]:
    """Both address families; the kernel writes IPv4 as numbers of the machine's own byte order."""
    found = []
    for line in (read_text(directory / "route") or "").splitlines()[1:]:
        words = line.split()
        if len(words) >= 8 and int(words[3], 16) & _RTF_UP and not int(words[3], 16) & _RTF_REJECT:
            target, mask = (ipaddress.IPv4Address(bytes.fromhex(words[at])[::-1]) for at in (1, 7))
            network = ipaddress.IPv4Network(f"{target}/{mask}", strict=False)
            found.append(_Route(network, words[0], not int(words[3], 16) & _RTF_GATEWAY))
    for line in (read_text(directory / "ipv6_route") or "").splitlines():
        words = line.split()
        if len(words) == 10 and words[9] != "lo" and not int(words[8], 16) & _RTF_REJECT:
            network6 = ipaddress.IPv6Network((bytes.fromhex(words[0]), int(words[1], 16)), strict=False)
            found.append(_Route(network6, words[9]))
    return found


def _ip_addresses() -> list[dict[str, Any]]:
    """Ask iproute2 about all interfaces and their addresses; nothing where it is not there."""
    try:
        links = json.loads(command.run(["ip", "-json", "address", "show"], _IP_SECONDS).output)
    except (OSError, ValueError):
        return []
    return [link for link in links if link.get("addr_info")]


def _networks(
    routes: list[_Route], own: Mapping[str, list[ipaddress.IPv4Interface]], directory: Path
) -> dict[str, tuple[str, ...]]:
    """Find the networks in which each interface has an address.

    Of IPv4 these are also the networks reached without a gateway, which is how the kernel enters an address. Of IPv6
    they are those of all addresses but the ones that every interface gives itself.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for name, addresses in own.items():
        found[name] += [str(address.network) for address in addresses]
    for route in routes:
        if route.direct and route.network.version == 4 and route.network.prefixlen:
            found[route.interface].append(str(route.network))
    for line in (read_text(directory / "if_inet6") or "").splitlines():
        words = line.split()
        if len(words) == 6 and words[5] != "lo" and int(words[3], 16) != _IPV6_LINK_ONLY:
            found[words[5]].append(str(ipaddress.IPv6Address(bytes.fromhex(words[0]))))
    return {name: tuple(dict.fromkeys(networks)) for name, networks in found.items()}


def _interfaces_to(address: str, routes: list[_Route], own: Mapping[str, list[ipaddress.IPv4Interface]]) -> set[str]:
    """Interfaces of the longest prefixes that hold the address, and the one that has it if it is our own."""
    try:
        wanted = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return set()
    if isinstance(wanted, ipaddress.IPv6Address) and wanted.ipv4_mapped:
        wanted = wanted.ipv4_mapped
    fitting = [route for route in routes if route.network.version == wanted.version and wanted in route.network]
    longest = max((route.network.prefixlen for route in fitting), default=0)
    having = {name for name, addresses in own.items() if wanted in [address.ip for address in addresses]}
    return having | {route.interface for route in fitting if route.network.prefixlen == longest}
