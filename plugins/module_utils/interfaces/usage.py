# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who on the host uses a disk or a network interface, followed upwards to the PCI function below it.

Disks through partitions, dm, md, LVM and guests' disks to mounts and swap; network interfaces through
bonds, bridges and VLANs to routes; consoles of the kernel. What to make of it is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Union

from ..model.host import BlockUse, NetInterface
from ..model.usage import NetworkUse
from ..values.address import AddressError, Sbdf

_IFF_UP = 0x1
_RTF_UP, _RTF_GATEWAY, _RTF_REJECT = 0x1, 0x2, 0x200
_IPV6_LINK_ONLY = 0x20
_DM_KINDS = {"LVM": "LVM volume", "CRYPT": "encrypted volume", "mpath": "multipath device", "part": "partition map"}
_OCTAL = re.compile(r"\\([0-7]{3})")
_Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


def procfs_beside(sysfs_root: Path) -> Path:
    """The procfs of the same host: /proc beside /sys, and the same where a host's root is mounted elsewhere."""
    return sysfs_root.parent / "proc"


def pci_function_of(path: str) -> Sbdf | None:
    """The PCI function nearest to a kernel device, from its path below /sys/devices."""
    for part in reversed(path.split("/")):
        if part[-2:-1] == "." and part.count(":") == 2:
            with contextlib.suppress(AddressError):
                return Sbdf.parse(part)
    return None


def consoles(sysfs_root: Path) -> dict[Sbdf, list[str]]:
    """What of the host's console stands on which function: framebuffers, and terminals that the kernel writes to."""
    found: dict[Sbdf, list[str]] = defaultdict(list)
    terminals = (_text(sysfs_root / "class" / "tty" / "console" / "active") or "").split()
    candidates = [("graphics", name, "framebuffer") for name in sorted(_names(sysfs_root / "class" / "graphics"))]
    for group, name, what in candidates + [("tty", name, "console") for name in terminals]:
        if re.fullmatch(r"(fb|tty)\w+", name):
            function = pci_function_of(os.path.realpath(sysfs_root / "class" / group / name / "device"))
            if function is not None:
                found[function].append(f"{what} {name}")
    return dict(found)


