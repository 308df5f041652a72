# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what Ansible has packed of a module from one run of Ansible to the next.

Ansible packs a module with all code that it imports into one file, and keeps that for other tasks in a directory
that goes with the run (_find_module_utils in lib/ansible/executor/module_common.py). Packing takes as long as all the
rest of a run that changes nothing (docs/performance.md). So the file is put into that directory beforehand, if the same
files were packed by an earlier run. Where Ansible keeps it in another way, nothing is found, and it packs as always.

A package is code that runs as the user who runs Ansible, so it is kept where only that user can write.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import ansible.module_utils
from ansible import constants
from ansible.release import __version__ as ansible_version

_COLLECTION = Path(__file__).resolve().parents[2]
_DIRECTORY = "xen-pci-packed"
#: Packages of a module that are kept: for some checkouts and versions of Ansible.
_KEPT = 4


class KeptPackages:
    """The packages of one module of this collection, by its name without the collection's."""

    def __init__(self, module: str) -> None:
        self._name = f"ansible_collections.xen.pci.plugins.modules.{module}"
        temporary = Path(constants.DEFAULT_LOCAL_TMP)
        self._of_the_run = temporary / "ansiballz_cache"
        self._of_module = temporary.parent / _DIRECTORY / module
        # In a run on many hosts, all but the first find what was brought or packed for that one, and look no further.
        self._there = any(self._packed())

    @cached_property
    def _kept(self) -> Path:
        return self._of_module / _fingerprint(_COLLECTION / "plugins/modules" / f"{self._of_module.name}.py")

    def bring(self) -> None:
        """Put what was kept to where Ansible looks for it. What cannot be read counts as not there."""
        if self._there:
            return
        with suppress(OSError):
            for file in self._safe_files():
                target = self._of_the_run / file.name
                if not target.exists():
                    self._of_the_run.mkdir(parents=True, exist_ok=True)
                    _copy(file, target)

    def keep(self) -> None:
        """Keep what Ansible has packed. Where it cannot be written, nothing is kept."""
        if self._there:
            return
        with suppress(OSError):
            new = [file for file in self._packed() if not (self._kept / file.name).exists()]
            if not new:
                return
            for directory in (self._of_module.parent, self._of_module, self._kept):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for file in new:
                if _is_safe(self._of_module.parent) and _is_safe(self._kept):
                    _copy(file, self._kept / file.name)
            self._drop_old()

    def _packed(self) -> Iterator[Path]:
        """Find the module's packages of this run; Ansible writes one under another name first, and renames it."""
        for file in self._of_the_run.glob(f"{self._name}-*"):
            if not file.name.endswith(("-part", ".lock")):
                yield file

    def _safe_files(self) -> Iterator[Path]:
        directories = (self._of_module.parent, self._of_module, self._kept)
        if self._kept.is_dir() and all(map(_is_safe, directories)):
            yield from (file for file in self._kept.iterdir() if file.name.startswith(self._name) and _is_safe(file))

    def _drop_old(self) -> None:
        packages = sorted(self._of_module.iterdir(), key=lambda directory: directory.stat().st_mtime, reverse=True)
        for directory in packages[_KEPT:]:
            shutil.rmtree(directory, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """Copy so that a part of the file is never seen."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, beside)
    beside.chmod(0o600)
    beside.replace(target)


def _is_safe(path: Path) -> bool:
    """Whether only this user can have written it."""
    found = path.lstat()
    return found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode) and not found.st_mode & 0o022


def _fingerprint(module: Path) -> str:
    """Return what differs whenever another package would be made: versions, and each file that could be packed."""
    trees = (_COLLECTION / "plugins/module_utils", Path(ansible.module_utils.__file__).parent)
    files = [_seen(module), *(seen for tree in trees for seen in _files_of(tree))]
    content = json.dumps([ansible_version, sys.version, str(_COLLECTION), files])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _files_of(tree: Path) -> list[tuple[str, int, int]]:
    return sorted(_seen(Path(directory, name)) for directory, _names, names in os.walk(tree) for name in names)


def _seen(file: Path) -> tuple[str, int, int]:
    found = file.stat()
    return str(file), found.st_size, found.st_mtime_ns
