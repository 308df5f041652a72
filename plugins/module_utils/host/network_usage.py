# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What uses the network interfaces of the host, and which of them carries the connection that we run under.

Uses are followed upward through bonds, bridges and VLANs to addresses and routes, the connection also downward
(connection_way.py). What to make of it is decided elsewhere.
"""

from __future__ import annotations

import ipaddress
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, Union

from ..model.device import NetInterface
from ..model.usage import NetworkUse
from ..values.address import Sbdf
from .connection_way import InterfaceStack, ip_says, is_same
from .kernel_files import beside, link_target, list_names, pci_function_of, read_text

_IFF_UP, _IFF_PROMISC = 0x1, 0x100
_RTF_UP, _RTF_GATEWAY, _RTF_REJECT = 0x1, 0x2, 0x200
_IPV6_LINK_ONLY = 0x20
#: How processes are called that set SSH_CONNECTION.
_SSH_SERVERS = ("sshd", "dropbear", "tailscaled", "teleport")
#: Servers that take over from ssh with a connection of their own, whose other end they do not say.
_OTHER_SERVERS = ("mosh-server", "etterminal")
_EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
#: What every interface that is up has by itself.
_IPV6_OF_ALL = (ipaddress.IPv6Network("fe80::/10"), ipaddress.IPv6Network("ff00::/8"))
_Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
_Interface = Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]
_Addresses = Mapping[str, list[_Interface]]


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
        """Which interfaces carry a default route, and which carry a connection: lead to its addresses, or own one.

        That is the connection that we run under, unless another is given: its peer's address and its own, in turn.
        """
        connection = connection_addresses(others=self._proc) if connection is None else tuple(connection)
        routes, own = _routes(self._proc / "net"), self._own_addresses()
        carrying: set[str] = set()
        ends: list[str] = []
        for peer, here in zip_longest(connection[::2], connection[1::2], fillvalue=None):
            for address, source in ((peer, here or ""), (here, None)):
                found, problem = self._carrying(address, source, routes, own) if address is not None else (set(), "")
                carrying |= found
                ends += [problem] if problem else []
        way = InterfaceStack(self._class).way(sorted(carrying))
        return NetworkUse(
            default_route=frozenset(route.interface for route in routes if route.network.prefixlen == 0),
            connection=way.interfaces,
            networks=_networks(routes, own, self._proc / "net"),
            routed=frozenset(route.interface for route in routes if not _is_of_all(route.network)),
            connection_guests=way.guests,
            connection_ends=(*dict.fromkeys(ends), *(f"interface {name}" for name in sorted(way.ends))),
        )

    def _carrying(self, text: str, source: str | None, routes: list[_Route], own: _Addresses) -> tuple[set[str], str]:
        """Interfaces that carry what goes to or comes to an address, and why others may as well, empty if none may.

        `source` is our own address, None if the address is that.
        """
        address = _address(text)
        if address is None:
            return set(), f"address {text!r}, which is none of the Internet Protocol"
        if "%" in text:
            return {text.partition("%")[2]}, ""
        having = {name for name, addresses in own.items() if address in [one.ip for one in addresses]}
        found = having | _interfaces_to(address, routes)
        if source is not None:
            found |= self._by_policy(address, source)
            return found, "" if found else f"address {text}, to which no route leads"
        direct = (route for route in routes if route.direct and route.network.prefixlen and address in route.network)
        known = bool(having) or next(direct, None) is not None
        return found, "" if known else f"address {text}, which no interface here has"

    def _by_policy(self, peer: _Address, source: str) -> set[str]:
        """Interfaces of routes to an address that /proc does not show: of other tables, and the rest of a multipath.

        Rules choose the table, also by marks that we cannot see, so each table counts that a rule may lead to.
        """
        family = f"-{peer.version}"
        routes = ip_says(family, "route", "show", "table", "all", "match", str(peer))
        by_table: dict[str, list[_Route]] = defaultdict(list)
        for item in routes:
            for leg in (item, *item.get("nexthops", ())):
                target = item.get("dst")
                network = _network(_EVERYWHERE[peer.version] if target == "default" else str(target))
                if "dev" in leg and network is not None and peer in network:
                    by_table[str(item.get("table", "main"))].append(_Route(network, str(leg["dev"])))
        tables = {"main"} | (_tables(ip_says(family, "rule", "show"), source) if by_table.keys() - {"main"} else set())
        found = {name for table in tables for name in _interfaces_to(peer, by_table.get(table, []))}
        return {name for name in found if name in self._same}

    @cached_property
    def _links(self) -> list[dict[str, Any]]:
        """Interfaces with addresses as iproute2 has them, of the network namespace of sysfs only."""
        return [link for link in ip_says("address", "show") if is_same(self._class, link)]

    @cached_property
    def _same(self) -> frozenset[str]:
        return frozenset(str(link["ifname"]) for link in self._links)

    def _own_addresses(self) -> _Addresses:
        """Read the addresses of each interface.

        /proc has only the IPv4 routes of the main table, in which an address without a network (/32, point-to-point)
        leaves no trace.
        """
        found: dict[str, list[_Interface]] = {
            str(link["ifname"]): [
                ipaddress.IPv4Interface(f"{info['local']}/{info['prefixlen']}")
                for info in link.get("addr_info", ())
                if info.get("family") == "inet"
            ]
            for link in self._links
            if link.get("addr_info")
        }
        for name, address, _scope in _ipv6_addresses(self._proc / "net"):
            found.setdefault(name, []).append(ipaddress.IPv6Interface(address))
        return found

    def _interface(self, name: str) -> NetInterface:
        flags = read_text(f"{self._class}/{name}/flags") or "0"
        return NetInterface(
            name=name,
            mac=(read_text(f"{self._class}/{name}/address") or "").lower(),
            is_up=bool(int(flags, 16) & _IFF_UP),
            promiscuous=bool(int(flags, 16) & _IFF_PROMISC),
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


def connection_addresses(procfs: Path = Path("/proc"), others: Path | None = None) -> tuple[str, ...]:
    """Both ends of the ssh connection that we run under, the peer's and our own; empty if there is none.

    Tools that change the user drop SSH_CONNECTION, so our ancestors' environments are read as well. Where no ancestor
    is a server of ssh, what they have may be of an earlier connection (tmux), or gone (run0 and machinectl start us
    from the init system). Then each connection of a process in `others` may be ours, too.
    """
    ancestors = list(_ancestors(procfs))
    texts = [os.environ.get("SSH_CONNECTION") or next((text for _name, text in ancestors if text), "")]
    names = [name for name, _text in ancestors]
    if not any(name.startswith(_SSH_SERVERS) for name in names):
        texts += _of_processes(procfs if others is None else others)
    texts += [name for name in names if name in _OTHER_SERVERS]
    return tuple(end for text in dict.fromkeys(filter(None, texts)) for end in _both_ends(text))


def _ancestors(procfs: Path) -> Iterator[tuple[str, str]]:
    """Yield us and the processes above us: the name of each, and its SSH_CONNECTION."""
    pid = os.getpid()
    while pid > 1:
        process = procfs / str(pid)
        yield read_text(process / "comm") or "", _ssh_connection(process)
        parent = (read_text(process / "stat") or "").rpartition(")")[2].split()[1:2]
        pid = int(parent[0]) if parent else 0


def _of_processes(procfs: Path) -> list[str]:
    found = (_ssh_connection(procfs / name) for name in list_names(procfs) if name.isdecimal())
    return sorted({text for text in found if text})


def _ssh_connection(process: Path) -> str:
    environment = (read_text(process / "environ") or "").split("\0")
    return next((entry[15:] for entry in environment if entry.startswith("SSH_CONNECTION=")), "")


def _both_ends(text: str) -> tuple[str, str]:
    """Return the addresses of a connection; what cannot be read is kept as it is, as an address that leads nowhere."""
    words = text.split()
    return (words[0], words[2]) if len(words) == 4 else (text, text)


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


def _tables(rules: list[dict[str, Any]], source: str) -> set[str]:
    """Routing tables that rules may lead us to: not those of a VRF, of what is forwarded, of other sources."""
    own = _address(source)
    found = set()
    for rule in rules:
        network = _network(f"{rule.get('src')}/{rule['srclen']}" if "srclen" in rule else str(rule.get("src")))
        of_others = network is not None and own is not None and own not in network and "not" not in rule
        if "l3mdev" not in rule and rule.get("iif", "lo") == "lo" and not of_others:
            found.add(str(rule.get("table")))
    return found


def _networks(routes: list[_Route], own: _Addresses, directory: Path) -> dict[str, tuple[str, ...]]:
    """Find the networks in which each interface has an address.

    Of IPv4 these are also the networks reached without a gateway, which is how the kernel enters an address. Of IPv6
    they are those of all addresses but the ones that every interface gives itself.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for name, addresses in own.items():
        found[name] += [str(address.network) for address in addresses if address.version == 4]
    for route in routes:
        if route.direct and route.network.version == 4 and route.network.prefixlen:
            found[route.interface].append(str(route.network))
    for name, address, scope in _ipv6_addresses(directory):
        if name != "lo" and scope != _IPV6_LINK_ONLY:
            found[name].append(address)
    return {name: tuple(dict.fromkeys(networks)) for name, networks in found.items() if networks}


def _ipv6_addresses(directory: Path) -> list[tuple[str, str, int]]:
    """Each address with its interface and its scope."""
    lines = (read_text(directory / "if_inet6") or "").splitlines()
    found = [words for line in lines if len(words := line.split()) == 6]
    return [(words[5], str(ipaddress.IPv6Address(bytes.fromhex(words[0]))), int(words[3], 16)) for words in found]


def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _is_of_all(network: _Network) -> bool:
    return any(network.version == 6 and network.network_address in one for one in _IPV6_OF_ALL)


def _interfaces_to(address: _Address, routes: list[_Route]) -> set[str]:
    """Interfaces of the longest prefixes that hold the address."""
    fitting = [route for route in routes if route.network.version == address.version and address in route.network]
    longest = max((route.network.prefixlen for route in fitting), default=0)
    return {route.interface for route in fitting if route.network.prefixlen == longest}
