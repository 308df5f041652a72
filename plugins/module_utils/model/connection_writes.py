# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each step of a handshake, and each repair of a connection, writes to xenstore, as data.

Every function returns the changes of ONE transaction. Nothing here accesses xenstore.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter

from ..values.address import AddressError, GuestAddress, Sbdf
from ..values.device_options import NO_OPTIONS, DeviceOptions
from ..values.states import SubState, XenbusState, parse_sub_state
from .connection import ENTRY_NODES, Entry, PciConnection, backend_path, devices_of, frontend_path
from .store_changes import Change, Directory, Remove, Write

#: libxl's defaults; pciback ignores the node, and libxl parses it when it lists devices.
DEFAULT_OPTIONS = DeviceOptions().as_node()


def create(
    domid: int, name: str, devices: Sequence[Sbdf], options: Mapping[Sbdf, DeviceOptions] = NO_OPTIONS
) -> list[Change]:
    """Create the connection of a domain with its first devices: both directories, both ends at Initialising."""
    back, front = backend_path(domid), frontend_path(domid)
    changes = _new_backend(domid, name) + _new_entries(domid, 0, devices, options)
    changes += [
        _state(back, XenbusState.INITIALISING),
        Directory(front, (f"n{domid}", "r0")),
        Write(f"{front}/backend", back),
        Write(f"{front}/backend-id", "0"),
        _state(front, XenbusState.INITIALISING),
    ]
    return changes


def reconfigure(
    backend: PciConnection,
    add: Sequence[Sbdf],
    remove: Collection[Sbdf],
    options: Mapping[Sbdf, DeviceOptions] = NO_OPTIONS,
) -> list[Change]:
    """Begin a cycle that adds and removes devices: mark their entries, then ask for reconfiguration.

    pciback walks every entry of a cycle (xen_pcibk_reconfigure), so one cycle serves all.
    """
    back = backend_path(backend.domid)
    changes: list[Change] = [
        _sub_state(back, entry.index, SubState.TO_REMOVE) for entry in backend.entries if entry.device in remove
    ]
    if add:
        changes += _new_entries(backend.domid, len(backend.entries), add, options)
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


def skip_stale(backend: PciConnection, used: Collection[Sbdf] = ()) -> list[Change]:
    """Remove the first entry to remove, and all to add; then have pciback walk the entries again.

    pciback stopped without an error at an entry to remove whose device it does not have (xen_pcibk_reconfigure).
    Which entry it was cannot be seen, but those before it are done: so the first goes, and the rest is tried.
    What the guest still has in use, neither end has found where `vdev-N` says: it stays.
    An entry to add may lack rights by now, so it is removed rather than exported.
    """
    stale = next((entry for entry in backend.entries if entry.state is SubState.TO_REMOVE), None)
    again = ask_again(backend.domid, XenbusState.RECONFIGURING)
    if stale is not None and stale.device in used:
        return [*keep(backend, [stale]), *again]
    gone = [entry.device for entry in backend.entries if entry.state is SubState.TO_ADD and entry.device is not None]
    if stale is not None and stale.device is not None:
        gone.append(stale.device)
    return [*compact(backend, gone), *again]


def keep(backend: PciConnection, entries: Sequence[Entry]) -> list[Change]:
    """Set entries to exported whose devices the guest has and is to keep."""
    back = backend_path(backend.domid)
    places = correct_places(backend, [entry.device for entry in entries if entry.device is not None])
    return [*places, *(_sub_state(back, entry.index, SubState.EXPORTED) for entry in entries)]


def correct_places(backend: PciConnection, devices: Collection[Sbdf]) -> list[Change]:
    """Correct the function number in `vdev-N`, so that both kernels find the device there when it is to be removed.

    Before Linux 5.14 pciback wrote 0 for a virtual function, but answered at the number that it has on the host
    (__xen_pcibk_add_pci_dev and __xen_pcibk_get_pci_dev in vpci.c; "redo VF placement in the virtual topology").
    """
    back = backend_path(backend.domid)
    return [
        Write(f"{back}/vdev-{entry.index}", str(replace(entry.guest_address, function=entry.device.function)))
        for entry in backend.entries
        if entry.device in devices and entry.device is not None and entry.guest_address is not None
        if entry.guest_address.function != entry.device.function
    ]


def connect_again(backend: PciConnection, guest_is_connected: bool) -> list[Change]:
    """Write Connected in place of states that only the nodes have: both kernels are connected.

    Neither would write it, since each compares with what it has written itself (xenbus_switch_state). That the guest
    asks for something (Reconfiguring) is left: it is answered.
    """
    back, front = backend.ends
    if back.is_ending or front.is_ending or not (guest_is_connected or front is XenbusState.CONNECTED):
        return []
    asks = front is XenbusState.RECONFIGURING
    paths = [path(backend.domid) for path in (backend_path, frontend_path) if path is backend_path or not asks]
    return [_state(path, XenbusState.CONNECTED) for path in paths]


