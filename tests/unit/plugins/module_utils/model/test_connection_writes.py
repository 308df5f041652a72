# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of a handshake write, against a small store and the kernel's part of each cycle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.model import connection_writes as changes
from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection, backend_path, frontend_path
from ansible_collections.xen.pci.plugins.module_utils.model.store_changes import Change, Directory, Remove, Write
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.states import SubState, XenbusState

DOMID = 7
BACK, FRONT = backend_path(DOMID), frontend_path(DOMID)
#: All that an entry may consist of (libxl_pci.c, libxl_create_pci_backend_device; vdev is pciback's).
KINDS = ("state", "key", "dev", "vdev", "opts", "vdevfn", "name")
#: Nodes that xl or pciback add to some entries; pciback's own are left out, the kernel below writes them.
EXTRAS = ("vdevfn", "name")


@dataclass
class World:
    """A store as a dictionary, and pciback's part of the protocol (drivers/xen/xen-pciback/xenbus.c)."""

    nodes: dict[str, str] = field(default_factory=dict)
    permissions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    guest_addresses: int = 0

    def apply(self, steps: Iterable[Change]) -> None:
        for step in steps:
            if isinstance(step, Write):
                self.nodes[step.path] = step.value
                continue
            for path in list(self.nodes):
                if path == step.path or path.startswith(f"{step.path}/"):
                    del self.nodes[path]
            if isinstance(step, Directory):
                self.nodes[step.path] = ""
                self.permissions[step.path] = step.permissions

    def children(self, directory: str) -> dict[str, str]:
        below = (
            (path[len(directory) + 1 :], value)
            for path, value in self.nodes.items()
            if path.startswith(f"{directory}/")
        )
        return {name: value for name, value in below if "/" not in name}

    def backend(self) -> PciConnection:
        return PciConnection.from_nodes(DOMID, self.children(BACK), self.nodes.get(f"{FRONT}/state"))

    def rest(self) -> None:
        """Both kernels come to rest in Connected."""
        self.nodes[f"{BACK}/state"] = self.nodes[f"{FRONT}/state"] = "4"

    def export(self, until: Sbdf | None = None) -> None:
        """pciback walks the entries: 1 becomes 3 with an address, 5 stays; it stops at the bad device `until`."""
        for index in range(int(self.nodes[f"{BACK}/num_devs"])):
            if self.nodes.get(f"{BACK}/state-{index}") != "1":
                continue
            if until is not None and self.nodes[f"{BACK}/dev-{index}"] == str(until):
                return
            address = f"0000:00:{self.guest_addresses % 32:02x}.00"
            self.guest_addresses += 1
            self.nodes[f"{BACK}/vdev-{index}"] = address
            self.nodes[f"{BACK}/state-{index}"] = "3"
        self.nodes[f"{BACK}/root_num"] = "1"
        self.nodes[f"{BACK}/root-0"] = "0000:00"

    def entries(self) -> dict[Sbdf, dict[str, str]]:
        """Each device's nodes, whatever their number."""
        nodes = self.children(BACK)
        found = {}
        for index in range(int(nodes["num_devs"])):
            found[Sbdf.parse(nodes[f"dev-{index}"])] = {
                kind: nodes[f"{kind}-{index}"] for kind in KINDS if f"{kind}-{index}" in nodes
            }
        return found

    def others(self) -> dict[str, str]:
        """All nodes of the backend that belong to no entry, without the count and the state."""
        return {
            name: value
            for name, value in self.children(BACK).items()
            if name not in ("num_devs", "state") and name.rpartition("-")[0] not in KINDS
        }


SBDFS = st.builds(Sbdf, st.just(0), st.integers(0, 9), st.integers(0, 0x1F), st.integers(0, 7))


@dataclass(frozen=True)
class Cycle:
    """One cycle: the positions to remove (modulo what is there) and the devices to add."""

    remove: frozenset[int]
    add: tuple[Sbdf, ...]


