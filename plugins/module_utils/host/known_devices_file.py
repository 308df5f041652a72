# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What devices told of themselves, kept over a reboot in /var/lib/xen.pci/devices.json.

The file is a memory, not a declaration: it may be lost, and one that is not as we write it counts as lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from ..model.device import PciDevice
from ..model.host import Host
from ..model.known_devices import KnownDevice, recall, worth_knowing
from ..model.notes import Note
from ..values.address import Sbdf
from .kernel_paths import beside
from .whole_file import write_whole

_FORMAT = 1
_OPTIONAL = ("serial", "nvme_serial")


def read_known_devices(sysfs_root: Path) -> list[KnownDevice]:
    """All that is remembered on the host with this sysfs."""
    try:
        content = json.loads(_file(sysfs_root).read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            return []
        return [_known(one) for one in content["devices"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def write_known_devices(sysfs_root: Path, known: Sequence[KnownDevice]) -> None:
    """Remember these and no others; a file that says so already is left alone. Raises OSError."""
    if known != read_known_devices(sysfs_root):
        content = {"format": _FORMAT, "devices": [asdict(one) for one in known]}
        write_whole(_file(sysfs_root), json.dumps(content, indent=1) + "\n", 0o600)


def _file(sysfs_root: Path) -> Path:
    return beside(sysfs_root, "var") / "lib" / "xen.pci" / "devices.json"


def _known(entry: dict[str, Any]) -> KnownDevice:
    """One entry, with all its fields of their types. Raises TypeError or KeyError."""
    values: dict[str, Any] = {field.name: entry[field.name] for field in fields(KnownDevice)}
    for name, value in values.items():
        wanted = {"function": int, "macs": list}.get(name, str)
        if not (isinstance(value, wanted) or (value is None and name in _OPTIONAL)):
            raise TypeError(name)
    if not all(isinstance(mac, str) for mac in values["macs"]):
        raise TypeError("macs")
    return KnownDevice(**{**values, "macs": tuple(values["macs"])})


def with_memory(sysfs_root: Path, devices: Mapping[Sbdf, PciDevice], notes: Mapping[Sbdf, Note]) -> dict[Sbdf, Note]:
    """The notes of this boot, completed by what is known from earlier ones."""
    completed = dict(notes)
    for sbdf, known in recall(read_known_devices(sysfs_root), devices).items():
        note = completed.get(sbdf) or Note.of(devices[sbdf])
        if not note.identity.says_anything:
            completed[sbdf] = replace(note, identity=known)
    return completed


def remember(sysfs_root: Path, host: Host) -> str:
    """Keep what is known now over the next reboot; a sentence if that is not possible, empty otherwise."""
    try:
        write_known_devices(sysfs_root, worth_knowing(host.devices, host.remembered))
    except OSError as error:
        return (
            f"What devices are cannot be remembered over a reboot ({error}): MAC addresses and NVMe serial numbers of"
            " those that pciback holds from the start will not be known then."
        )
    return ""
