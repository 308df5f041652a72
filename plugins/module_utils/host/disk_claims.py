# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who claims a disk beyond its holders in sysfs: mounts, swap, pools of ZFS and btrfs, guests, the next boot."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ..model.usage import GuestDisk
from . import command
from .device_files import list_names, read_text
from .kernel_paths import DeviceNames, beside

_OCTAL = re.compile(r"\\([0-7]{3})")
_HEX_NUMBER = re.compile(r"([0-9a-fA-F]+):([0-9a-fA-F]+)")
_BY_TAG = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}
#: What the firmware or the boot loader reads; often mounted only when it is looked at.
_BOOT = ("/boot", "/boot/efi", "/efi")
_ZPOOL_SECONDS = 20.0


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
                for one in _unescape(source).split(":"):
                    claims.say(names.of(one), sentence)


def _say_guests(claims: Claims, names: DeviceNames, guests: Iterable[GuestDisk], sysfs_root: Path) -> None:
    """The toolstack's word, and blkback's own for what that does not know: it holds a disk until it is let go."""
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
    """A mount names one member only; the kernel lists all of those file systems that are mounted."""
    for uuid in list_names(directory):
        members = list_names(directory / uuid / "devices")
        label = read_text(directory / uuid / "label") or uuid
        for member in members:
            if not claims.mounts_on(member):
                claims.say(member, f"is a member of btrfs file system {label}, which is mounted")


def _say_zfs(claims: Claims, names: DeviceNames, pools: Path, udev: Path) -> None:
    """ZFS holds its disks without a word in sysfs: its tool knows them, spares and caches included.

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


def _say_fstab(claims: Claims, names: DeviceNames, file: Path) -> None:
    """What the host's next start needs: where a mount of fstab fails, systemd stops in emergency mode."""
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