def finish_by_hand(backend: PciConnection, guest_is_connected: bool) -> list[Change]:
    """Write Connected for the end that waits for nothing any more, and for the guest's only if it is connected.

    pciback answers the guest's Connected with its own.
    """
    back, front = backend.ends
    if backend.ends == (XenbusState.RECONFIGURED, XenbusState.CONNECTED):
        return [_state(backend_path(backend.domid), XenbusState.CONNECTED)]
    here = back in (XenbusState.CONNECTED, XenbusState.RECONFIGURED) and front is not XenbusState.CONNECTED
    if not here or front.is_ending or not guest_is_connected:
        return []
    return [_state(path(backend.domid), XenbusState.CONNECTED) for path in (frontend_path, backend_path)]


def put_in_order(
    domid: int,
    nodes: Mapping[str, str],
    has: Collection[Sbdf] = (),
    has_not: Collection[Sbdf] = (),
    by_places: bool = True,
) -> list[Change]:
    """Renumber the entries that the guest has without gaps, each with all its nodes; none if that cannot be said.

    Those are the ones with a place on its bus (`vdev-N`), and those of devices that it certainly `has`; where nothing
    goes by places, as with a device model, what the guest has and nothing else. An entry that names a device that it
    `has_not`, or none, is of another one.
    """
    found: dict[int, dict[str, str]] = {}
    for name, value in nodes.items():
        kind, separator, number = name.rpartition("-")
        if separator and kind in ENTRY_NODES and number.isascii() and number.isdecimal():
            found.setdefault(int(number), {})[kind] = value
    kept: dict[Sbdf, int] = {}
    unnamed: list[int] = []
    for index, own in sorted(found.items()):
        device = _device_of(own, has)
        if device is None or device in has_not:
            unnamed += [index] if _has_guest_address(own) else []
        elif device not in kept and (device in has or (by_places and _has_guest_address(own))):
            kept[device] = index
    missing = [device for device in has if device not in kept]
    if not by_places:
        kept.update({device: max(found, default=0) + at for at, device in enumerate(missing, 1)})
    elif missing and unnamed:
        if len(missing) > 1 or len(unnamed) > 1:
            return []
        kept[missing[0]] = unnamed[0]
    entries = {device: found.get(index, {}) for device, index in sorted(kept.items(), key=itemgetter(1))}
    return _in_order(domid, nodes, entries, {f"{kind}-{index}" for index, own in found.items() for kind in own})


def _in_order(
    domid: int, nodes: Mapping[str, str], kept: Mapping[Sbdf, Mapping[str, str]], old: Collection[str]
) -> list[Change]:
    """Write these entries, numbered by their order, in place of the nodes of all `old` ones."""
    back = backend_path(domid)
    written: dict[str, str] = {"num_devs": str(len(kept))}
    for index, (device, own) in enumerate(kept.items()):
        complete = {"opts": DEFAULT_OPTIONS, **own, "key": str(device), "dev": str(device)}
        if parse_sub_state(own.get("state")) is None:
            complete["state"] = str(SubState.EXPORTED.value)
        written.update({f"{kind}-{index}": value for kind, value in complete.items()})
    return [
        *[Write(f"{back}/{name}", value) for name, value in written.items() if nodes.get(name) != value],
        *[Remove(f"{back}/{name}") for name in sorted({*old} - written.keys())],
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


def _new_entries(
    domid: int, first: int, devices: Sequence[Sbdf], options: Mapping[Sbdf, DeviceOptions] = NO_OPTIONS
) -> list[Change]:
    back = backend_path(domid)
    changes: list[Change] = []
    for index, device in enumerate(devices, first):
        changes += [
            Write(f"{back}/key-{index}", str(device)),
            Write(f"{back}/dev-{index}", str(device)),
            Write(f"{back}/opts-{index}", options.get(device, DeviceOptions()).as_node()),
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


def _device_of(own: Mapping[str, str], has: Collection[Sbdf]) -> Sbdf | None:
    """Return the device of an entry; of two that its nodes name, the one that the guest has."""
    named = devices_of(own)
    if len(named) > 1:
        named = [device for device in named if device in has]
    return named[0] if len(named) == 1 else None


def _has_guest_address(own: Mapping[str, str]) -> bool:
    try:
        GuestAddress.parse(own.get("vdev", ""))
    except AddressError:
        return False
    return True
