# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the files by which devices stay with pciback over a reboot.

* pciback is built into the kernel: its `hide=` is put on the kernel's command line; it starts before all drivers.
* pciback is a module: `hide=` is put in modprobe.d, and each driver's module waits for pciback; the initramfs gets
  both, because drivers are loaded there already.
* Neither works, because the driver is built in or the tools are unknown: a systemd unit takes the device from its
  driver before guests start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from ..model.boot_facts import (
    DRACUT,
    GRUB,
    INITRAMFS_HOOK,
    MARK,
    MODPROBE,
    MODULES_LOAD,
    OWN_FILES,
    UNIT,
    UNIT_COMMAND,
    UNIT_WANTED,
    BootFacts,
    InitramfsTool,
    Kept,
    PcibackKind,
    Stage,
    covers,
)
from ..model.boot_line import HideSetting
from ..values.address import Sbdf
from ..values.hide_list import HideError, format_hide
from ..values.refusal import Refusal
from ..values.words import listed


@dataclass(frozen=True)
class BootPlan:
    """Files to write (None to delete them) and stages to rebuild, or the refusals that forbid all of it."""

    files: Mapping[str, str | None]
    stages: tuple[Stage, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.files or self.stages)

    @property
    def actions(self) -> list[str]:
        """The steps of the plan, in words."""
        written = [f"{'write' if text is not None else 'delete'} /{path}" for path, text in sorted(self.files.items())]
        return written + [f"rebuild the {stage.value} configuration" for stage in self.stages]


class Holding(Enum):
    """When pciback holds a device."""

    NEITHER = "neither"
    NOW = "now"
    AFTER_REBOOT = "after_reboot"
    BOTH = "both"
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, now: bool, after_reboot: bool, unknown: bool = False) -> Holding:
        """Return the member for a device that pciback holds now or not, and after a reboot or not, if that is known."""
        if unknown:
            return cls.UNKNOWN
        if now:
            return cls.BOTH if after_reboot else cls.NOW
        return cls.AFTER_REBOOT if after_reboot else cls.NEITHER


@dataclass(frozen=True)
class Persistence:
    """What a run wants of the next boot.

    `devices` are those asked for, `released` those that go back to the host. With `persistent` None, what is set for a
    device that stays with pciback is left as it is. With `exclusive`, no other device may stay.
    """

    devices: frozenset[Sbdf]
    released: frozenset[Sbdf] = frozenset()
    persistent: bool | None = None
    exclusive: bool = False
    #: Those of the released devices that `hide=` names by mistake, which must not keep them from their release.
    mistaken: frozenset[Sbdf] = frozenset()
    #: Devices that may stay although they are not asked for.
    left_alone: frozenset[Sbdf] = frozenset()

    def wanted(self, declared: frozenset[Sbdf]) -> frozenset[Sbdf]:
        """Derive which devices our files are to keep, given those that they keep now."""
        kept = declared & (self.devices | self.left_alone) if self.exclusive else declared
        if self.persistent is True:
            kept |= self.devices
        elif self.persistent is False:
            kept -= self.devices
        return kept - self.released

    def expected(self, boot: BootFacts, devices: Iterable[Sbdf], stages: Collection[Stage] = ()) -> frozenset[Sbdf]:
        """Derive which of the devices pciback will hold after a reboot, once the plan with these stages is done."""
        declared = boot.declared_by_us
        wanted = self.wanted(declared)
        asked = frozenset(devices)
        after = boot.once_rebuilt if Stage.GRUB in stages else boot
        return after.held(asked) - (declared - wanted) | wanted & asked

    def unknown(self, boot: BootFacts, devices: Iterable[Sbdf], stages: Collection[Stage] = ()) -> dict[Sbdf, str]:
        """Find the devices of which it will not be known whether pciback holds them after a reboot, and why."""
        after = boot.once_rebuilt if Stage.GRUB in stages else boot
        expected = self.expected(boot, devices, stages)
        reasons = ((sbdf, after.why_unknown(sbdf)) for sbdf in devices if sbdf not in expected)
        return {sbdf: reason for sbdf, reason in reasons if reason}

    def plan(self, boot: BootFacts) -> BootPlan:
        """Plan the files for it."""
        unwanted = self.released | (self.devices if self.persistent is False else frozenset())
        return plan_boot(boot, self.wanted(boot.declared_by_us), unwanted, self.mistaken)


