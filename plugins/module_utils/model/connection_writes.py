# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each step of a handshake, and each repair of a connection, writes to xenstore, as data.

Every function returns the changes of ONE transaction. Nothing here accesses xenstore.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..values.address import AddressError, GuestAddress, Sbdf
from ..values.states import SubState, XenbusState, parse_sub_state
from .connection import ENTRY_NODES, Entry, PciConnection, backend_path, frontend_path
from .store_changes import Change, Directory, Remove, Write

#: libxl's defaults; pciback ignores the node, and libxl parses it when it lists devices.
DEFAULT_OPTIONS = "msitranslate=0,power_mgmt=0,permissive=0,rdm_policy=strict"


def create(domid: int, name: str, devices: Sequence[Sbdf]) -> list[Change]:
    """Create the connection of a domain with its first devices: both directories, both ends at Initialising."""
    back, front = backend_path(domid), frontend_path(domid)
    changes = _new_backend(domid, name) + _new_entries(domid, 0, devices)
    changes += [
        _state(back, XenbusState.INITIALISING),
        Directory(front, (f"n{domid}", "r0")),
        Write(f"{front}/backend", back),
        Write(f"{front}/backend-id", "0"),
        _state(front, XenbusState.INITIALISING),
    ]
    return changes


def reconfigure(backend: PciConnection, add: Sequence[Sbdf], remove: Collection[Sbdf]) -> list[Change]:
    """Begin a cycle that adds and removes devices: mark their entries, then ask for reconfiguration.

    pciback walks every entry of a cycle (xen_pcibk_reconfigure), so one cycle serves all.
    """
    back = backend_path(backend.domid)
    changes: list[Change] = [
        _sub_state(back, entry.index, SubState.TO_REMOVE) for entry in backend.entries if entry.device in remove
    ]
    if add:
        changes += _new_entries(backend.domid, len(backend.entries), add)
    changes.append(_state(back, XenbusState.RECONFIGURING))
    return changes


def indexes(backend: PciConnection | None, add: Sequence[Sbdf], remove: Collection[Sbdf]) -> dict[Sbdf, int]:
    """Return the indexes of the entries of a cycle's devices, from its begin to its compaction.

    `backend` is the connection before the cycle.
    """
    entries = backend.entries if backend is not None else ()
    leaving = {entry.device: entry.index for entry in entries if entry.device is not None and entry.device in remove}
    return {**leaving, **{device: index for index, device in enumerate(add, len(entries))}}


def close(domid: int) -> list[Change]:
    """Ask for the end of the connection: online=0 makes pciback unregister after Closed."""
    back = backend_path(domid)
    return [Write(f"{back}/online", "0"), _state(back, XenbusState.CLOSING)]


def reopen(domid: int) -> list[Change]:
    """Take `close` back before the guest has answered it."""
    back = backend_path(domid)
    return [Write(f"{back}/online", "1"), _state(back, XenbusState.CONNECTED)]


def restore_empty(domid: int, name: str) -> list[Change]:
    """Create the backend's directory again, connected and without entries, so that the connection can be closed."""
    return [*_new_backend(domid, name), *_new_entries(domid, 0, ()), _state(backend_path(domid), XenbusState.CONNECTED)]


def dissolve(domid: int) -> list[Change]:
    """Remove both directories, and parents that are empty then, as libxl does."""
    return [Remove(frontend_path(domid), prune=True), Remove(backend_path(domid), prune=True)]


def compact(backend: PciConnection, gone: Collection[Sbdf]) -> list[Change]:
    """Remove the entries of devices that are gone and close the gaps, which pciback never does itself.

    pciback keeps no index after the export, so later entries may move down with all their nodes.
    """
    stay = [entry for entry in backend.entries if entry.device not in gone]
    return _renumber(backend, stay)


def withdraw(backend: PciConnection) -> list[Change]:
    """Take back a cycle that the guest has not answered: remove entries to add, set entries to remove to exported."""
    back = backend_path(backend.domid)
    stay = [entry for entry in backend.entries if entry.state is not SubState.TO_ADD]
    changes = _renumber(backend, stay)
    changes += [
        _sub_state(back, index, SubState.EXPORTED)
        for index, entry in enumerate(stay)
        if entry.state is SubState.TO_REMOVE
    ]
    changes.append(_state(back, XenbusState.CONNECTED))
    return changes


def restart_failed(backend: PciConnection, add: Collection[Sbdf]) -> list[Change]:
    """Bring both ends out of a cycle that pciback gave up (backend Closing, frontend Reconfiguring).

    pciback works in the order of the entries and stops at the first bad one. So entries to remove
    are out of it already and only their nodes are left; of the adds, those exported before the bad
    one are now marked for removal, the others vanish. Then both ends are set to reconfigure again:
    pciback acts on the frontend's write even of the same value (xenbus_otherend_changed compares
    nothing), answers Reconfigured, the guest rescans and both connect.
    """
    back, front = backend_path(backend.domid), frontend_path(backend.domid)
    stay = [entry for entry in backend.entries if entry.state is SubState.EXPORTED]
    return [
        *_renumber(backend, stay),
        *[_sub_state(back, index, SubState.TO_REMOVE) for index, entry in enumerate(stay) if entry.device in add],
        _state(back, XenbusState.RECONFIGURING),
        _state(front, XenbusState.RECONFIGURING),
    ]


