# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that decide over the next boot (modprobe.d, GRUB's defaults, our systemd unit), and what is rebuilt from them.

Only files that carry our mark are ever written or deleted.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..model.boot_facts import (
    INITRAMFS_HOOK,
    MARK,
    OWN_FILES,
    UNIT,
    UNIT_COMMAND,
    BootFacts,
    HideSetting,
    InitramfsTool,
    PcibackKind,
    Stage,
)
from ..values.address import AddressError, Sbdf
from ..values.errors import HostError
from . import command, run_lock
from .modprobe_files import ModprobeFile, modprobe_files
from .whole_file import write_whole

_PCIBACK = "xen_pciback"
_ON_COMMAND_LINE = re.compile(r"\bxen[-_]pciback\.hide=([^\s\"'}]*)")
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

    def facts(self, pciback: PcibackKind) -> BootFacts:
        """All that is known about the next boot, but for the modules that devices need."""
        contents = {path: self._read(path) for path in OWN_FILES}
        images = self._images()
        return BootFacts(
            pciback=pciback,
            hide=tuple(self._hide(pciback)),
            unit_devices=self._unit_devices(contents[UNIT] or ""),
            files=contents,
            taken=frozenset(path for path, text in contents.items() if text is not None and not _is_ours(text)),
            stale=self._stale(images),
            has_initramfs=bool(images),
            initramfs_tool=next((tool for tool in InitramfsTool if shutil.which(tool.value)), None),
            has_grub=(self._root / "etc/default/grub").exists() and shutil.which("update-grub") is not None,
            has_systemd=(self._root / "run/systemd/system").is_dir(),
        )

    def _hide(self, pciback: PcibackKind) -> Iterator[HideSetting]:
        """Yield settings in the order in which pciback gets them: modprobe adds the kernel's command line last."""
        if pciback is not PcibackKind.BUILT_IN:
            for file in self._modprobe_files():
                for words in file.lines:
                    yield from (HideSetting(f"/{file.path}", text, _is_ours(file.text)) for text in _hide_of(words))
        yield from self._command_line()

    def _modprobe_files(self) -> Iterator[ModprobeFile]:
        try:
            yield from modprobe_files(self._root)
        except OSError as error:
            raise BootConfigError(f"{error.filename} cannot be read ({error.strerror}); run as root on dom0") from error

    def _command_line(self) -> Iterator[HideSetting]:
        """Yield the next boot's, as the boot loader's defaults say; today's where there is no such thing."""
        defaults = ["etc/default/grub"]
        defaults += [
            f"etc/default/grub.d/{file.name}" for file in sorted((self._root / "etc/default/grub.d").glob("*.cfg"))
        ]
        texts = {path: text for path in defaults if (text := self._read(path)) is not None}
        texts = texts or {"proc/cmdline": self._read("proc/cmdline") or ""}
        for path, text in texts.items():
            lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
            for match in _ON_COMMAND_LINE.finditer(lines):
                yield HideSetting(f"/{path}", match[1], _is_ours(text))

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
            if stage is not None and _is_ours(self._read(path) or ""):
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


def _is_ours(text: str) -> bool:
    return MARK in text.splitlines()[:2]


def _hide_of(words: Sequence[str]) -> Iterator[str]:
    """Values of hide= in one line of modprobe.d."""
    if len(words) > 2 and words[0] == "options" and words[1].replace("-", "_") == _PCIBACK:
        yield from (word.partition("=")[2] for word in words[2:] if word.startswith("hide="))


def _mtime(file: Path) -> float:
    return file.stat().st_mtime
