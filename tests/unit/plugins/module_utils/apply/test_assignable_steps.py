# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves between drivers and pciback: done in full, or undone in full wherever they fail."""

from __future__ import annotations

import copy
import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from ansible_collections.xen.pci.plugins.module_utils.apply.assignable_steps import apply
from ansible_collections.xen.pci.plugins.module_utils.apply.undo import StepFailed
from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess
from ansible_collections.xen.pci.plugins.module_utils.host.note_store import NoteStore
from ansible_collections.xen.pci.plugins.module_utils.host.observe import _current_notes
from ansible_collections.xen.pci.plugins.module_utils.host.sysfs import SysfsError
from ansible_collections.xen.pci.plugins.module_utils.host.xen_calls import HypervisorError
from ansible_collections.xen.pci.plugins.module_utils.model.boot_facts import DriverModule
from ansible_collections.xen.pci.plugins.module_utils.model.device import NetInterface, PciDevice, XenOwner
from ansible_collections.xen.pci.plugins.module_utils.model.domain import DOMID_IO
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.notes import Note
from ansible_collections.xen.pci.plugins.module_utils.model.store_changes import Change, Write
from ansible_collections.xen.pci.plugins.module_utils.plan.device_steps import (
    FinishRelease,
    MakePermissive,
    Quarantine,
    Rebind,
    Release,
    Step,
    Take,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import DevicePolicy
from ansible_collections.xen.pci.plugins.module_utils.values.identity import Remembered

A, B, C = (Sbdf.parse(f"0000:0{number}:00.0") for number in (1, 2, 3))
E1000E, NVME = "/sys/bus/pci/drivers/e1000e", "/sys/bus/pci/drivers/nvme"
STEPS: tuple[Step, ...] = (
    Release(C, "nvme", NVME),
    Take(A, "e1000e", None),
    Take(B, None, None),
    MakePermissive(B, "firmware"),
)


class World:
    """Sysfs, xenstore and Xen in one: A with a driver, B with none, C in pciback and quarantine.

    The change number `fail_at` is refused.
    """

    timeout = 1.0

    def __init__(self) -> None:
        self.bound: dict[Sbdf, str | None] = {A: "e1000e", B: None, C: "pciback"}
        self.slots = {C}
        self.unprobed: set[Sbdf] = set()
        self.overrides: dict[Sbdf, str] = {}
        self.dead: set[Sbdf] = set()
        self.quarantine = {C}
        self.lifted: set[Sbdf] = set()
        self.owners: dict[Sbdf, XenOwner] = {}
        self.nodes = {f"/libxl/pci/{C.libxl_key}/driver_path": NVME}
        self.changes = 0
        self.fail_at = -1
        NoteStore(cast(Any, self)).write(C, Note(True, "8086:10d3"))
        self.changes = 0

    def state(self) -> Any:
        return copy.deepcopy((self.bound, self.slots, self.quarantine, self.nodes, self.lifted))

    def _change(self, failure: Exception) -> None:
        self.changes += 1
        if self.changes == self.fail_at:
            raise failure

    # sysfs
    def driver_of(self, sbdf: Sbdf) -> str | None:
        return self.bound[sbdf]

    def driver_override(self, sbdf: Sbdf) -> str | None:
        return self.overrides.get(sbdf)

    def needs_driver_override(self, sbdf: Sbdf) -> bool:
        return sbdf in self.unprobed

    def set_driver_override(self, sbdf: Sbdf, driver: str) -> None:
        self._change(SysfsError("no override"))
        self.overrides[sbdf] = driver

    def clear_driver_override(self, sbdf: Sbdf) -> None:
        self.overrides.pop(sbdf, None)

    def answers(self, sbdf: Sbdf) -> bool:
        return sbdf not in self.dead

    def unbind(self, sbdf: Sbdf) -> None:
        if self.bound[sbdf] is not None:
            self._change(SysfsError("no unbind"))
            self.bound[sbdf] = None
            self.lifted.discard(sbdf)

    def bind(self, sbdf: Sbdf, driver: str) -> None:
        self._change(SysfsError("no bind"))
        assert self.bound[sbdf] is None, "bind of a device that has a driver"
        assert sbdf not in self.unprobed or self.overrides.get(sbdf) == driver, "no driver but the reserved one"
        assert driver != "pciback" or sbdf in self.slots, "pciback takes only what is on its list"
        self.bound[sbdf] = driver

    def probe(self, sbdf: Sbdf) -> bool:
        self._change(SysfsError("no probe"))
        return False

    def drivers(self) -> frozenset[str]:
        return frozenset({"pciback", "e1000e", "nvme"})

    def drivers_of_module(self, module: str) -> list[str]:
        return [name for name in self.drivers() if name == module]

    def pciback_loaded(self) -> bool:
        return True

    def add_slot(self, sbdf: Sbdf) -> bool:
        self._change(SysfsError("no slot"))
        new = sbdf not in self.slots
        self.slots.add(sbdf)
        return new

    def remove_slot(self, sbdf: Sbdf) -> bool:
        self._change(SysfsError("no removal of the slot"))
        there = sbdf in self.slots
        self.slots.discard(sbdf)
        return there

    def permissive(self, sbdf: Sbdf) -> bool:
        return sbdf in self.lifted

    def set_permissive(self, sbdf: Sbdf) -> None:
        self._change(SysfsError("no permissive"))
        assert self.bound[sbdf] == "pciback"
        self.lifted.add(sbdf)

    # Xen
    def owner(self, sbdf: Sbdf) -> XenOwner:
        return self.owners.get(sbdf, XenOwner.HOST)

    def assign(self, domid: int, sbdf: Sbdf, relaxed: bool = False) -> None:
        assert (domid, relaxed) == (DOMID_IO, True)
        self._change(HypervisorError("no quarantine", errno.EOPNOTSUPP))
        self.quarantine.add(sbdf)

    def deassign(self, domid: int, sbdf: Sbdf) -> None:
        assert domid == DOMID_IO
        self._change(HypervisorError("no release", errno.EOPNOTSUPP))
        if sbdf not in self.quarantine:
            raise HypervisorError("not quarantined", errno.ENODEV)
        self.quarantine.discard(sbdf)

    # xenstore
    def write(self, path: str, value: str) -> None:
        self.nodes[path] = value

    def remove(self, path: str) -> None:
        for node in [node for node in self.nodes if node == path or node.startswith(f"{path}/")]:
            del self.nodes[node]

    def transaction(self, body: Callable[[Any], Any]) -> Any:
        return body(self)

    def read(self, path: str) -> str | None:
        return self.nodes.get(path)

    def read_all(self, paths: Sequence[str]) -> Any:
        return [self.read(path) for path in paths]

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change, Write):
                self.write(change.path, change.value)
            else:
                self.remove(change.path)

    def list(self, path: str) -> list[str]:
        return sorted({node[len(path) + 1 :].split("/")[0] for node in self.nodes if node.startswith(f"{path}/")})

    def children(self, path: str) -> dict[str, str]:
        return {name: self.nodes.get(f"{path}/{name}", "") for name in self.list(path)}


