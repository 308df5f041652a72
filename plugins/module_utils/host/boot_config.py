# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that decide over the next boot (modprobe.d, GRUB's defaults, our systemd unit), and what is rebuilt from them.

Only files that carry our mark are ever written or deleted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..model.boot_facts import (
    INITRAMFS_HOOK,
    MARK,
    OWN_FILES,
    UNIT,
    UNIT_COMMAND,
    BootFacts,
    Doubt,
    InitramfsTool,
    PcibackKind,
    PossibleHides,
    Stage,
    is_ours,
)
from ..model.boot_line import BootLine, HideSetting
from ..model.device import PCIBACK, PciDevice
from ..values.address import AddressError, Sbdf
from ..values.errors import HostError
from . import command, run_lock
from .command_lines import CommandLines
from .modprobe_files import ModprobeFile, modprobe_files
from .other_takers import other_takers
from .whole_file import write_whole

_PCIBACK = "xen_pciback"
_IMAGES = ("initrd.img-{}", "initramfs-{}.img", "initrd-{}")
_EMPTY = {INITRAMFS_HOOK: f"#!/bin/sh\n{MARK}\n"}
_REBUILD = {
    InitramfsTool.INITRAMFS_TOOLS: ("update-initramfs", "-u", "-k", "all"),
    InitramfsTool.DRACUT: ("dracut", "--force", "--regenerate-all"),
}


class BootConfigError(HostError):
    """A file could not be written or a rebuild failed; nothing of the attempt is left but what the text names."""


class BootConfig:
    """The boot configuration below `root`, of kernel `release` (as `uname -r` has it)."""

    def __init__(self, root: Path = Path("/"), release: str = "") -> None:
        self._root = root
        self._release = release or os.uname().release

    # ---- what is there

    def facts(self, pciback: PcibackKind, devices: Mapping[Sbdf, PciDevice] | None = None) -> BootFacts:
        """All that is known about the next boot, but for the modules that devices need; `devices` are the host's."""
        devices = devices or {}
        contents = {path: self._read(path) for path in OWN_FILES}
        images = self._images()
        lines = CommandLines.read(self._root)
        configured = () if pciback is PcibackKind.BUILT_IN else tuple(self._configured())
        now = _possible(configured, lines.now, devices)
        doubts = (*now.doubts, *self._refuted(configured, lines, images))
        return BootFacts(
            pciback=pciback,
            hide=now.hide,
            alternatives=now.alternatives,
            doubts=doubts,
            rebuilt=_possible(configured, lines.rebuilt, devices) if lines.rebuilt is not None else None,
            remarks=lines.remarks,
            lost=_lost_to_drivers(devices),
            others=other_takers(self._root, OWN_FILES),
            unit_devices=self._unit_devices(contents[UNIT] or ""),
            files=contents,
            taken=frozenset(path for path, text in contents.items() if text is not None and not is_ours(text)),
            stale=self._stale(images),
            has_initramfs=bool(images),
            initramfs_tool=next((tool for tool in InitramfsTool if shutil.which(tool.value)), None),
            loaders=lines.loaders,
            has_grub=lines.rebuilt is not None and shutil.which("update-grub") is not None,
            has_systemd=(self._root / "run/systemd/system").is_dir(),
        )

    def _configured(self) -> Iterator[HideSetting]:
        """Yield settings of modprobe's files, in its order; it adds those of the command line last."""
        for file in self._modprobe_files():
            for words in file.lines:
                yield from (HideSetting(f"/{file.path}", text, is_ours(file.text)) for text in _hide_of(words))

    def _refuted(
        self, configured: Sequence[HideSetting], lines: CommandLines, images: Sequence[Path]
    ) -> Iterator[Doubt]:
        """Yield a doubt if pciback was loaded with another `hide=` at this boot, though nothing has changed since."""
        got = self._read("sys/module/xen_pciback/parameters/hide")
        sources = [self._root / setting.source.lstrip("/") for setting in configured]
        if got is None or not sources or lines.began is None or lines.this_boot is None:
            return
        if any(_mtime(file) >= lines.began for file in (*sources, *images)):
            return
        read = [*configured, *(setting for setting in lines.this_boot.settings if not setting.adds)]
        had = got.strip().replace("(null)", "")
        if had != read[-1].text:
            yield Doubt(f"pciback has hide={had} at this boot, and not what {read[-1].source} says", had)

    def _modprobe_files(self) -> Iterator[ModprobeFile]:
        try:
            yield from modprobe_files(self._root)
        except OSError as error:
            raise BootConfigError(f"{error.filename} cannot be read ({error.strerror}); run as root on dom0") from error

    def _unit_devices(self, text: str) -> frozenset[Sbdf]:
        found = set()
        for line in text.splitlines():
            _before, command, address = line.partition(f"{UNIT_COMMAND} ")
            if command:
                with contextlib.suppress(AddressError):
                    found.add(Sbdf.parse(address.strip()))
        return frozenset(found)

    def _images(self) -> list[Path]:
        files = (self._root / "boot" / name.format(self._release) for name in _IMAGES)
        return [file for file in files if file.exists()]

    def _stale(self, images: Sequence[Path]) -> frozenset[Stage]:
        results = {Stage.INITRAMFS: images, Stage.GRUB: [self._root / "boot/grub/grub.cfg"]}
        stale = set()
        for path, stage in OWN_FILES.items():
            if stage is not None and is_ours(self._read(path) or ""):
                written = _mtime(self._root / path)
                made = [_mtime(file) for file in results[stage] if file.exists()]
                if made and written > min(made):
                    stale.add(stage)
        return frozenset(stale)

    def _read(self, path: str) -> str | None:
        try:
            return (self._root / path).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise BootConfigError(f"/{path} cannot be read ({error.strerror}); run as root on dom0") from error

    # ---- what changes something

    def apply(self, files: Mapping[str, str | None], stages: Sequence[Stage]) -> None:
        """Write the files, rebuild what depends on them, then drop those that are to go.

        A file to delete is emptied first and deleted at the end: a run that is cut short leaves one that is
        newer than what was to be rebuilt from it, and the next run sees that. Raises BootConfigError, all undone.
        """
        before: dict[str, str | None] = {}
        try:
            for path, text in files.items():
                old = self._read(path)
                self._write(path, _EMPTY.get(path, f"{MARK}\n") if text is None else text)
                before[path] = old
            for stage in stages:
                self._rebuild(stage)
            for path in [path for path, text in files.items() if text is None]:
                self._delete(path)
        except (OSError, BootConfigError) as error:
            left = self._restore(before)
            state = f", and not everything is as before ({'; '.join(left)})" if left else " and is as before"
            raise BootConfigError(
                f"the boot configuration could not be changed{state}: {error}; correct that and run again"
            ) from error

    def _restore(self, before: Mapping[str, str | None]) -> list[str]:
        """Put back what was there; a sentence for each file that cannot be: the disk may be full for this, too."""
        left = []
        for path, text in before.items():
            try:
                if text is None:
                    self._delete(path)
                else:
                    self._write(path, text)
            except OSError as error:
                left.append(f"/{path}: {error.strerror}")
        return left

    def _write(self, path: str, text: str) -> None:
        write_whole(self._root / path, text, 0o755 if path == INITRAMFS_HOOK else 0o644)

    def _delete(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._root / path)

    def _rebuild(self, stage: Stage) -> None:
        tool = next((tool for tool in InitramfsTool if shutil.which(tool.value)), None)
        words: Sequence[str] = ("update-grub",)
        if stage is Stage.INITRAMFS:
            if tool is None:
                raise BootConfigError("neither update-initramfs nor dracut was found to rebuild the initramfs")
            words = _REBUILD[tool]
        done = command.run(words, keep=run_lock.held())
        if done.status:
            raise BootConfigError(f"{' '.join(words)} failed with status {done.status}: {done.last_words}")


