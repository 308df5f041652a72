# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our notes in xenstore about devices that pciback holds; like pciback's hold they end with the boot.

They keep what cannot be read back: that Xen quarantines the device, what its own driver said of its identity, that a
guest has had it, the windows and the line that the guest had rights over, the name under which the device was declared,
the user's reasons for waiving a check, and that pciback keeps it though it has given it to no guest, or for an HVM
guest that does not have it any more. And of a connection that is being made again, what is to be in it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from ..model.connection import PciConnection
from ..model.device import PciDevice, Resource
from ..model.notes import Note
from ..model.store_changes import Change, Remove, Write
from ..values.address import Sbdf
from ..values.identity import Remembered
from .xenstore import Transaction, XenStore
from .xenstore_nodes import devices_below

_NOTES = "/tool/xen-pci/devices"
#: Apart from the notes, since what is noted of a device is replaced as a whole; this stays until dom0 restarts.
_LOST_HOLDS = "/tool/xen-pci/lost-holds"
_KEPT_HOLDS = "/tool/xen-pci/kept-holds"
_BEING_TAKEN = "/tool/xen-pci/being-taken"
_TO_COME_BACK = "/tool/xen-pci/to-come-back"
_CLEAN = "/tool/xen-pci/clean"


class NoteStore:
    """The notes of one host."""

    def __init__(self, store: XenStore) -> None:
        self._store = store

    # ---- of devices that pciback holds

    def all(self) -> dict[Sbdf, Note]:
        """All notes of this boot."""
        return {sbdf: _note(self._store.children(_of(sbdf))) for sbdf in devices_below(self._store, _NOTES)}

    def write(self, sbdf: Sbdf, note: Note) -> None:
        """Replace what is noted about a device."""
        directory = _of(sbdf)
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
            if note.quarantined:
                transaction.remove(_being_taken(sbdf))

        self._store.transaction(replace)

    def drop(self, sbdf: Sbdf) -> None:
        """Forget a device that the host has back."""
        gone = (_of(sbdf), _clean(sbdf), f"{_KEPT_HOLDS}/{sbdf.libxl_key}", _being_taken(sbdf))
        self._store.apply([Remove(path) for path in gone])

    def write_guest(self, devices: Sequence[PciDevice], domid: int, guest: str) -> None:
        """Note which domain gets these devices, as `giving` has it."""
        changes, _proofs = self.giving(devices, domid, guest)
        self._store.transaction(lambda transaction: transaction.apply(changes))

    def giving(self, devices: Sequence[PciDevice], domid: int, guest: str) -> tuple[list[Change], dict[Sbdf, str]]:
        """Make the writes that note which domain gets these devices, and their windows and interrupt lines.

        What else is noted of the same device stays, but for the proof that it is clean: those are returned, too.
        """
        paths = [path for device in devices for path in (f"{_of(device.sbdf)}/product", _clean(device.sbdf))]
        noted = self._store.read_all(paths)
        changes: list[Change] = []
        proofs = {}
        for device, old, proof in zip(devices, noted[::2], noted[1::2]):
            directory, product = _of(device.sbdf), f"{device.vendor}:{device.device}"
            if old != product:
                changes += [Remove(directory), Write(f"{directory}/product", product)]
            changes += [Write(f"{directory}/guest", guest), Write(f"{directory}/irq", f"{device.irq} {domid}")]
            changes.append(Write(f"{directory}/windows", _written(device)))
            if proof is not None:
                changes.append(Remove(_clean(device.sbdf)))
                proofs[device.sbdf] = proof
        return changes, proofs

    @staticmethod
    def change_taken(sbdf: Sbdf) -> Change:
        """Make the write that notes that the domain that had a device has no rights over it any more."""
        return Remove(f"{_of(sbdf)}/irq")

    @staticmethod
    def change_clean(sbdf: Sbdf, proof: str) -> Change:
        """Make the write that notes that a device is clean, by this proof (apply/clean.py)."""
        return Write(_clean(sbdf), proof)

    def rights(self, sbdf: Sbdf) -> tuple[int, tuple[Resource, ...]]:
        """Interrupt line and windows that a device had when it was last given to a guest.

        Nothing else shows them of a device that is gone. Line 0 and no windows if nothing is noted.
        """
        irq, windows = self._store.read_all([f"{_of(sbdf)}/irq", f"{_of(sbdf)}/windows"])
        numbers = [[int(number, 16) for number in word.split("-")] for word in (windows or "").split()]
        return _line_and_domid(irq)[0], tuple(Resource(*three) for three in numbers)

    def device(self, sbdf: Sbdf) -> PciDevice:
        """Describe a device that the host has no more, as far as rights over it go.

        Its owner lost it in Xen when the host did.
        """
        irq, windows = self.rights(sbdf)
        return PciDevice(sbdf, "", "", "", "", "", "", irq=irq, resources=windows)

    def note_quarantine(self, sbdf: Sbdf) -> None:
        """Note that a device of which something is noted is in quarantine whenever no guest has it."""
        self._store.apply([Write(f"{_of(sbdf)}/quarantined", "1"), Remove(_being_taken(sbdf))])

    def begin_taking(self, sbdf: Sbdf) -> None:
        """Note that a device is on its way to pciback, and in quarantine only once it is noted as that."""
        self._store.write(_being_taken(sbdf), "1")

    def being_taken(self) -> frozenset[Sbdf]:
        """Read which devices were on their way when a run ended, or are on it now."""
        return frozenset(devices_below(self._store, _BEING_TAKEN))

    def add_reason(self, sbdf: Sbdf, check: str, reason: str) -> None:
        """Note why the user waived one more check; nothing happens where nothing is noted of the device."""
        directory = _of(sbdf)

        def remember(transaction: Transaction) -> None:
            if transaction.read(f"{directory}/product") is not None:
                reasons = _reasons(transaction.read(f"{directory}/reasons") or "")
                transaction.write(f"{directory}/reasons", json.dumps({**reasons, check: reason}))

        self._store.transaction(remember)

    # ---- of devices that pciback holds though it has given them to no guest

    def lost_holds(self) -> dict[Sbdf, str]:
        """Those that were noted, and what pciback said then."""
        devices = devices_below(self._store, _LOST_HOLDS)
        said = self._store.read_all([f"{_LOST_HOLDS}/{sbdf.libxl_key}" for sbdf in devices])
        return {sbdf: text for sbdf, text in zip(devices, said) if text}

    @staticmethod
    def keep_lost_hold(transaction: Transaction, connection: PciConnection | None) -> None:
        """Note the device that the connection shows as lost, if there is one: once its entry goes, nothing shows it."""
        if connection is not None and connection.lost_hold is not None:
            transaction.write(f"{_LOST_HOLDS}/{connection.lost_hold.libxl_key}", connection.error)

    def drop_lost_hold(self, sbdf: Sbdf) -> None:
        """Forget it: pciback has released the device and takes it again."""
        self._store.remove(f"{_LOST_HOLDS}/{sbdf.libxl_key}")

    # ---- of devices that pciback keeps for an HVM guest that does not have them any more

    def keep_hold(self, sbdf: Sbdf, domid: int, connection: str) -> None:
        """Note that pciback keeps the device for a domain as long as its kernel has this connection of it."""
        self._store.write(f"{_KEPT_HOLDS}/{sbdf.libxl_key}", f"{domid} {connection}")

    def kept_holds(self) -> dict[Sbdf, tuple[int, str]]:
        """Return those that were noted: for which domain, and for which connection of it."""
        devices = devices_below(self._store, _KEPT_HOLDS)
        texts = self._store.read_all([f"{_KEPT_HOLDS}/{sbdf.libxl_key}" for sbdf in devices])
        words = {sbdf: text.split() for sbdf, text in zip(devices, texts) if text}
        return {sbdf: (int(two[0]), two[1]) for sbdf, two in words.items() if len(two) == 2 and two[0].isdecimal()}

    # ---- of domains whose connection a repair makes again

    def to_come_back(self) -> dict[int, tuple[Sbdf, ...]]:
        """Read the devices that domains are to have back, by their numbers."""
        domids = [name for name in self._store.list(_TO_COME_BACK) if name.isdecimal()]
        lists = self._store.read_all([f"{_TO_COME_BACK}/{domid}" for domid in domids])
        return {int(domid): tuple(map(Sbdf.parse, (text or "").split())) for domid, text in zip(domids, lists)}

    @staticmethod
    def change_to_come_back(domid: int, devices: Collection[Sbdf]) -> Change:
        """Make the write that notes which devices a domain is to have back; none: it has them, or never will."""
        path = f"{_TO_COME_BACK}/{domid}"
        return Write(path, " ".join(map(str, devices))) if devices else Remove(path)