def host(world: World) -> Host:
    interface = NetInterface("eth1", "52:54:00:00:01:01", is_up=False)
    devices = {
        sbdf: PciDevice(
            sbdf, "8086", "10d3", "", "", "020000", "00", driver=driver, net=(interface,) if sbdf == A else ()
        )
        for sbdf, driver in world.bound.items()
    }
    return Host(devices=devices, domains={})


def run(world: World, *steps: Step) -> None:
    access: Any = world
    apply(HostAccess(access, access, access), replace(host(world), notes=NoteStore(access).all()), steps)


def test_devices_are_moved_recorded_and_noted() -> None:
    world = World()
    run(world, *STEPS)
    assert world.bound == {A: "pciback", B: "pciback", C: "nvme"}
    assert (world.slots, world.quarantine) == ({A, B}, {A, B})
    assert world.nodes[f"/libxl/pci/{A.libxl_key}/driver_path"] == E1000E
    assert not [path for path in world.nodes if C.libxl_key in path]
    notes = NoteStore(cast(Any, world)).all()
    assert set(notes) == {A, B}
    assert notes[A].quarantined
    assert notes[A].identity.macs == ("52:54:00:00:01:01",)


def count_changes() -> int:
    world = World()
    run(world, *STEPS)
    return world.changes


@pytest.mark.parametrize("fail_at", range(1, count_changes() + 1))
def test_whatever_fails_everything_is_as_before(fail_at: int) -> None:
    world = World()
    before = world.state()
    world.fail_at = fail_at
    with pytest.raises(StepFailed, match="all is as before") as caught:
        run(world, *STEPS)
    assert caught.value.left == ()
    assert world.state() == before