def _possible(
    configured: tuple[HideSetting, ...], lines: Sequence[BootLine], devices: Mapping[Sbdf, PciDevice]
) -> PossibleHides:
    """Put together what pciback may read: what modprobe is configured to, then each command line that there may be."""
    known = [tuple(_with_classes(setting, devices) for setting in line.settings) for line in lines if not line.unknown]
    found = list(dict.fromkeys((*configured, *settings) for settings in known)) or [configured]
    doubts = [Doubt(line.unknown, line.settings[-1].text if line.settings else None) for line in lines if line.unknown]
    return PossibleHides(found[0], tuple(found[1:]), tuple(dict.fromkeys(doubts)))


def _with_classes(setting: HideSetting, devices: Mapping[Sbdf, PciDevice]) -> HideSetting:
    """Name the devices that a setting takes by their class."""
    fitting = [sbdf for sbdf, device in devices.items() if device.class_code.startswith(setting.classes)]
    text = "".join(f"({sbdf})" for sbdf in fitting if sbdf.has_xen_number)
    return replace(setting, text=setting.text + text) if setting.classes else setting


def _lost_to_drivers(devices: Mapping[Sbdf, PciDevice]) -> dict[Sbdf, str]:
    """Find devices that are on pciback's list though a driver of the host has them: it may have been first."""
    listed = ((sbdf, device.driver) for sbdf, device in devices.items() if device.pciback_slots)
    return {sbdf: driver for sbdf, driver in listed if driver is not None and driver != PCIBACK}


def _hide_of(words: Sequence[str]) -> Iterator[str]:
    """Values of hide= in one line of modprobe.d."""
    if len(words) > 2 and words[0] == "options" and words[1].replace("-", "_") == _PCIBACK:
        yield from (word.partition("=")[2] for word in words[2:] if word.startswith("hide="))


def _mtime(file: Path) -> float:
    return file.stat().st_mtime
