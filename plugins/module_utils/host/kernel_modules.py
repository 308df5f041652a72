# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the running kernel: what drives a device, what is built in, and loading.

What is read is depmod's: modules.alias, modules.dep, modules.builtin, modules.builtin.modinfo.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ..model.boot_facts import DriverModule, PcibackKind
from ..values.address import Sbdf
from . import command
from .kernel_files import read_text
from .modprobe_files import not_loaded

PCIBACK = "xen_pciback"
#: A driver may begin to drive its devices while it is loaded.
_MODPROBE_SECONDS = 120.0


class KernelModules:
    """The modules of kernel `release` (as `uname -r` has it) below `root`, and `sysfs` for what it has loaded."""

    def __init__(self, root: Path, sysfs: Path, release: str = "") -> None:
        self._sysfs = sysfs
        self._root = root
        self._directory = root / "lib" / "modules" / (release or os.uname().release)
        if not self._directory.is_dir():  # a root with a kernel of its own says in procfs which it is
            own = read_text(root / "proc" / "sys" / "kernel" / "osrelease")
            self._directory = self._directory.with_name(own or self._directory.name)

    def pciback(self) -> PcibackKind:
        """How this kernel has pciback; sysfs is asked where depmod's files are missing."""
        if PCIBACK in map(_name_of, self._lines("modules.builtin")):
            return PcibackKind.BUILT_IN
        if PCIBACK in (_name_of(line.partition(":")[0]) for line in self._lines("modules.dep")):
            return PcibackKind.MODULE
        loaded = self._sysfs / "module" / PCIBACK
        if not loaded.exists():
            return PcibackKind.ABSENT
        # Only what was loaded has a state.
        return PcibackKind.MODULE if (loaded / "initstate").exists() else PcibackKind.BUILT_IN

    def drivers_of(self, modaliases: Iterable[tuple[Sbdf, str]]) -> dict[Sbdf, tuple[DriverModule, ...]]:
        """For each device, by its modalias, the modules that the kernel would have drive it."""
        aliases, unwanted = list(self._aliases()), not_loaded(self._root)
        found = {}
        for sbdf, modalias in modaliases:
            # The beginning first: there are some ten thousand patterns, and each would be compiled.
            fitting = {
                replace(module, unwanted=not module.built_in and module.name in unwanted)
                for pattern, module in aliases
                if modalias.startswith(pattern.partition("*")[0]) and fnmatch.fnmatchcase(modalias, pattern)
            }
            found[sbdf] = tuple(sorted(fitting, key=lambda module: module.name))
        return found

    def drivers_known(self) -> bool:
        """Whether depmod has said which devices the modules of this kernel are for."""
        return bool(self._text("modules.alias") or self._text("modules.builtin.modinfo"))

    def load(self, module: str) -> str:
        """Load a module and all it needs; what modprobe said if it is missing or refuses, else empty."""
        try:
            done = command.run(["modprobe", module], _MODPROBE_SECONDS)
        except OSError as error:
            return f"modprobe: {error.strerror}"
        return "" if done.status == 0 else done.last_words or f"modprobe failed with status {done.status}"

    def _aliases(self) -> Iterator[tuple[str, DriverModule]]:
        """Patterns for PCI devices, each with the module that takes them."""
        for line in self._lines("modules.alias"):
            words = line.split()
            if len(words) == 3 and words[1].startswith("pci:"):
                yield words[1], DriverModule(words[2].replace("-", "_"))
        for entry in self._text("modules.builtin.modinfo").split("\0"):
            name, _dot, rest = entry.partition(".")
            key, _equals, pattern = rest.partition("=")
            if key == "alias" and pattern.startswith("pci:"):
                yield pattern, DriverModule(name.replace("-", "_"), built_in=True)

    def _lines(self, name: str) -> list[str]:
        return self._text(name).splitlines()

    def _text(self, name: str) -> str:
        try:
            return (self._directory / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def _name_of(path: str) -> str:
    """`kernel/drivers/xen/xen-pciback/xen-pciback.ko.xz` is the module xen_pciback."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")