def test_what_cannot_be_undone_is_told() -> None:
    world = World()

    def refuse(sbdf: Sbdf, driver: str) -> None:
        raise SysfsError(f"{sbdf} could not be given to {driver}")

    world.bind = refuse  # type: ignore[method-assign]
    with pytest.raises(StepFailed, match="not everything could be undone") as caught:
        run(world, Take(A, "e1000e", None))
    assert caught.value.left == (f"{A} could not be given to e1000e",)


def test_a_device_hidden_at_boot_was_never_quarantined_and_is_released() -> None:
    world = World()
    world.quarantine.clear()
    run(world, Release(C, None, None))
    assert (world.bound[C], world.slots) == (None, set())


def test_a_release_that_xen_refuses_for_another_reason_is_refused() -> None:
    world = World()
    world.fail_at = 1
    with pytest.raises(StepFailed, match="no release"):
        run(world, Release(C, "nvme", NVME))
    assert world.bound[C] == "pciback"


def test_a_driver_of_now_replaces_an_older_record() -> None:
    world = World()
    world.nodes[f"/libxl/pci/{A.libxl_key}/driver_path"] = NVME
    run(world, Take(A, "e1000e", NVME))
    assert world.nodes[f"/libxl/pci/{A.libxl_key}/driver_path"] == E1000E


def test_quarantine_leaves_the_binding_alone() -> None:
    world = World()
    world.quarantine.clear()
    run(world, Quarantine(C))
    assert world.quarantine == {C}
    assert world.bound[C] == "pciback"
    assert NoteStore(cast(Any, world)).all()[C].quarantined


def test_a_quarantine_that_left_the_device_with_a_guest_is_noticed() -> None:
    world = World()
    world.owners[A] = XenOwner.GUEST
    before = world.state()
    with pytest.raises(StepFailed, match="is not in quarantine although Xen accepted it"):
        run(world, Take(A, "e1000e", None))
    assert world.state() == before


def test_name_and_reasons_are_noted_and_what_was_known_is_kept() -> None:
    world = World()
    policy = DevicePolicy("uplink", {"network": "spare"}, "old card")
    NoteStore(cast(Any, world)).write(C, Note(product="8086:10d3", identity=Remembered("NV1")))
    run(world, Take(A, "e1000e", None, policy), Quarantine(C, DevicePolicy("scratch")), MakePermissive(C, "firmware"))
    notes = NoteStore(cast(Any, world)).all()
    assert (notes[A].name, notes[A].reasons) == ("uplink", {"network": "spare", "permissive": "old card"})
    assert (notes[C].name, notes[C].identity.nvme_serial) == ("scratch", "NV1")
    assert notes[C].reasons == {"permissive": "firmware"}
    assert world.lifted == {C}


def test_permissive_is_cleared_by_letting_go() -> None:
    world = World()
    world.lifted = {C}
    run(world, Rebind(C))
    assert (world.bound[C], world.lifted, world.quarantine) == ("pciback", set(), {C})


def test_permissive_that_does_not_hold_is_an_error() -> None:
    world = World()
    world.set_permissive = lambda sbdf: None  # type: ignore[method-assign]
    with pytest.raises(StepFailed, match="not permissive although pciback accepted"):
        run(world, MakePermissive(C, "firmware"))


def test_a_release_that_others_began_is_finished() -> None:
    world = World()
    world.bound[C] = None
    run(world, FinishRelease(C, "nvme", NVME))
    assert (world.bound[C], world.slots) == ("nvme", set())
    assert not [path for path in world.nodes if path.startswith("/libxl")]


def test_notes_of_devices_that_others_released_or_swapped_mean_nothing() -> None:
    world = World()
    store = cast(Any, world)
    assert set(_current_notes(NoteStore(store).all(), host(world).devices)) == {C}
    NoteStore(store).write(C, Note(True, "15b3:1017"))
    assert _current_notes(NoteStore(store).all(), host(world).devices) == {}
    NoteStore(store).write(C, Note(True, "8086:10d3"))
    world.bound[C] = "nvme"
    assert _current_notes(NoteStore(store).all(), host(world).devices) == {}


