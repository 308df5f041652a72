# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What we note in xenstore about devices that pciback holds; like pciback's hold it ends with the boot.

What nobody can read back: that Xen quarantines the device, what its own driver told of its identity, that a guest
has had it, over which windows and line it was given rights, under which name the device was declared, the user's
reasons for overruling a check, and that pciback keeps it for nobody. And of a connection that is being made anew, what
is to be in it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from ..model.connection import PciConnection
from ..model.connection_writes import Change, Remove, Write
from ..model.device import PciDevice, Resource
from ..model.notes import Note
from ..values.address import Sbdf
from ..values.identity import Remembered
from .toolstack.libxl_state import parse_marker_key
from .xenstore import Transaction, XenStore

_NOTES = "/tool/xen-pci/devices"
#: Apart from the notes, since what is noted of a device is replaced as a whole; this stays until dom0 restarts.
_LOST_HOLDS = "/tool/xen-pci/lost-holds"
_TO_COME_BACK = "/tool/xen-pci/to-come-back"


def read_notes(store: XenStore) -> dict[Sbdf, Note]:
    """All notes of this boot."""
    found = {}
    for key in store.list(_NOTES):
        sbdf = parse_marker_key(key)
        if sbdf is not None:
            nodes = store.children(f"{_NOTES}/{key}")
            found[sbdf] = Note(
                quarantined=nodes.get("quarantined") == "1",
                product=nodes.get("product", ""),
                identity=Remembered(nodes.get("nvme_serial") or None, tuple(nodes.get("macs", "").split())),
                guest=nodes.get("guest", ""),
                name=nodes.get("name", ""),
                reasons=_reasons(nodes.get("reasons", "")),
            )
    return found


def write_note(store: XenStore, sbdf: Sbdf, note: Note) -> None:
    """Replace what is noted about a device."""
    directory = f"{_NOTES}/{sbdf.libxl_key}"
    # What comes from an earlier boot would look as if it had been read in this one.
    identity = Remembered() if note.identity.earlier_boot else note.identity

    def replace(transaction: Transaction) -> None:
        transaction.remove(directory)
        transaction.write(f"{directory}/product", note.product)
        transaction.write(f"{directory}/macs", " ".join(identity.macs))
        transaction.write(f"{directory}/nvme_serial", identity.nvme_serial or "")
        transaction.write(f"{directory}/quarantined", "1" if note.quarantined else "0")
        transaction.write(f"{directory}/name", note.name)
        transaction.write(f"{directory}/reasons", json.dumps(note.reasons))
        if note.guest:
            transaction.write(f"{directory}/guest", note.guest)

    store.transaction(replace)


def note_guest(store: XenStore, devices: Sequence[PciDevice], guest: str) -> None:
    """Remember which domain gets these devices; what else is noted of the same device stays."""
    directories = {f"{_NOTES}/{one.sbdf.libxl_key}": one for one in devices}

    def remember(transaction: Transaction) -> None:
        noted = transaction.read_all([f"{directory}/product" for directory in directories])
        changes: list[Change] = []
        for (directory, device), old in zip(directories.items(), noted):
            product = f"{device.vendor}:{device.device}"
            changes += [Remove(directory)] if old != product else []
            changes += [Write(f"{directory}/product", product), Write(f"{directory}/guest", guest)]
            changes += [Write(f"{directory}/irq", str(device.irq)), Write(f"{directory}/windows", _written(device))]
        transaction.apply(changes)

    if directories:
        store.transaction(remember)


def noted_rights(store: XenStore, sbdf: Sbdf) -> tuple[int, tuple[Resource, ...]]:
    """Interrupt line and windows that a device had when it was last given to a guest: all that is left to tell them of
    a device that is gone. Line 0 and no windows if nothing is noted.
    """
    directory = f"{_NOTES}/{sbdf.libxl_key}"
    irq, windows = store.read_all([f"{directory}/irq", f"{directory}/windows"])
    numbers = [[int(number, 16) for number in word.split("-")] for word in (windows or "").split()]
    return int(irq or "0"), tuple(Resource(*three) for three in numbers)


def note_reason(store: XenStore, sbdf: Sbdf, check: str, reason: str) -> None:
    """Remember why the user overruled one more check; nothing happens where nothing is noted of the device."""
    directory = f"{_NOTES}/{sbdf.libxl_key}"

    def remember(transaction: Transaction) -> None:
        if transaction.read(f"{directory}/product") is not None:
            reasons = _reasons(transaction.read(f"{directory}/reasons") or "")
            transaction.write(f"{directory}/reasons", json.dumps({**reasons, check: reason}))

    store.transaction(remember)


def note_lost_hold(transaction: Transaction, backend: PciConnection | None) -> None:
    """Remember the device that pciback now holds for nobody, if there is one: once its entry goes, nothing tells it."""
    if backend is not None and backend.lost_hold is not None:
        transaction.write(f"{_LOST_HOLDS}/{backend.lost_hold.libxl_key}", backend.error)


def noted_lost_holds(store: XenStore) -> dict[Sbdf, str]:
    """Devices that pciback holds for nobody, as far as it was noted, and what it said then."""
    keys = {key: sbdf for key in store.list(_LOST_HOLDS) if (sbdf := parse_marker_key(key)) is not None}
    said = store.read_all([f"{_LOST_HOLDS}/{key}" for key in keys])
    return {sbdf: text for sbdf, text in zip(keys.values(), said) if text}


def drop_lost_hold(store: XenStore, sbdf: Sbdf) -> None:
    """Forget it: pciback has let go of the device and takes it anew."""
    store.remove(f"{_LOST_HOLDS}/{sbdf.libxl_key}")


def note_to_come_back(domid: int, devices: Collection[Sbdf]) -> Change:
    """Remember what a domain is to have back once its connection is made anew; none: it has it, or never will."""
    path = f"{_TO_COME_BACK}/{domid}"
    return Write(path, " ".join(map(str, devices))) if devices else Remove(path)


def noted_to_come_back(store: XenStore) -> dict[int, tuple[Sbdf, ...]]:
    """What domains are to have back, by their numbers."""
    domids = [name for name in store.list(_TO_COME_BACK) if name.isdecimal()]
    lists = store.read_all([f"{_TO_COME_BACK}/{domid}" for domid in domids])
    return {int(domid): tuple(map(Sbdf.parse, (text or "").split())) for domid, text in zip(domids, lists)}


def drop_note(store: XenStore, sbdf: Sbdf) -> None:
    """Forget a device that the host has back."""
    store.remove(f"{_NOTES}/{sbdf.libxl_key}")


def _written(device: PciDevice) -> str:
    return " ".join(f"{one.start:x}-{one.end:x}-{one.flags:x}" for one in device.resources)


def _reasons(text: str) -> dict[str, str]:
    try:
        reasons = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(check): str(reason) for check, reason in reasons.items()} if isinstance(reasons, dict) else {}