class BlockGraph:
    """The block devices of a host and what stands on each."""

    def __init__(self, sysfs_root: Path) -> None:
        self._root = sysfs_root
        self._class = sysfs_root / "class" / "block"
        proc = procfs_beside(sysfs_root)
        self._mounts = _mounts(proc / "self" / "mountinfo")
        self._swaps = _swaps(proc / "swaps")
        self._guests = self._disks_of_guests()
        self._zfs_pools = frozenset(_names(proc / "spl" / "kstat" / "zfs"))

    def by_device(self) -> dict[Sbdf, list[BlockUse]]:
        """Whole disks with all their uses, by the function they stand on."""
        found: dict[Sbdf, list[BlockUse]] = defaultdict(list)
        multipath = self._namespaces_of_subsystems()
        for name in sorted(_names(self._class)):
            path = os.path.realpath(self._class / name)
            # A hidden disk is one path to a namespace, and nobody can open it.
            if os.path.exists(os.path.join(path, "partition")) or _text(self._class / name / "hidden") == "1":
                continue
            functions = multipath.get(name) or {pci_function_of(path)}
            for function in functions - {None}:
                if function is not None:
                    found[function].append(BlockUse(name, tuple(self._uses(name))))
        return dict(found)

    def _uses(self, disk: str) -> list[str]:
        """Sentences on what uses the disk or one of its partitions, the end of every chain named."""
        directory = Path(os.path.realpath(self._class / disk))
        partitions = [name for name in sorted(_names(directory)) if (directory / name / "partition").exists()]
        return [f"{name} {use}" for name in (disk, *partitions) for use in self._uses_of_node(name, frozenset())]

    def _uses_of_node(self, name: str, seen: frozenset[str]) -> list[str]:
        uses = self._direct_uses(name)
        for holder in sorted(_names(self._class / name / "holders")):
            if holder in seen:
                continue
            above = self._uses_of_node(holder, seen | {name})
            held = f"is held by {self._describe(holder)}"
            uses += [f"{held}, which {use}" for use in above] or [held]
        return uses

    def _direct_uses(self, name: str) -> list[str]:
        number = _text(self._class / name / "dev") or ""
        mapped = _text(self._class / name / "dm" / "name")
        sources = {f"/dev/{name}"} | ({f"/dev/mapper/{mapped}"} if mapped else set())
        uses = [
            f"is mounted on {mount.point}"
            for mount in self._mounts
            if mount.number == number or mount.source in sources
        ]
        uses += ["is in use as swap"] if sources & self._swaps else []
        return uses + self._guests.get(number, []) + self._zfs_use(number)

    def _zfs_use(self, number: str) -> list[str]:
        """ZFS holds its disks without a word in sysfs; udev has read whose they are, the module which it uses."""
        if not self._zfs_pools:
            return []
        lines = (_text(self._root.parent / "run" / "udev" / "data" / f"b{number}") or "").splitlines()
        facts = dict(line[2:].split("=", 1) for line in lines if line.startswith("E:") and "=" in line)
        pool = facts.get("ID_FS_LABEL", "") if facts.get("ID_FS_TYPE") == "zfs_member" else ""
        return [f"is a member of ZFS pool {pool}, which is imported"] if pool in self._zfs_pools else []

    def _describe(self, name: str) -> str:
        mapped = _text(self._class / name / "dm" / "name")
        if mapped:
            uuid = _text(self._class / name / "dm" / "uuid") or ""
            kind = next((text for start, text in _DM_KINDS.items() if uuid.startswith(start)), "device-mapper device")
            return f"{name} ({kind} {mapped})"
        if (self._class / name / "md").is_dir():
            return f"{name} (RAID array)"
        return name

    def _disks_of_guests(self) -> dict[str, list[str]]:
        """blkback names the disk that it serves as MAJOR:MINOR in hexadecimal."""
        found: dict[str, list[str]] = defaultdict(list)
        backends = self._root / "bus" / "xen-backend" / "devices"
        for name in sorted(_names(backends)):
            match = re.fullmatch(r"vbd-(\d+)-\d+", name)
            number = re.fullmatch(r"([0-9a-f]+):([0-9a-f]+)", _text(backends / name / "physical_device") or "")
            if match and number:
                found[f"{int(number[1], 16)}:{int(number[2], 16)}"].append(f"is a disk of domain {match[1]}")
        return dict(found)

    def _namespaces_of_subsystems(self) -> dict[str, set[Sbdf | None]]:
        """With native NVMe multipath a disk hangs below its subsystem, and stands on all controllers of it."""
        found: dict[str, set[Sbdf | None]] = {}
        subsystems = self._root / "class" / "nvme-subsystem"
        for subsystem in _names(subsystems):
            members = _names(subsystems / subsystem)
            controllers = [name for name in members if re.fullmatch(r"nvme\d+", name)]
            functions = {pci_function_of(os.path.realpath(subsystems / subsystem / name)) for name in controllers}
            found.update({name: functions for name in members if re.fullmatch(r"nvme\d+n\d+", name)})
        return found


class NetGraph:
    """The network interfaces of a host, what stands on each, and the routes through them."""

    def __init__(self, sysfs_root: Path) -> None:
        self._class = sysfs_root / "class" / "net"
        self._proc = procfs_beside(sysfs_root)

    def by_device(self) -> dict[Sbdf, list[NetInterface]]:
        """Interfaces by the function they stand on; virtual ones stand on none."""
        found: dict[Sbdf, list[NetInterface]] = defaultdict(list)
        for name in sorted(_names(self._class)):
            function = pci_function_of(os.path.realpath(self._class / name))
            if function is not None:
                found[function].append(self._interface(name))
        return dict(found)

    def use(self, connection: Iterable[str]) -> NetworkUse:
        """Which interfaces carry a default route, and which lead to or own the addresses of a connection."""
        routes = _routes(self._proc / "net")
        return NetworkUse(
            default_route=frozenset(route.interface for route in routes if route.network.prefixlen == 0),
            connection=frozenset(name for address in connection for name in _interfaces_to(address, routes)),
            networks=_networks(routes, self._proc / "net"),
        )

    def _interface(self, name: str) -> NetInterface:
        flags = _text(self._class / name / "flags") or "0"
        return NetInterface(
            name=name,
            mac=(_text(self._class / name / "address") or "").lower(),
            is_up=bool(int(flags, 16) & _IFF_UP),
            upper=tuple(self._above(name, frozenset())),
        )

    def _above(self, name: str, seen: frozenset[str]) -> list[str]:
        direct = sorted(entry[len("upper_") :] for entry in _names(self._class / name) if entry.startswith("upper_"))
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