def plan_boot(
    boot: BootFacts,
    wanted: Collection[Sbdf],
    unwanted: Collection[Sbdf] = (),
    mistaken: Collection[Sbdf] = (),
) -> BootPlan:
    """Plan that our files keep the wanted devices with pciback over a reboot, and nothing else.

    `unwanted` are devices that must not stay. The plan is refused if a setting that is not ours keeps them, or may. It
    only warns of those that are `mistaken`.
    """
    base = boot.once_rebuilt if boot.has_grub else boot
    foreign = _without_ours(base)
    kept_by_them = {sbdf: source for sbdf in sorted(unwanted) if (source := _kept_by(foreign, sbdf))}
    warnings = [
        f"pciback takes {sbdf} again at the next boot, because {source} names it. Remove it there."
        for sbdf, source in kept_by_them.items()
        if sbdf in mistaken
    ]
    warnings += [
        f"Whether pciback takes {sbdf} again at the next boot is not known: {foreign.why_unknown(sbdf)}."
        for sbdf in sorted(unwanted)
        if foreign.kept(sbdf) is Kept.UNKNOWN and sbdf not in kept_by_them
    ]
    missing = sorted(sbdf for sbdf in set(wanted) if foreign.kept(sbdf) is not Kept.YES or sbdf in boot.unit_devices)
    by_hide, by_unit, refusals = _split(base, missing, foreign)
    for source in dict.fromkeys(kept_by_them.values()):
        kept = [sbdf for sbdf, by in kept_by_them.items() if by == source and sbdf not in mistaken]
        if kept:
            reason = (
                f"{listed(kept)} would be with pciback again after a reboot: {source}, which xen.pci does not manage,"
                " names it"
            )
            refusals.append(Refusal("foreign-hide", listed(kept), reason, "remove it there first"))
    theirs = [setting for setting in foreign.hide if not setting.adds]
    if theirs and by_hide:
        reason = (
            f"{listed(by_hide)} cannot be kept over a reboot: {theirs[-1].source} sets hide= already, and pciback uses"
            " only one setting"
        )
        advice = "add the devices there, or remove that setting and declare its devices in this task"
        refusals.append(Refusal("foreign-hide", listed(by_hide), reason, advice))
    try:
        files = _files(boot, by_hide, by_unit)
    except HideError as error:
        reason = f"The devices cannot be kept over a reboot: hide= would be invalid ({error})"
        refusals.append(Refusal("hide-too-long", "hide", reason, "keep fewer devices"))
        files = {}
    files = {
        path: text
        for path, text in files.items()
        if text != boot.files.get(path) and (text is not None or path not in boot.taken)
    }
    refusals += [
        Refusal("foreign-file", f"/{path}", f"/{path} exists and xen.pci does not manage it", "move it away first")
        for path in sorted(boot.taken & set(files))
    ]
    if refusals:
        return BootPlan({}, (), tuple(refusals))
    touched = {OWN_FILES[path] for path in files} | boot.stale
    if any(boot.kept(sbdf) is not base.kept(sbdf) for sbdf in (*wanted, *unwanted)):
        touched.add(Stage.GRUB)  # its defaults say what is wanted, and its configuration does not yet
    possible = (Stage.INITRAMFS, boot.has_initramfs), (Stage.GRUB, boot.has_grub)
    stages = tuple(stage for stage, there in possible if there and stage in touched)
    return BootPlan(files, stages, warnings=tuple(warnings))


def _without_ours(boot: BootFacts) -> BootFacts:
    """Return the facts as they would be without any file of ours."""
    alternatives = tuple(tuple(setting for setting in other if not setting.ours) for other in boot.alternatives)
    hide = tuple(setting for setting in boot.hide if not setting.ours)
    return replace(boot, hide=hide, alternatives=alternatives, unit_devices=frozenset())


def _kept_by(foreign: BootFacts, sbdf: Sbdf) -> str:
    """Name the file that is not ours by which pciback takes a device, or may; empty if there is none."""
    for settings in (foreign.hide, *foreign.alternatives):
        if covers(settings, sbdf):
            return next(f"hide= in {setting.source}" for setting in reversed(settings) if covers((setting,), sbdf))
    doubts = (
        doubt for doubt in foreign.doubts if doubt.text is not None and covers((HideSetting("", doubt.text),), sbdf)
    )
    return next((doubt.reason.partition(" ")[0] for doubt in doubts), foreign.others.get(sbdf, ""))


