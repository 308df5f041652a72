# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which block devices of the host stand on a PCI function, and what uses each.

Uses are followed upward through partitions and holders in sysfs (LVM, device-mapper, RAID), to what claims a disk:
mounts, swap, pools of ZFS and btrfs, guests, the next boot. What to make of it is decided elsewhere.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..model.device import BlockUse
from ..model.usage import GuestDisk
from ..values.address import Sbdf
from . import command
from .kernel_files import beside, link_target, list_names, pci_function_of, read_text

_DM_KINDS = {"LVM": "LVM volume", "CRYPT": "encrypted volume", "mpath": "multipath device", "part": "partition map"}
_OCTAL = re.compile(r"\\([0-7]{3})")
_HEX_NUMBER = re.compile(r"([0-9a-fA-F]+):([0-9a-fA-F]+)")
_BY_TAG = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}
#: What the firmware or the boot loader reads; often mounted only when it is looked at.
_BOOT = ("/boot", "/boot/efi", "/efi")
_ZPOOL_SECONDS = 20.0


class BlockGraph:
    """The block devices of a host and what stands on each."""

    def __init__(self, sysfs_root: Path, guests: Iterable[GuestDisk] = ()) -> None:
        self._root = sysfs_root
        self._class = sysfs_root / "class" / "block"
        names = list_names(self._class)
        mapped = {text: name for name in names if (text := read_text(self._class / name / "dm" / "name"))}
        self._mapped = {name: text for text, name in mapped.items()}
        devices = DeviceNames(beside(sysfs_root, "dev"), mapped)
        self._loops = self._loops_over_disks(names, devices)
        self._claims = claims_on_disks(sysfs_root, devices, guests)

    def by_device(self) -> dict[Sbdf, list[BlockUse]]:
        """Whole disks with all their uses, by the function they stand on."""
        found: dict[Sbdf, list[BlockUse]] = defaultdict(list)
        multipath = self._namespaces_of_subsystems()
        for name in sorted(list_names(self._class)):
            path = link_target(f"{self._class}/{name}")
            # A hidden disk is one path to a namespace, and cannot be opened.
            if os.path.exists(os.path.join(path, "partition")) or read_text(self._class / name / "hidden") == "1":
                continue
            functions = multipath.get(name) or {pci_function_of(path)}
            for function in functions - {None}:
                if function is not None:
                    found[function].append(BlockUse(name, tuple(self._uses(name))))
        return dict(found)

    def _uses(self, disk: str) -> list[str]:
        """Sentences on what uses the disk or one of its partitions, the end of every chain named."""
        directory = Path(link_target(f"{self._class}/{disk}"))
        partitions = [name for name in sorted(list_names(directory)) if (directory / name / "partition").exists()]
        return [f"{name} {use}" for name in (disk, *partitions) for use in self._uses_of_node(name, frozenset())]

    def _uses_of_node(self, name: str, seen: frozenset[str]) -> list[str]:
        uses = self._claims.on(name, read_text(self._class / name / "dev") or "")
        for holder in sorted([*list_names(self._class / name / "holders"), *self._loops.get(name, ())]):
            if holder in seen:
                continue
            above = self._uses_of_node(holder, seen | {name})
            held = f"is held by {self._describe(holder)}"
            uses += [f"{held}, which {use}" for use in above] or [held]
        return uses

    def _describe(self, name: str) -> str:
        mapped = self._mapped.get(name)
        if mapped:
            uuid = read_text(self._class / name / "dm" / "uuid") or ""
            kind = next((text for start, text in _DM_KINDS.items() if uuid.startswith(start)), "device-mapper device")
            return f"{name} ({kind} {mapped})"
        if (self._class / name / "md").is_dir():
            return f"{name} (RAID array)"
        return name

    def _loops_over_disks(self, names: Iterable[str], devices: DeviceNames) -> dict[str, list[str]]:
        """Loop devices whose file is a block device; the kernel does not list them among its holders."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in names:
            file = read_text(self._class / name / "loop" / "backing_file") if name.startswith("loop") else None
            found[devices.of(file or "")].append(name)
        return dict(found)

    def _namespaces_of_subsystems(self) -> dict[str, set[Sbdf | None]]:
        """Functions of disks with native NVMe multipath: each is below its subsystem, and on all controllers of it."""
        found: dict[str, set[Sbdf | None]] = {}
        subsystems = self._root / "class" / "nvme-subsystem"
        for subsystem in list_names(subsystems):
            members = list_names(subsystems / subsystem)
            controllers = [name for name in members if re.fullmatch(r"nvme\d+", name)]
            functions = {pci_function_of(os.path.realpath(subsystems / subsystem / name)) for name in controllers}
            found.update({name: functions for name in members if re.fullmatch(r"nvme\d+n\d+", name)})
        return found


class DeviceNames:
    """Kernel names of block devices by the paths in /dev that people and programs use.

    `mapped` are kernel names by those of device-mapper.
    """

    def __init__(self, directory: Path, mapped: Mapping[str, str]) -> None:
        self._directory, self._mapped = os.path.realpath(directory), mapped

    def of(self, path: str) -> str:
        """Return the name, links followed; empty if the path is not one of /dev."""
        if not path.startswith("/dev/"):
            return ""
        real = os.path.realpath(f"{self._directory}/{path[5:]}")
        name = real[len(self._directory) + 1 :] if real.startswith(f"{self._directory}/") else os.path.basename(real)
        if name.startswith("mapper/"):
            return self._mapped.get(name[7:], "")
        return name.replace("/", "!")  # as sysfs writes it, for example cciss!c0d0


class Claims:
    """Sentences on block devices, said of a kernel name or of a number MAJOR:MINOR."""

    def __init__(self) -> None:
        self._said: dict[str, list[str]] = defaultdict(list)

    def say(self, device: str, sentence: str) -> None:
        """Nothing is said of a device without a name or number."""
        if device:
            self._said[device].append(sentence)

    def on(self, name: str, number: str) -> list[str]:
        """All that was said of the device, each sentence once."""
        return list(dict.fromkeys([*self._said.get(number, ()), *self._said.get(name, ())]))

    def mounts_on(self, name: str) -> bool:
        return any(sentence.startswith("is mounted on ") for sentence in self._said.get(name, ()))


def claims_on_disks(sysfs_root: Path, names: DeviceNames, guests: Iterable[GuestDisk]) -> Claims:
    """All claims of the host."""
    claims = Claims()
    proc = beside(sysfs_root, "proc")
    _say_mounts(claims, names, proc / "self" / "mountinfo")
    for line in (read_text(proc / "swaps") or "").splitlines()[1:]:
        for path in line.split()[:1]:
            claims.say(names.of(_unescape(path)), "is in use as swap")
    _say_guests(claims, names, guests, sysfs_root)
    _say_btrfs(claims, sysfs_root / "fs" / "btrfs")
    _say_zfs(claims, names, proc / "spl" / "kstat" / "zfs", beside(sysfs_root, "run") / "udev" / "data")
    _say_targets(claims, names, sysfs_root / "kernel" / "config")
    _say_fstab(claims, names, beside(sysfs_root, "etc") / "fstab")
    return claims


def _say_mounts(claims: Claims, names: DeviceNames, file: Path) -> None:
    for line in (read_text(file) or "").splitlines():
        words = line.split(" ")
        if len(words) > 6 and "-" in words[6:]:
            sentence = f"is mounted on {_unescape(words[4])}"
            claims.say(words[2], sentence)
            # btrfs and bcachefs have a number of their own; bcachefs names all members, with colons between.
            for source in words[words.index("-", 6) + 2 :][:1]:
                for member in _unescape(source).split(":"):
                    claims.say(names.of(member), sentence)


def _say_guests(claims: Claims, names: DeviceNames, guests: Iterable[GuestDisk], sysfs_root: Path) -> None:
    """Disks of guests as the toolstack has them, and those that only blkback knows: it holds a disk to the end."""
    known = set()
    for disk in guests:
        number = _number(disk.number)
        device = number or names.of((disk.source or "").partition(":")[2] or disk.source or "")
        known.add((disk.domid, number))
        claims.say(device, f"is {disk.words}")
    backends = sysfs_root / "bus" / "xen-backend" / "devices"
    for name in sorted(list_names(backends)):
        match = re.fullmatch(r"vbd-(\d+)-\d+", name)
        number = _number(read_text(backends / name / "physical_device")) if match else ""
        if match and number and (int(match[1]), number) not in known:
            claims.say(number, f"is a disk of domain {match[1]}")


def _say_btrfs(claims: Claims, directory: Path) -> None:
    """Members of mounted btrfs file systems: a mount names one only, the kernel lists all."""
    for uuid in list_names(directory):
        members = list_names(directory / uuid / "devices")
        label = read_text(directory / uuid / "label") or uuid
        for member in members:
            if not claims.mounts_on(member):
                claims.say(member, f"is a member of btrfs file system {label}, which is mounted")


def _say_zfs(claims: Claims, names: DeviceNames, pools: Path, udev: Path) -> None:
    """Members of ZFS pools, which sysfs does not show: its tool knows them, spares and caches included.

    Where that does not answer, udev has read whose they are, and the module which pools it uses.
    """
    imported = {name for name in list_names(pools) if (pools / name).is_dir()}
    if not imported:
        return
    for pool, path in _zpool_members():
        claims.say(names.of(path), f"is a member of ZFS pool {pool}, which is imported")
    for file in list_names(udev):
        if file.startswith("b"):
            lines = (read_text(udev / file) or "").splitlines()
            facts = dict(line[2:].split("=", 1) for line in lines if line.startswith("E:") and "=" in line)
            pool = facts.get("ID_FS_LABEL", "")
            if facts.get("ID_FS_TYPE") == "zfs_member" and pool in imported:
                claims.say(file[1:], f"is a member of ZFS pool {pool}, which is imported")


def _zpool_members() -> list[tuple[str, str]]:
    try:
        done = command.run(["zpool", "status", "-L", "-P"], _ZPOOL_SECONDS)
    except OSError:
        return []
    found, pool = [], ""
    for line in done.output.splitlines():
        words = line.split()
        if words[:1] == ["pool:"]:
            pool = " ".join(words[1:])
        elif words and words[0].startswith("/dev/"):
            found.append((pool, words[0]))
    return found


def _say_targets(claims: Claims, names: DeviceNames, config: Path) -> None:
    """Disks that the host serves over a network or a bus: targets of LIO (iSCSI and others) and of NVMe."""
    lio = config / "target" / "core"
    files = {
        lio / adapter / disk / "udev_path": f"is served by the target {disk}"
        for adapter in list_names(lio)
        for disk in list_names(lio / adapter)
    }
    nvme = config / "nvmet" / "subsystems"
    for subsystem in list_names(nvme):
        for space in list_names(nvme / subsystem / "namespaces"):
            files[nvme / subsystem / "namespaces" / space / "device_path"] = f"is served by the NVMe target {subsystem}"
    for file, sentence in sorted(files.items()):
        claims.say(names.of(read_text(file) or ""), sentence)


def _say_fstab(claims: Claims, names: DeviceNames, file: Path) -> None:
    """Disks that the next boot needs: where a mount of fstab fails, systemd stops in emergency mode."""
    for line in (read_text(file) or "").splitlines():
        words = line.split()
        if len(words) < 4 or words[0].startswith("#") or words[2] == "swap":
            continue
        device, point = _tagged(names, _unescape(words[0])), _unescape(words[1])
        optional = {"noauto", "nofail"} & set(words[3].split(",")) and point not in _BOOT
        if not optional and not claims.mounts_on(device):
            claims.say(device, f"is listed in /etc/fstab for {point}, so the host needs it when it boots")


def _tagged(names: DeviceNames, source: str) -> str:
    tag, equals, value = source.partition("=")
    if equals and tag in _BY_TAG:
        return names.of(f"/dev/disk/{_BY_TAG[tag]}/" + value.strip('"'))
    return names.of(source)


def _number(text: str | None) -> str:
    """blkback and the toolstack write MAJOR:MINOR in hexadecimal; the rest of the kernel in decimal."""
    match = _HEX_NUMBER.fullmatch(text or "")
    return f"{int(match[1], 16)}:{int(match[2], 16)}" if match else ""


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