def _clean(sbdf: Sbdf) -> str:
    return f"{_CLEAN}/{sbdf.libxl_key}"


def _being_taken(sbdf: Sbdf) -> str:
    return f"{_BEING_TAKEN}/{sbdf.libxl_key}"


def _of(sbdf: Sbdf) -> str:
    return f"{_NOTES}/{sbdf.libxl_key}"


def _line_and_domid(text: str | None) -> tuple[int, int | None]:
    """Read the interrupt line that went to a domain with a device, and which domain that was."""
    line, _space, domid = (text or "").partition(" ")
    return (int(line) if line.isdecimal() else 0), (int(domid) if domid.isdecimal() else None)


def _note(nodes: dict[str, str]) -> Note:
    line, domid = _line_and_domid(nodes.get("irq"))
    return Note(
        quarantined=nodes.get("quarantined") == "1",
        product=nodes.get("product", ""),
        identity=Remembered(nodes.get("nvme_serial") or None, tuple(nodes.get("macs", "").split())),
        guest=nodes.get("guest", ""),
        given_to=domid,
        given_line=line,
        name=nodes.get("name", ""),
        reasons=_reasons(nodes.get("reasons", "")),
    )


def _written(device: PciDevice) -> str:
    return " ".join(f"{window.start:x}-{window.end:x}-{window.flags:x}" for window in device.resources)


def _reasons(text: str) -> dict[str, str]:
    try:
        reasons = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(check): str(reason) for check, reason in reasons.items()} if isinstance(reasons, dict) else {}
