# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What xenstore says of domains and connections under every toolstack, read as it is now, alone or in a transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from ..model.connection import PciConnection, backend_path, error_path, frontend_path, index_of
from ..model.usage import GuestDisk
from ..values.address import AddressError, Sbdf
from ..values.states import XenbusState, parse_state
from .xenstore import Transaction, XenStore

_BACKENDS = "/local/domain/0/backend"
_ERRORS = "/local/domain/0/error/backend/pci"
#: How the names of nodes begin that a cycle changes or depends on, and of those that say whose entry is which.
_OUTLINE, _ADDRESSES = ("state", "dev-", "vdev-", "num_devs", "online", "aerState"), ("dev-", "num_devs")
#: Of disks that dom0 serves, by kind of backend, the words for who serves it; vbd3 is XAPI's tapdisk.
_DISK_SERVERS = {"vbd": "the kernel", "qdisk": "QEMU", "vbd3": "tapdisk"}


def name_path(domid: int) -> str:
    """Name the node of a domain's name."""
    return f"/local/domain/{domid}/name"


def is_recorded(requests: XenStore | Transaction, domid: int) -> bool:
    """Whether the toolstack still has the domain in xenstore: it takes it out before it has Xen destroy it."""
    return any(text is not None for text in requests.read_all([name_path(domid), f"/local/domain/{domid}/vm"]))


def read_connection(requests: XenStore | Transaction, domid: int) -> PciConnection | None:
    """Read a domain's connection as it is now, or None if there is none."""
    names, frontend_state, error = _list_connection(requests, domid)
    nodes = requests.children(backend_path(domid), names)
    return PciConnection.from_nodes(domid, nodes, frontend_state, error) if nodes else None


def read_outline(requests: XenStore | Transaction, domid: int) -> PciConnection | None:
    """As `read_connection`, but without what only libxl reads: enough to begin a cycle, and to see what came of it.

    Each node takes as long as the others, so a large connection is read twice as fast.
    """
    names, frontend_state, error = _list_connection(requests, domid)
    nodes = requests.children(backend_path(domid), [name for name in names if name.startswith(_OUTLINE)])
    return PciConnection.from_nodes(domid, nodes, frontend_state, error, names) if nodes else None


def read_for_compaction(requests: XenStore | Transaction, domid: int, gone: Collection[Sbdf]) -> PciConnection | None:
    """As `read_connection`, but with the nodes of those entries only that the departure of these devices changes."""
    names, frontend_state, error = _list_connection(requests, domid)
    path = backend_path(domid)
    nodes = requests.children(path, [name for name in names if name.startswith(_ADDRESSES)])
    connection = PciConnection.from_nodes(domid, nodes, frontend_state, error, names)
    first = min((entry.index for entry in connection.entries if entry.device in gone), default=len(connection.entries))
    moving = [name for name in names if index_of(name) >= first and name not in nodes]
    nodes = {**nodes, **requests.children(path, moving)}
    return PciConnection.from_nodes(domid, nodes, frontend_state, error, names) if nodes else None


def _list_connection(requests: XenStore | Transaction, domid: int) -> tuple[Sequence[str], str | None, str]:
    """Names of the backend's nodes, state of the frontend, last error of the kernel."""
    others = [f"{frontend_path(domid)}/state", error_path(domid)]
    names, (frontend_state, error) = requests.list_and_read(backend_path(domid), others)
    return names, frontend_state, error or ""


def read_connections(store: XenStore) -> dict[int, PciConnection]:
    """All connections of the host by their domains' numbers, those of dead domains too."""
    domids = numbers(store.list(f"{_BACKENDS}/pci"))
    return {domid: found for domid in domids if (found := read_connection(store, domid)) is not None}


def read_kernel_errors(store: XenStore) -> dict[int, str]:
    """Read what dom0's kernel said last of each connection that it gave up; it never takes that back."""
    domids = sorted(numbers(store.list(_ERRORS)))
    errors = store.read_all([error_path(domid) for domid in domids])
    return {domid: text for domid, text in zip(domids, errors) if text}


def read_states(store: XenStore, domid: int) -> list[str | None]:
    """Read the text of both ends' state nodes, backend first."""
    return store.read_all([f"{backend_path(domid)}/state", f"{frontend_path(domid)}/state"])


def states_of(texts: Sequence[str | None]) -> tuple[XenbusState, XenbusState]:
    """Both ends' states from their texts, backend first."""
    return parse_state(texts[0]), parse_state(texts[1])


def read_guest_disks(store: XenStore) -> list[GuestDisk]:
    """Disks of guests that dom0 serves, whether each is a disk of the host or a file. Raises XenStoreError.

    The kernel knows those that its own blkback serves; those that a QEMU serves (`qdisk`) are shown nowhere else.
    """
    found = []
    for kind, server in _DISK_SERVERS.items():
        for domid in sorted(name for name in store.list(f"{_BACKENDS}/{kind}") if name.isdecimal()):
            disks = [f"{_BACKENDS}/{kind}/{domid}/{number}" for number in store.list(f"{_BACKENDS}/{kind}/{domid}")]
            names = [f"{disk}/{node}" for disk in disks for node in ("dev", "params", "physical-device")]
            name, *texts = store.read_all([f"/local/domain/{domid}/name", *names])
            for device, source, number in zip(texts[::3], texts[1::3], texts[2::3]):
                who = f"domain {name} ({domid})" if name else f"domain {domid}"
                found.append(
                    GuestDisk(int(domid), f"{device or 'a disk'} of {who}, served by {server}", source, number)
                )
    return found


def numbers(names: Iterable[str]) -> set[int]:
    """Those names of nodes that are numbers, as those of domains are."""
    return {int(name) for name in names if name.isdecimal()}


def devices_below(store: XenStore, path: str) -> list[Sbdf]:
    """List the devices that children of a node are named after (as Sbdf.libxl_key)."""
    found = []
    for name in store.list(path):
        with suppress(AddressError):
            found.append(Sbdf.parse(name))
    return found
