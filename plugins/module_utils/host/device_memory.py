# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What devices said of themselves, kept over a reboot in /var/lib/xen.pci/devices.json.

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
from .whole_file import write_whole

_FORMAT = 1
_OPTIONAL = ("serial", "nvme_serial")


class DeviceMemory:
    """The file of one host, below its `root`."""

    def __init__(self, root: Path) -> None:
        self._file = root / "var" / "lib" / "xen.pci" / "devices.json"

    def read(self) -> list[KnownDevice]:
        """All that is remembered."""
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                return []
            return [_known(entry) for entry in content["devices"]]
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def write(self, known: Sequence[KnownDevice]) -> None:
        """Remember these and no others; a file that says so already is left alone. Raises OSError."""
        if known != self.read():
            content = {"format": _FORMAT, "devices": [asdict(device) for device in known]}
            write_whole(self._file, json.dumps(content, indent=1) + "\n", 0o600)

    def complete(self, devices: Mapping[Sbdf, PciDevice], notes: Mapping[Sbdf, Note]) -> dict[Sbdf, Note]:
        """Complete the notes of this boot by what is known from earlier ones."""
        completed = dict(notes)
        for sbdf, known in recall(self.read(), devices).items():
            note = completed.get(sbdf) or Note.of(devices[sbdf])
            if not note.identity.says_anything:
                completed[sbdf] = replace(note, identity=known)
        return completed

    def remember(self, host: Host) -> str:
        """Keep what is known now over the next reboot; a sentence if that is not possible, empty otherwise."""
        try:
            self.write(worth_knowing(host.devices, host.remembered))
        except OSError as error:
            return (
                f"What devices are cannot be remembered over a reboot ({error}): MAC addresses and NVMe serial numbers"
                " of those that pciback holds from the start will not be known then."
            )
        return ""


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
