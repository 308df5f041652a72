# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What mending a connection writes to xenstore beyond the steps of a handshake, as data.

As in `backend_changes.py`, every function returns the changes of ONE transaction.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..values.address import AddressError, GuestAddress, Sbdf
from ..values.states import SubState, XenbusState, parse_sub_state
from .backend import ENTRY_NODES, Backend, backend_path, frontend_path
from .backend_changes import DEFAULT_OPTIONS, Change, Remove, Write, compact


def ask_again(domid: int, frontend_state: XenbusState) -> list[Change]:
    """Write the guest's own state once more: pciback acts on every write (xenbus_otherend_changed)."""
    return [Write(f"{frontend_path(domid)}/state", str(frontend_state.value))]


def skip_stale(backend: Backend) -> list[Change]:
    """Drop the first entry to remove, and all to add; then have pciback walk the entries again.

    pciback stopped without a word at an entry to remove that it does not have (xen_pcibk_reconfigure).
    Which one it was does not show, but those before it are done: so the first goes, and the rest is tried.
    An entry to add may lack rights by now; it is dropped rather than exported.
    """
    stale = next((entry.device for entry in backend.entries if entry.state is SubState.TO_REMOVE), None)
    gone = [entry.device for entry in backend.entries if entry.state is SubState.TO_ADD and entry.device is not None]
    if stale is not None:
        gone.append(stale)
    return [*compact(backend, gone), *ask_again(backend.domid, XenbusState.RECONFIGURING)]


def put_in_order(domid: int, nodes: Mapping[str, str]) -> list[Change]:
    """Number the entries that the guest has (those with `vdev-N`) anew, without gaps, each with all its nodes."""
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


def _device_of(own: Mapping[str, str]) -> Sbdf | None:
    """The host address by `dev-N`, or by `key-N`, which libxl and we write with the same text."""
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
