# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host will do with its devices at its next boot, as its files and tools show it; as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from ..values.address import Sbdf
from ..values.hide_list import Hidden, HideError, parse_hide
from .boot_line import HideSetting


class PcibackKind(Enum):
    """How the kernel has pciback, which decides how pciback learns at boot which devices to take."""

    BUILT_IN = "built in"
    MODULE = "module"
    ABSENT = "absent"


class InitramfsTool(Enum):
    """The tool that rebuilds the initramfs on this host."""

    INITRAMFS_TOOLS = "update-initramfs"
    DRACUT = "dracut"


class Stage(Enum):
    """What is made from configuration files and must be rebuilt after they have changed."""

    INITRAMFS = "initramfs"
    GRUB = "grub"


#: The line that makes a file ours, its first or second.
MARK = "# Managed by the Ansible collection xen.pci: changes are lost with its next run."
MODPROBE = "etc/modprobe.d/xen-pci.conf"
MODULES_LOAD = "etc/modules-load.d/xen-pci.conf"
INITRAMFS_HOOK = "etc/initramfs-tools/hooks/xen-pci"
DRACUT = "etc/dracut.conf.d/xen-pci.conf"
#: Read after the others, Xen's own (xen.cfg) among them.
GRUB = "etc/default/grub.d/zz-xen-pci.cfg"
UNIT = "etc/systemd/system/xen-pci-assignable.service"
UNIT_WANTED = "etc/systemd/system/multi-user.target.d/xen-pci.conf"
#: Each of our files by its path from the root, and what is made from it.
OWN_FILES: Mapping[str, Stage | None] = {
    MODPROBE: Stage.INITRAMFS,
    MODULES_LOAD: None,
    INITRAMFS_HOOK: Stage.INITRAMFS,
    DRACUT: Stage.INITRAMFS,
    GRUB: Stage.GRUB,
    UNIT: None,
    UNIT_WANTED: None,
}
#: The command in our unit, before each device.
UNIT_COMMAND = "/usr/sbin/xl pci-assignable-add"


@dataclass(frozen=True)
class DriverModule:
    """A kernel module that drives a device, by its name with underscores.

    `unwanted`: it is configured not to be loaded for a device (`blacklist` in modprobe.d).
    """

    name: str
    built_in: bool = False
    unwanted: bool = False


