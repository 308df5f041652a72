# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remember what devices told of themselves, and recall it where pciback keeps them from telling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..decisions.known_devices import recall, worth_knowing
from ..interfaces.known_devices import read_known_devices, write_known_devices
from ..interfaces.notes import Note
from ..model.host import Host
from ..values.address import Sbdf
from .outside import Outside


def with_memory(outside: Outside, host: Host, notes: Mapping[Sbdf, Note]) -> dict[Sbdf, Note]:
    """The notes of this boot, completed by what is known from earlier ones."""
    completed = dict(notes)
    for sbdf, told in recall(read_known_devices(outside.sysfs.root), host.devices).items():
        note = completed.get(sbdf) or Note.of(host.devices[sbdf])
        if not note.identity.says_anything:
            completed[sbdf] = replace(note, identity=told)
    return completed


def remember(outside: Outside, host: Host, notes: Mapping[Sbdf, Note]) -> str:
    """Keep what is known now over the next reboot; a sentence if that is not possible, empty otherwise."""
    noted = {sbdf: note.identity for sbdf, note in notes.items()}
    try:
        write_known_devices(outside.sysfs.root, worth_knowing(host.devices, noted))
    except OSError as error:
        return (
            f"What devices are cannot be remembered over a reboot ({error}): MAC addresses and NVMe serial numbers of"
            " those that pciback holds from the start will not be known then."
        )
    return ""
