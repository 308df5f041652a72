# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One domain's PCI connection in xenstore, as data: what its nodes say, and whether they are sound.

The layout is libxl's (tools/libs/light/libxl_pci.c) and pciback's (drivers/xen/xen-pciback/xenbus.c):
one connection per domain, and inside it numbered entries `dev-N`, `state-N`, `vdev-N`, ...
What a change writes is in `connection_writes.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ..values.address import AddressError, GuestAddress, Sbdf
from ..values.device_options import DeviceOptions
from ..values.states import SubState, XenbusState, parse_state, parse_sub_state

#: Nodes of one entry. `key-N` must exist: libxl reads it without a check when it compacts.
ENTRY_NODES = ("state", "key", "dev", "vdev", "opts", "vdevfn", "name")
_BUS_COMPLAINT = " virtual PCI bus"


def backend_path(domid: int) -> str:
    """Return the directory of dom0's end; devid is always 0 and the backend is always dom0 (libxl_pci.c)."""
    return f"/local/domain/0/backend/pci/{domid}/0"


def frontend_path(domid: int) -> str:
    """Return the directory of the guest's end; the guest owns it and may write anything there."""
    return f"/local/domain/{domid}/device/pci/0"


def error_path(domid: int) -> str:
    """Return the node in which dom0's kernel leaves its last error with this connection."""
    return f"/local/domain/0/error/backend/pci/{domid}/0/error"


@dataclass(frozen=True)
class Entry:
    """One device in a connection."""

    #: The N in the names of its nodes; it moves when an entry before it goes.
    index: int
    #: Address on the host (`dev-N`), None if it cannot be read, or if `key-N` names another device.
    device: Sbdf | None
    #: State of the device (`state-N`), None if it is none of the three that pciback knows.
    state: SubState | None
    #: Address in the guest (`vdev-N`), None until pciback has written it.
    guest_address: GuestAddress | None
    #: All nodes of the entry by their kinds, in the order of ENTRY_NODES.
    nodes: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_nodes(cls, index: int, nodes: Mapping[str, str]) -> Entry:
        """Read the entry with this index from the nodes of the directory."""
        own = {kind: nodes[f"{kind}-{index}"] for kind in ENTRY_NODES if f"{kind}-{index}" in nodes}
        guest_address = None
        device = _address(own.get("dev"))
        if own.get("key", own.get("dev")) != own.get("dev") and _address(own["key"]) not in (None, device):
            device = None
        with suppress(AddressError):
            guest_address = GuestAddress.parse(own.get("vdev", ""))
        return cls(index, device, parse_sub_state(own.get("state")), guest_address, tuple(own.items()))

    @property
    def exported_nowhere(self) -> bool:
        """Whether it is exported, but its place on the bus of the guest cannot be read, so it cannot be removed."""
        return self.state is SubState.EXPORTED and self.guest_address is None

    @property
    def options(self) -> DeviceOptions:
        """The options that libxl's nodes of the entry say."""
        own = dict(self.nodes)
        return DeviceOptions.from_nodes(own.get("opts", ""), own.get("vdevfn", ""))

    @property
    def exported(self) -> bool:
        """Whether pciback has given the device an address on the guest's bus."""
        return self.state is SubState.EXPORTED and self.guest_address is not None


@dataclass(frozen=True)
class PciConnection:
    """Both ends of a domain's PCI connection, read at one moment."""

    #: The domain at the guest's end.
    domid: int
    #: State of dom0's end.
    state: XenbusState
    #: State of the guest's end; the guest may write anything there.
    frontend_state: XenbusState
    #: One for each device, in the order of their indexes.
    entries: tuple[Entry, ...]
    #: `num_devs`, which says how many entries there are, is a number.
    count_is_sound: bool
    #: Nodes of entries whose index `num_devs` does not reach.
    stray_nodes: tuple[str, ...] = ()
    #: Last error of dom0's kernel with this connection, empty if there is none.
    error: str = ""
    #: False if a toolstack has asked for the end of the connection.
    online: bool = True
    #: What pciback says of a PCI error that the guest could not handle, empty if there was none.
    aer_state: str = ""
    #: All nodes of dom0's end, as they were read.
    nodes: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_nodes(
        cls,
        domid: int,
        nodes: Mapping[str, str],
        frontend_state: str | None,
        error: str = "",
        names: Collection[str] | None = None,
    ) -> PciConnection:
        """Read the connection from the children of the backend's directory and the text of the frontend's state.

        `names` are those of all children, if `nodes` are some of them only.
        """
        count_text = nodes.get("num_devs", "")
        count = int(count_text) if count_text.isdecimal() and len(count_text) <= 4 else 0
        entries = tuple(Entry.from_nodes(index, nodes) for index in range(count))
        stray = sorted(name for name in (nodes if names is None else names) if index_of(name) >= count)
        return cls(
            domid=domid,
            state=parse_state(nodes.get("state")),
            frontend_state=parse_state(frontend_state),
            entries=entries,
            count_is_sound=count_text.isdecimal() and len(count_text) <= 4,
            stray_nodes=tuple(stray),
            error=error,
            online=nodes.get("online", "1") != "0",
            aer_state=nodes.get("aerState", ""),
            nodes=nodes,
        )

    @property
    def connected(self) -> bool:
        """Whether both ends are connected; only then may a cycle begin."""
        return self.state is self.frontend_state is XenbusState.CONNECTED

    @property
    def ends(self) -> tuple[XenbusState, XenbusState]:
        """The states of both ends, dom0's first."""
        return self.state, self.frontend_state

    @property
    def unanswered(self) -> bool:
        """Whether a cycle was begun and the guest has not answered."""
        waiting = (XenbusState.CONNECTED, XenbusState.INITIALISED)
        return self.state is XenbusState.RECONFIGURING and self.frontend_state in waiting

    @property
    def lost_hold(self) -> Sbdf | None:
        """The device of a lost hold: pciback took it, could not put it on its virtual bus, and keeps it for no guest.

        It is the first entry that pciback has not exported, if its last error was one of that bus
        (xen_pcibk_export_device forgets to put the device back; __xen_pcibk_add_pci_dev in vpci.c has the words).
        """
        if not self.state.is_ending or not self.error.endswith(_BUS_COMPLAINT):
            return None
        return next((entry.device for entry in self.entries if entry.state is SubState.TO_ADD), None)

    @property
    def devices(self) -> tuple[Sbdf, ...]:
        """Addresses on the host of all entries, in the order of the entries."""
        return tuple(entry.device for entry in self.entries if entry.device is not None)

    def entry_of(self, device: Sbdf) -> Entry | None:
        """Find the entry of a device, None if there is none; indexes change at every removal, so ask each time."""
        return next((entry for entry in self.entries if entry.device == device), None)

    def problems(self) -> list[str]:
        """List why no cycle may be started, one sentence each; empty if the directory is sound.

        Each of these makes pciback fail: for the whole guest (a missing `dev-N`), or without an error (an old
        `state-N`=5), see xen_pcibk_reconfigure.
        """
        found = []
        if not self.count_is_sound:
            found.append("num_devs is missing or not a number")
        if self.count_is_sound and not self.entries:
            found.append("the connection has no entries (num_devs=0), so xl takes it for one that starts")
        if self.stray_nodes:
            found.append(f"there are nodes beyond num_devs={len(self.entries)}: {', '.join(self.stray_nodes)}")
        seen: set[object] = set()
        for entry in self.entries:
            named = devices_of(dict(entry.nodes)) if entry.device is None else []
            if len(named) > 1:
                found.append(f"entry {entry.index} names {named[0]} in dev-{entry.index} and {named[1]} in its key")
            elif entry.device is None:
                found.append(f"entry {entry.index} has no readable dev-{entry.index}")
            device = entry.device or next(iter(named), None)
            if device in seen:
                found.append(f"{device} has two entries")
            seen.add(device or entry.index)
            if entry.state is None:
                found.append(f"entry {entry.index} ({entry.device}) has no sub-state, or one that pciback ignores")
            if entry.state is SubState.TO_REMOVE:
                found.append(f"entry {entry.index} ({entry.device}) is left from an unfinished removal (sub-state 5)")
            elif entry.state is SubState.TO_ADD and self.connected:
                found.append(f"entry {entry.index} ({entry.device}) was never exported by pciback (sub-state 1)")
        return found


def devices_of(own: Mapping[str, str]) -> list[Sbdf]:
    """Return the devices that the nodes of one entry name, by their kinds: `dev-N` first, and `key-N` if it differs.

    libxl and we write the same text into both.
    """
    named = (_address(own.get(kind)) for kind in ("dev", "key"))
    return list(dict.fromkeys(device for device in named if device is not None))


def _address(text: str | None) -> Sbdf | None:
    try:
        return Sbdf.parse(text or "")
    except AddressError:
        return None


def index_of(name: str) -> int:
    """Read the index in the name of an entry's node; -1 for any other node."""
    kind, separator, number = name.rpartition("-")
    return int(number) if separator and kind in ENTRY_NODES and number.isdecimal() else -1