class Kept(Enum):
    """Whether pciback holds a device after a reboot."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Doubt:
    """Why it is not known what pciback will read. `text` is the `hide=` that it may read, None if it may be any."""

    reason: str
    text: str | None = None


@dataclass(frozen=True)
class PossibleHides:
    """What pciback may read of `hide=`: most likely `hide`, else one of the alternatives; or, with doubts, more."""

    hide: tuple[HideSetting, ...] = ()
    alternatives: tuple[tuple[HideSetting, ...], ...] = ()
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True)
class BootFacts:
    """Everything that decides who has which device after a reboot."""

    # ---- what is set

    #: How the kernel has pciback.
    pciback: PcibackKind
    #: All settings of `hide=`, in the order in which pciback reads them: only the last one counts.
    hide: tuple[HideSetting, ...] = ()
    #: What it may read instead, where it is not certain by which files the host boots.
    alternatives: tuple[tuple[HideSetting, ...], ...] = ()
    #: Why it may read something else that is not known.
    doubts: tuple[Doubt, ...] = ()
    #: What it will read once GRUB's configuration is rebuilt; None where that is not how the host boots.
    rebuilt: PossibleHides | None = None
    #: What is wrong with the files of the boot loader, a sentence each.
    remarks: tuple[str, ...] = ()
    #: Devices that are on pciback's list though a driver of the host has them, with that driver.
    lost: Mapping[Sbdf, str] = field(default_factory=dict)
    #: Devices that a file of others may give to pciback while the host boots, with the file.
    others: Mapping[Sbdf, str] = field(default_factory=dict)
    #: Devices that our systemd unit gives to pciback.
    unit_devices: frozenset[Sbdf] = frozenset()
    #: Text of each of our files by its path from the root, None if it is not there.
    files: Mapping[str, str | None] = field(default_factory=dict)
    #: Those of our paths at which there is a file that is not ours.
    taken: frozenset[str] = frozenset()
    #: What is older than the files that it is made from, because a run ended in between.
    stale: frozenset[Stage] = frozenset()

    # ---- what the host boots with

    #: Kernel modules that would drive each device at boot, empty if none is known.
    modules: Mapping[Sbdf, tuple[DriverModule, ...]] = field(default_factory=dict)
    #: Whether the kernel's modules say which devices they are for; otherwise an empty entry above says nothing.
    modules_known: bool = False
    #: The host boots with an initramfs.
    has_initramfs: bool = False
    #: What rebuilds the initramfs, None if unknown.
    initramfs_tool: InitramfsTool | None = None
    #: By which boot loaders the host boots, or may boot; empty if its files do not show that.
    loaders: tuple[str, ...] = ()
    #: It boots with GRUB, whose configuration can be rebuilt.
    has_grub: bool = False
    #: systemd starts its services.
    has_systemd: bool = False

    def held(self, devices: Iterable[Sbdf]) -> frozenset[Sbdf]:
        """Find those of the devices that pciback will hold after a reboot, as far as that is certain."""
        return frozenset(sbdf for sbdf in devices if self.kept(sbdf) is Kept.YES)

    def kept(self, sbdf: Sbdf) -> Kept:
        """Derive whether pciback will hold a device after a reboot."""
        if sbdf in self.unit_devices:
            return Kept.YES
        if self.why_unknown(sbdf):
            return Kept.UNKNOWN
        return Kept.YES if covers(self.hide, sbdf) else Kept.NO

    def why_unknown(self, sbdf: Sbdf) -> str:
        """Say why it is not known whether pciback will hold a device after a reboot; empty if it is."""
        main = covers(self.hide, sbdf)
        for doubt in self.doubts:
            if doubt.text is None or main or covers((HideSetting("", doubt.text),), sbdf):
                return doubt.reason
        for other in self.alternatives:
            if covers(other, sbdf) != main:
                yes, no = (self.hide, other) if main else (other, self.hide)
                last = " and ".join(dict.fromkeys(setting.source for setting in yes))
                against = " and ".join(dict.fromkeys(setting.source for setting in no)) or "another file"
                return f"hide= in {last} names it, and {against}, by which the host may boot as well, does not"
        if sbdf in self.others and not main:
            return f"{self.others[sbdf]} names it beside pciback, and may give it to pciback while the host boots"
        if main and sbdf in self.lost:
            return (
                f"hide= in {self.hide[-1].source} names it, but at this boot {self.lost[sbdf]} has it, though it is on"
                " pciback's list: its driver may have been first"
            )
        return ""

    @property
    def once_rebuilt(self) -> BootFacts:
        """Return the facts as they will be once GRUB's configuration is made from its defaults again."""
        if self.rebuilt is None:
            return self
        now = self.rebuilt
        return replace(self, hide=now.hide, alternatives=now.alternatives, doubts=now.doubts, rebuilt=None)

    @property
    def declared_by_us(self) -> frozenset[Sbdf]:
        """Devices that our own files keep with pciback."""
        found = set(self.unit_devices)
        for setting in self.once_rebuilt.hide:
            if setting.ours:
                found |= {
                    Sbdf(entry.segment, entry.bus, entry.slot, entry.function)
                    for entry in hidden_by(setting.text)
                    if entry.slot is not None and entry.function is not None
                }
        return frozenset(found)

    @property
    def complaints(self) -> list[str]:
        """A sentence for each thing that is wrong with the settings that the next boot will read."""
        found = list(self.remarks)
        replacing = [setting for setting in self.hide if not setting.adds]
        for setting in replacing[-1:]:
            try:
                parse_hide(setting.text)
            except HideError as error:
                found.append(
                    f"pciback will not load at the next boot: hide= in {setting.source} is invalid ({error})."
                    " Correct it there."
                )
        if len(replacing) > 1:
            lost = ", ".join(setting.source for setting in replacing[:-1])
            found.append(f"hide= in {lost} has no effect: {replacing[-1].source} overrides it. Remove all but one.")
        if self.rebuilt is not None and _texts(self.rebuilt.hide) != _texts(self.hide):
            found.append(
                "GRUB's configuration does not have the hide= that its defaults say, and the next boot goes by the"
                " configuration. Run update-grub."
            )
        found += [f"What pciback does at the next boot is not certain: {doubt.reason}." for doubt in self.doubts]
        return found


def is_ours(text: str) -> bool:
    """Whether a file of this text is one of this collection: its first or second line says so."""
    return MARK in text.splitlines()[:2]


def hidden_by(text: str) -> tuple[Hidden, ...]:
    """Find what pciback takes by a setting of `hide=`; nothing if it does not understand the text."""
    try:
        return parse_hide(text)
    except HideError:
        return ()


def covers(settings: Iterable[HideSetting], sbdf: Sbdf) -> bool:
    """Whether pciback takes a device by these settings: by the last `hide=`, or by what is added to it."""
    settings = list(settings)
    counting = [setting for setting in settings if not setting.adds][-1:]
    counting += [setting for setting in settings if setting.adds]
    return any(entry.covers(sbdf) for setting in counting for entry in hidden_by(setting.text))


def _texts(settings: Iterable[HideSetting]) -> list[str]:
    return [setting.text for setting in settings]