CYCLES = st.builds(
    Cycle,
    st.frozensets(st.integers(0, 7), max_size=4),
    st.lists(SBDFS, max_size=4, unique=True).map(tuple),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A domain with a connection at rest; some entries have nodes that others lack."""
    world = World()
    devices = draw(st.lists(SBDFS, min_size=1, max_size=6, unique=True))
    world.apply(changes.create(DOMID, "guest", devices))
    world.export()
    world.rest()
    for index in range(len(devices)):
        for kind in draw(st.sets(st.sampled_from(EXTRAS))):
            world.nodes[f"{BACK}/{kind}-{index}"] = f"{kind} of {devices[index]}"
        if draw(st.booleans()):
            del world.nodes[f"{BACK}/opts-{index}"]
    return world


def resolve(world: World, cycle: Cycle) -> tuple[list[Sbdf], list[Sbdf], list[Sbdf]]:
    """What stays, what is added and what is removed, in order; at least something stays or comes."""
    old = list(world.backend().devices)
    remove = [device for index, device in enumerate(old) if index in cycle.remove]
    add = [device for device in cycle.add if device not in old]
    return [device for device in old if device not in remove], add, remove


def assert_sound(world: World, devices: list[Sbdf]) -> None:
    backend = world.backend()
    assert backend.problems() == []
    assert list(backend.devices) == devices
    assert world.nodes[f"{BACK}/num_devs"] == str(len(devices))
    assert backend.stray_nodes == ()
    assert all({"dev", "key", "state"} <= set(dict(entry.nodes)) for entry in backend.entries)


@given(worlds(), st.lists(CYCLES, min_size=1, max_size=5))
def test_after_any_cycles_the_entries_are_old_minus_removed_plus_added(world: World, cycles: list[Cycle]) -> None:
    for cycle in cycles:
        stay, add, remove = resolve(world, cycle)
        if not stay + add:
            continue  # the last device goes by closing the connection
        before, others = world.entries(), world.others()

        world.apply(changes.reconfigure(world.backend(), add, remove))
        marked = world.backend()
        assert marked.state is XenbusState.RECONFIGURING
        assert {entry.device for entry in marked.entries if entry.state is SubState.TO_REMOVE} == set(remove)
        assert [entry.device for entry in marked.entries if entry.state is SubState.TO_ADD] == add
        world.export()
        world.rest()
        world.apply(changes.compact(world.backend(), remove))

        assert_sound(world, stay + add)
        after = world.entries()
        assert {device: after[device] for device in stay} == {device: before[device] for device in stay}
        assert all(entry.exported for entry in world.backend().entries)
        assert world.others() == others


@given(worlds(), CYCLES)
def test_withdrawing_leaves_every_node_as_it_was(world: World, cycle: Cycle) -> None:
    before = dict(world.nodes)
    _stay, add, remove = resolve(world, cycle)
    world.apply(changes.reconfigure(world.backend(), add, remove))
    world.apply(changes.withdraw(world.backend()))
    assert world.nodes == before


@given(worlds(), CYCLES, st.data())
def test_a_cycle_that_pciback_gave_up_can_be_led_to_an_end(world: World, cycle: Cycle, data: st.DataObject) -> None:
    stay, add, remove = resolve(world, cycle)
    if not add or not stay:
        return
    before = world.entries()
    bad = data.draw(st.sampled_from(add))
    world.apply(changes.reconfigure(world.backend(), add, remove))
    world.export(until=bad)
    world.nodes[f"{BACK}/state"], world.nodes[f"{FRONT}/state"] = "5", "7"

    world.apply(changes.restart_failed(world.backend(), add))
    again = world.backend()
    exported = add[: add.index(bad)]
    assert (again.state, again.frontend_state) == (XenbusState.RECONFIGURING, XenbusState.RECONFIGURING)
    assert list(again.devices) == stay + exported
    assert [entry.device for entry in again.entries if entry.state is SubState.TO_REMOVE] == exported
    # pciback finds what it is to remove by the guest's address.
    assert all(entry.guest_address is not None for entry in again.entries)
    assert again.stray_nodes == ()

    world.rest()
    world.apply(changes.compact(world.backend(), [*add, *remove]))
    assert_sound(world, stay)
    assert world.entries() == {device: before[device] for device in stay}


@given(worlds())
def test_restarting_after_the_guests_own_failure_keeps_what_was_exported(world: World) -> None:
    before = world.entries()
    world.apply(changes.restart_failed(world.backend(), ()))
    assert world.entries() == before


def test_a_new_connection_is_complete_before_anybody_can_see_it() -> None:
    devices = [Sbdf(0, 3, 0, 0), Sbdf(0, 3, 0, 1)]
    world = World({f"{BACK}/dev-9": "left over", f"{FRONT}/state": "6"})
    steps = changes.create(DOMID, "guest", devices)
    world.apply(steps)
    assert world.children(BACK) == {
        "frontend": FRONT,
        "frontend-id": "7",
        "online": "1",
        "domain": "guest",
        "state": "1",
        "num_devs": "2",
        "dev-0": "0000:03:00.0",
        "key-0": "0000:03:00.0",
        "opts-0": changes.DEFAULT_OPTIONS,
        "state-0": "1",
        "dev-1": "0000:03:00.1",
        "key-1": "0000:03:00.1",
        "opts-1": changes.DEFAULT_OPTIONS,
        "state-1": "1",
    }
    assert world.children(FRONT) == {"backend": BACK, "backend-id": "0", "state": "1"}
    # The guest may read dom0's end and owns its own; children inherit, so each directory comes first.
    assert world.permissions == {BACK: ("n0", "r7"), FRONT: ("n7", "r0")}
    for directory in (BACK, FRONT):
        below = [index for index, step in enumerate(steps) if step.path.startswith(f"{directory}/")]
        assert steps.index(Directory(directory, world.permissions[directory])) < below[0]


def test_closing_asks_for_unregistering_and_can_be_taken_back() -> None:
    world = World()
    world.apply(changes.create(DOMID, "guest", [Sbdf(0, 3, 0, 0)]))
    world.export()
    world.rest()
    before = dict(world.nodes)
    world.apply(changes.close(DOMID))
    assert (world.nodes[f"{BACK}/online"], world.nodes[f"{BACK}/state"]) == ("0", "5")
    assert world.nodes[f"{FRONT}/state"] == "4"
    world.apply(changes.reopen(DOMID))
    assert world.nodes == before


def test_nothing_is_left_of_a_dissolved_connection() -> None:
    world = World({"/local/domain/7/device/vif/0/state": "4"})
    world.apply(changes.create(DOMID, "guest", [Sbdf(0, 3, 0, 0)]))
    world.apply(changes.dissolve(DOMID))
    assert world.nodes == {"/local/domain/7/device/vif/0/state": "4"}
    assert all(step.prune for step in changes.dissolve(DOMID) if isinstance(step, Remove))


@given(worlds())
def test_the_request_to_reconfigure_is_written_last(world: World) -> None:
    steps = changes.reconfigure(world.backend(), [Sbdf(1, 0, 0, 0)], world.backend().devices[:1])
    assert steps[-1] == Write(f"{BACK}/state", "7")
    assert [step for step in steps if step.path == f"{BACK}/state"] == steps[-1:]