class Resettable(World):
    """The same, whose devices may have a reset: None if they have none."""

    def __init__(self, outcome: Exception | bool) -> None:
        super().__init__()
        self.outcome = outcome
        self.held_at_reset: list[str | None] = []

    def reset(self, sbdf: Sbdf) -> bool:
        self.held_at_reset.append(self.bound[sbdf])
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def test_what_a_guest_had_is_reset_while_pciback_still_has_it() -> None:
    world = Resettable(True)
    run(world, Release(C, "nvme", NVME, "web01"))
    assert (world.held_at_reset, world.bound[C]) == (["pciback"], "nvme")
    world = Resettable(True)
    run(world, Release(C, "nvme", NVME))
    assert world.held_at_reset == []


@pytest.mark.parametrize("outcome", [False, SysfsError("no reset")])
def test_without_the_reset_it_stays_with_pciback(outcome: Exception | bool) -> None:
    world = Resettable(outcome)
    before = world.state()
    with pytest.raises(StepFailed, match=r"reset"):
        run(world, Release(C, "nvme", NVME, "web01"))
    assert world.state() == before


def test_a_device_that_its_reset_has_killed_stays_with_pciback() -> None:
    world = Resettable(True)
    before = world.state()
    world.dead = {C}
    with pytest.raises(StepFailed, match="does not answer after its reset"):
        run(world, Release(C, "nvme", NVME, "web01"))
    assert world.state() == before


class Loaded:
    """The world's sysfs, with these drivers loaded."""

    def __init__(self, world: World, names: set[str]) -> None:
        self._world, self._names = world, names

    def drivers(self) -> frozenset[str]:
        return frozenset(self._names)

    def drivers_of_module(self, module: str) -> list[str]:
        return ["e1000e"] if module == "e1000e" else []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)


class Modules:
    """Kernel modules that fit every device, and which of them were loaded."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def drivers_of(self, devices: list[tuple[Sbdf, str]]) -> dict[Sbdf, tuple[DriverModule, ...]]:
        modules = (DriverModule("e1000e"), DriverModule("ahci", built_in=True), DriverModule("nouveau", unwanted=True))
        return {sbdf: modules for sbdf, _modalias in devices}

    def load(self, name: str) -> str:
        self.loaded.append(name)
        return ""


@pytest.mark.parametrize(("there", "loaded"), [({"pciback"}, ["e1000e"]), ({"pciback", "e1000e"}, [])])
def test_a_driver_that_fits_is_loaded_if_it_is_not(there: set[str], loaded: list[str]) -> None:
    world, modules = World(), Modules()
    devices = {C: replace(host(world).devices[C], modalias="pci:v00008086d000010D3")}
    access: Any = world
    seen = HostAccess(access, cast(Any, Loaded(world, there)), access)
    seen.modules = cast(Any, modules)
    apply(seen, Host(devices=devices, domains={}), [Release(C, None, None)])
    assert modules.loaded == loaded
    assert world.bound[C] == "e1000e"


def test_the_guest_that_gets_a_device_is_noted_beside_what_else_is_known_of_it() -> None:
    world = World()
    store = cast(Any, world)
    NoteStore(store).write_guest([host(world).devices[C]], 1, "web01")
    assert NoteStore(store).all()[C] == Note(True, "8086:10d3", guest="web01", given_to=1)
    NoteStore(store).write(C, Note(True, "15b3:1017"))
    NoteStore(store).write_guest([host(world).devices[C]], 2, "web02")
    assert NoteStore(store).all()[C] == Note(False, "8086:10d3", guest="web02", given_to=2), (
        "another device than the one noted"
    )


def test_a_virtual_function_that_drivers_are_not_offered_is_reserved_for_pciback_until_its_release() -> None:
    world = World()
    world.unprobed = {B}
    run(world, Take(B, None, None))
    assert (world.bound[B], world.overrides) == ("pciback", {B: "pciback"})
    before = world.state()
    world.fail_at = world.changes + 1
    with pytest.raises(StepFailed, match="all is as before"):
        run(world, Release(B, None, None))
    assert world.state() == before
    run(world, Release(B, None, None))
    assert (world.bound[B], world.overrides) == (None, {})
    world.fail_at = world.changes + 4
    with pytest.raises(StepFailed, match="all is as before"):
        run(world, Take(B, None, None))
    assert world.overrides == {}