def ask_again(domid: int, frontend_state: XenbusState) -> list[Change]:
    """Write the guest's own state again, because pciback acts on every write of it (xenbus_otherend_changed)."""
    return [Write(f"{frontend_path(domid)}/state", str(frontend_state.value))]


def skip_stale(backend: PciConnection) -> list[Change]:
    """Remove the first entry to remove, and all to add; then have pciback walk the entries again.

    pciback stopped without an error at an entry to remove whose device it does not have (xen_pcibk_reconfigure).
    Which entry it was cannot be seen, but those before it are done: so the first goes, and the rest is tried.
    An entry to add may lack rights by now, so it is removed rather than exported.
    """
    stale = next((entry.device for entry in backend.entries if entry.state is SubState.TO_REMOVE), None)
    gone = [entry.device for entry in backend.entries if entry.state is SubState.TO_ADD and entry.device is not None]
    if stale is not None:
        gone.append(stale)
    return [*compact(backend, gone), *ask_again(backend.domid, XenbusState.RECONFIGURING)]


def put_in_order(domid: int, nodes: Mapping[str, str]) -> list[Change]:
    """Renumber the entries that the guest has (those with `vdev-N`) without gaps, each with all its nodes."""
    found: dict[int, dict[str, str]] = {}
    for name, value in nodes.items():
        kind, separator, number = name.rpartition("-")
        if separator and kind in ENTRY_NODES and number.isascii() and number.isdecimal():
            found.setdefault(int(number), {})[kind] = value
    kept: dict[Sbdf, dict[str, str]] = {}
    for _index, own in sorted(found.items()):
        device = _device_of(own)
        if device is not None and device not in kept and _has_guest_address(own):
            kept[device] = own
    back = backend_path(domid)
    written: dict[str, str] = {"num_devs": str(len(kept))}
    for index, (device, own) in enumerate(kept.items()):
        complete = {"key": str(device), "opts": DEFAULT_OPTIONS, **own}
        if parse_sub_state(own.get("state")) is None:
            complete["state"] = str(SubState.EXPORTED.value)
        written.update({f"{kind}-{index}": value for kind, value in {**complete, "dev": str(device)}.items()})
    old = {f"{kind}-{index}" for index, own in found.items() for kind in own}
    return [
        *[Write(f"{back}/{name}", value) for name, value in written.items() if nodes.get(name) != value],
        *[Remove(f"{back}/{name}") for name in sorted(old - written.keys())],
    ]


def _new_backend(domid: int, name: str) -> list[Change]:
    back = backend_path(domid)
    return [
        Directory(back, ("n0", f"r{domid}")),
        Write(f"{back}/frontend", frontend_path(domid)),
        Write(f"{back}/frontend-id", str(domid)),
        Write(f"{back}/online", "1"),
        Write(f"{back}/domain", name),
    ]


def _new_entries(domid: int, first: int, devices: Sequence[Sbdf]) -> list[Change]:
    back = backend_path(domid)
    changes: list[Change] = []
    for index, device in enumerate(devices, first):
        changes += [
            Write(f"{back}/key-{index}", str(device)),
            Write(f"{back}/dev-{index}", str(device)),
            Write(f"{back}/opts-{index}", DEFAULT_OPTIONS),
            _sub_state(back, index, SubState.TO_ADD),
        ]
    changes.append(Write(f"{back}/num_devs", str(first + len(devices))))
    return changes


def _renumber(backend: PciConnection, stay: Sequence[Entry]) -> list[Change]:
    back = backend_path(backend.domid)
    changes: list[Change] = []
    for index, entry in enumerate(stay):
        if index != entry.index:
            old, new = dict(backend.entries[index].nodes), dict(entry.nodes)
            changes += [Write(f"{back}/{kind}-{index}", value) for kind, value in new.items()]
            changes += [Remove(f"{back}/{kind}-{index}") for kind in old if kind not in new]
    for entry in backend.entries[len(stay) :]:
        changes += [Remove(f"{back}/{kind}-{entry.index}") for kind in ENTRY_NODES if kind in dict(entry.nodes)]
    if len(stay) != len(backend.entries):
        changes.append(Write(f"{back}/num_devs", str(len(stay))))
    return changes


def _state(directory: str, state: XenbusState) -> Write:
    return Write(f"{directory}/state", str(state.value))


def _sub_state(back: str, index: int, state: SubState) -> Write:
    return Write(f"{back}/state-{index}", str(state.value))


def _device_of(own: Mapping[str, str]) -> Sbdf | None:
    """Read the address on the host from `dev-N`, or from `key-N`, in which libxl and we write the same text."""
    for kind in ("dev", "key"):
        try:
            return Sbdf.parse(own.get(kind, ""))
        except AddressError:
            continue
    return None


def _has_guest_address(own: Mapping[str, str]) -> bool:
    try:
        GuestAddress.parse(own.get("vdev", ""))
    except AddressError:
        return False
    return True