class _Mount(NamedTuple):
    number: str
    point: str
    source: str


class _Route(NamedTuple):
    network: _Network
    interface: str
    direct: bool = False


def _mounts(file: Path) -> list[_Mount]:
    found = []
    for line in (_text(file) or "").splitlines():
        words = line.split(" ")
        if len(words) > 6 and "-" in words[6:]:
            source = words[words.index("-", 6) + 2 :][:1]
            found.append(_Mount(words[2], _unescape(words[4]), _unescape(source[0]) if source else ""))
    return found


def _swaps(file: Path) -> frozenset[str]:
    lines = (_text(file) or "").splitlines()[1:]
    return frozenset(_unescape(line.split()[0]) for line in lines if line.split())


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _routes(directory: Path) -> list[_Route]:
    """Both address families; the kernel writes IPv4 as numbers of the machine's own byte order."""
    found = []
    for line in (_text(directory / "route") or "").splitlines()[1:]:
        words = line.split()
        if len(words) >= 8 and int(words[3], 16) & _RTF_UP and not int(words[3], 16) & _RTF_REJECT:
            target, mask = (ipaddress.IPv4Address(bytes.fromhex(words[at])[::-1]) for at in (1, 7))
            network = ipaddress.IPv4Network(f"{target}/{mask}", strict=False)
            found.append(_Route(network, words[0], not int(words[3], 16) & _RTF_GATEWAY))
    for line in (_text(directory / "ipv6_route") or "").splitlines():
        words = line.split()
        if len(words) == 10 and words[9] != "lo" and not int(words[8], 16) & _RTF_REJECT:
            network6 = ipaddress.IPv6Network((bytes.fromhex(words[0]), int(words[1], 16)), strict=False)
            found.append(_Route(network6, words[9]))
    return found


def _networks(routes: list[_Route], directory: Path) -> dict[str, tuple[str, ...]]:
    """Networks that interfaces have an address in: of IPv4 those reached without a gateway, which is how the kernel
    enters an address; of IPv6 those of all addresses but the ones that every interface gives itself."""
    found: dict[str, list[str]] = defaultdict(list)
    for route in routes:
        if route.direct and route.network.version == 4 and route.network.prefixlen:
            found[route.interface].append(str(route.network))
    for line in (_text(directory / "if_inet6") or "").splitlines():
        words = line.split()
        if len(words) == 6 and words[5] != "lo" and int(words[3], 16) != _IPV6_LINK_ONLY:
            found[words[5]].append(str(ipaddress.IPv6Address(bytes.fromhex(words[0]))))
    return {name: tuple(dict.fromkeys(networks)) for name, networks in found.items()}


def _interfaces_to(address: str, routes: list[_Route]) -> set[str]:
    """Interfaces of the longest prefixes that hold the address; for one of our own its link's prefix."""
    try:
        wanted = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return set()
    if isinstance(wanted, ipaddress.IPv6Address) and wanted.ipv4_mapped:
        wanted = wanted.ipv4_mapped
    fitting = [route for route in routes if route.network.version == wanted.version and wanted in route.network]
    longest = max((route.network.prefixlen for route in fitting), default=0)
    return {route.interface for route in fitting if route.network.prefixlen == longest}


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