def _split(boot: BootFacts, wanted: list[Sbdf], foreign: BootFacts) -> tuple[list[Sbdf], list[Sbdf], list[Refusal]]:
    """Divide the devices: kept by `hide=`, kept by the unit, and refusals of those that can be kept by neither.

    A device goes to the unit also where it is not certain that pciback reads a `hide=`, or that it comes first; and it
    stays there, since what showed that is over once pciback has the device.
    """
    if not wanted:
        return [], [], []
    if boot.pciback is PcibackKind.ABSENT:
        reason = "This kernel has no pciback, so no device can be kept over a reboot"
        return [], [], [Refusal("no-pciback", "pciback", reason, "install a kernel that has it")]
    alone = replace(foreign, others={})  # what others do after the kernel has started does not make hide= uncertain
    uncertain = {sbdf: why for sbdf in wanted if (why := alone.why_unknown(sbdf) or _why_not_read(foreign))}
    lost = {sbdf: f"its driver {boot.lost[sbdf]} was first at this boot" for sbdf in wanted if sbdf in boot.lost}
    uncertain.update(lost)
    possible = [sbdf for sbdf in wanted if sbdf not in uncertain and sbdf not in boot.unit_devices]
    if boot.pciback is PcibackKind.BUILT_IN:
        hideable = possible if boot.has_grub else []
    elif boot.has_initramfs and boot.initramfs_tool is None:
        hideable = []
    else:
        hideable = [sbdf for sbdf in possible if not any(module.built_in for module in boot.modules.get(sbdf, ()))]
    rest = [sbdf for sbdf in wanted if sbdf not in hideable]
    if not rest or boot.has_systemd:
        return hideable, rest, []
    reason = (
        f"{listed(rest)} cannot be kept over a reboot: this host loads other drivers before pciback, and it has no"
        " tool to change that (grub.d, initramfs-tools or dracut) and no systemd"
    )
    why = next((uncertain[sbdf] for sbdf in rest if sbdf in uncertain), "")
    if why:
        reason = f"{listed(rest)} cannot be kept over a reboot for certain: {why}, and this host has no systemd"
    return [], [], [Refusal("not-persistent", listed(rest), reason, "remove persistent")]


def _why_not_read(foreign: BootFacts) -> str:
    """Say why it is not certain that pciback reads a `hide=` of ours; empty if it is."""
    if foreign.doubts:
        return foreign.doubts[0].reason
    if len(foreign.loaders) > 1 and foreign.pciback is PcibackKind.BUILT_IN:
        return f"the host may boot by {' or by '.join(foreign.loaders)}"
    sources = [setting.source for other in foreign.alternatives for setting in other]
    return f"the host may boot by {sources[0]} as well" if sources else ""


def _files(boot: BootFacts, by_hide: list[Sbdf], by_unit: list[Sbdf]) -> dict[str, str | None]:
    files: dict[str, str | None] = dict.fromkeys(OWN_FILES)
    if by_unit:
        files[UNIT], files[UNIT_WANTED] = _unit(by_unit), _text("[Unit]", f"Wants={UNIT.rpartition('/')[2]}")
    if not by_hide:
        return files
    hide = format_hide(by_hide)
    if boot.pciback is PcibackKind.BUILT_IN:
        files[GRUB] = _grub(hide)
        return files
    files[MODPROBE] = _modprobe(boot, by_hide, hide)
    files[MODULES_LOAD] = _text("xen-pciback")
    if boot.has_initramfs and boot.initramfs_tool is InitramfsTool.INITRAMFS_TOOLS:
        files[INITRAMFS_HOOK] = _hook()
    elif boot.has_initramfs:
        # dracut takes /etc/modprobe.d only into images that are made for this host alone (its module kernel-modules).
        files[DRACUT] = _text('add_drivers+=" xen-pciback "', f'install_items+=" /{MODPROBE} "')
    return files


def _modprobe(boot: BootFacts, devices: list[Sbdf], hide: str) -> str:
    waiting = {module.name for sbdf in devices for module in boot.modules.get(sbdf, ())}
    if any(sbdf not in boot.modules for sbdf in devices):
        # Not plugged in, or a virtual function that does not exist yet: what our file says of it stays.
        before = (boot.files.get(MODPROBE) or "").splitlines()
        waiting |= {line.split()[1] for line in before if line.startswith("softdep ")}
    return _text(f"options xen-pciback hide={hide}", *(f"softdep {name} pre: xen-pciback" for name in sorted(waiting)))


def _grub(hide: str) -> str:
    """Write our file for GRUB; entries for Xen use the second variable if it is set (GRUB's 20_linux_xen)."""
    first, second, option = "GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_XEN_REPLACE", f"xen-pciback.hide={hide}"
    return _text(f'{first}="${first} {option}"', f'{second}="${{{second}:+${second} {option}}}"')


def _unit(devices: list[Sbdf]) -> str:
    return _text(
        "[Unit]",
        "Description=Give PCI devices to Xen's pciback",
        "Documentation=man:xl(1)",
        "ConditionPathExists=/proc/xen/capabilities",
        "After=xenstored.service xen-init-dom0.service xencommons.service xen.service",
        "Before=xendomains.service libvirtd.service libxl-guests.service",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        "ExecStartPre=-/sbin/modprobe xen-pciback",
        *(f"ExecStart=-{UNIT_COMMAND} {sbdf}" for sbdf in devices),
    )


def _hook() -> str:
    return "\n".join(
        (
            "#!/bin/sh",
            MARK,
            'if [ "$1" = prereqs ]; then exit 0; fi',
            ". /usr/share/initramfs-tools/hook-functions",
            "manual_add_modules xen-pciback",
            "",
        )
    )


def _text(*lines: str) -> str:
    return "\n".join((MARK, *lines, ""))
