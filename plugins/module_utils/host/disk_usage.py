# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who on the host uses a disk, followed upwards from the PCI function below it to mounts, swap, pools and guests.

Partitions, dm (LVM, multipath, encryption) and md are in sysfs; what claims a disk without a word there is in
`disk_claims.py`. What to make of it is decided elsewhere.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ..model.device import BlockUse
from ..model.usage import GuestDisk
from ..values.address import Sbdf
from .device_files import link_target, list_names, read_text
from .disk_claims import claims_on_disks
from .kernel_paths import DeviceNames, beside, pci_function_of

_DM_KINDS = {"LVM": "LVM volume", "CRYPT": "encrypted volume", "mpath": "multipath device", "part": "partition map"}


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
            # A hidden disk is one path to a namespace, and nobody can open it.
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
        """With native NVMe multipath a disk hangs below its subsystem, and stands on all controllers of it."""
        found: dict[str, set[Sbdf | None]] = {}
        subsystems = self._root / "class" / "nvme-subsystem"
        for subsystem in list_names(subsystems):
            members = list_names(subsystems / subsystem)
            controllers = [name for name in members if re.fullmatch(r"nvme\d+", name)]
            functions = {pci_function_of(os.path.realpath(subsystems / subsystem / name)) for name in controllers}
            found.update({name: functions for name in members if re.fullmatch(r"nvme\d+n\d+", name)})
        return found
