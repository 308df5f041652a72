# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host will do with its devices at its next boot, as its files and tools show it; as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ..values.address import Sbdf
from ..values.hide_list import Hidden, HideError, parse_hide


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
class HideSetting:
    """One place that sets pciback's `hide=`; `ours` says whether it is a file of this collection."""

    source: str
    text: str
    ours: bool = False


@dataclass(frozen=True)
class DriverModule:
    """A kernel module that drives a device, by its name with underscores.

    `unwanted`: it is configured not to be loaded for a device (`blacklist` in modprobe.d).
    """

    name: str
    built_in: bool = False
    unwanted: bool = False


@dataclass(frozen=True)
class BootFacts:
    """Everything that decides who has which device after a reboot."""

    # ---- what is set

    #: How the kernel has pciback.
    pciback: PcibackKind
    #: All settings of `hide=`, in the order in which pciback reads them: only the last one counts.
    hide: tuple[HideSetting, ...] = ()
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
    #: It boots with GRUB, whose configuration can be rebuilt.
    has_grub: bool = False
    #: systemd starts its services.
    has_systemd: bool = False

    def held(self, devices: Iterable[Sbdf]) -> frozenset[Sbdf]:
        """Find those of the devices that pciback will hold after a reboot."""
        # pciback uses only the last setting, and of that what it understands.
        entries = hidden_by(self.hide[-1].text) if self.hide else ()
        return frozenset(
            sbdf for sbdf in devices if sbdf in self.unit_devices or any(entry.covers(sbdf) for entry in entries)
        )

    @property
    def declared_by_us(self) -> frozenset[Sbdf]:
        """Devices that our own files keep with pciback."""
        found = set(self.unit_devices)
        for setting in self.hide:
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
        found = []
        for setting in self.hide[-1:]:
            try:
                parse_hide(setting.text)
            except HideError as error:
                found.append(
                    f"pciback will not load at the next boot: hide= in {setting.source} is invalid ({error})."
                    " Correct it there."
                )
        if len(self.hide) > 1:
            lost = ", ".join(setting.source for setting in self.hide[:-1])
            found.append(f"hide= in {lost} has no effect: {self.hide[-1].source} overrides it. Remove all but one.")
        return found


def hidden_by(text: str) -> tuple[Hidden, ...]:
    """Find what pciback takes by a setting of `hide=`; nothing if it does not understand the text."""
    try:
        return parse_hide(text)
    except HideError:
        return ()
