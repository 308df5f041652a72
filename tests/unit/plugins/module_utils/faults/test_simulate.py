# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of a host without its faults, a plan sees what it will see of the real one, and loses nothing of others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.xen.pci.plugins.module_utils.faults.finding import Finding
from ansible_collections.xen.pci.plugins.module_utils.faults.recipes import Recipe, RecipeKind
from ansible_collections.xen.pci.plugins.module_utils.faults.simulate import (
    CONNECTION_SIMULATIONS,
    DEVICE_SIMULATIONS,
    simulate_repair,
)
from ansible_collections.xen.pci.plugins.module_utils.faults.table import Fault
from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import PCIBACK, PciDevice, XenOwner
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B = Sbdf(0, 1, 0, 0), Sbdf(0, 2, 0, 0)


def connection(domid: int, *devices: Sbdf, sub_state: str = "3") -> PciConnection:
    nodes = {"state": "4", "num_devs": str(len(devices))}
    for index, device in enumerate(devices):
        nodes |= {f"dev-{index}": str(device), f"key-{index}": str(device), f"state-{index}": sub_state}
        nodes[f"vdev-{index}"] = f"0000:00:{index:02x}.00"
    return PciConnection.from_nodes(domid, nodes, "4")


def host(backend: PciConnection, **more: object) -> Host:
    markers = dict.fromkeys(backend.devices, backend.domid)
    owners = dict.fromkeys(backend.devices, XenOwner.GUEST)
    return Host({}, {1: Domain(1, "g1", own_connection=backend)}, **{"markers": markers, "xen_owners": owners, **more})


def repaired(faulty: Host, *findings: Finding) -> Host:
    return simulate_repair(faulty, findings)


def test_entries_of_a_removal_are_gone_and_then_their_rights() -> None:
    faulty = host(connection(1, A, B))
    backend = faulty.domains[1].own_connection
    assert backend is not None
    half = PciConnection.from_nodes(1, {**backend.nodes, "state-0": "5"}, "4")
    after = repaired(host(half), Finding(Fault.UNFINISHED_REMOVAL, "", 1, "g1", (A,)))
    assert after.domains[1].devices == (B,)
    assert after.domains[1].own_connection is not None and after.domains[1].own_connection.problems() == []
    assert after.markers == {A: 1, B: 1}
    after = repaired(after, Finding(Fault.LEFT_RIGHTS, "", 1, "g1", (A,)))
    assert after.markers == {B: 1}
    assert after.xen_owners[A] is XenOwner.HOST


def test_a_connection_that_loses_its_last_entry_is_gone() -> None:
    after = repaired(host(connection(1, A, sub_state="5")), Finding(Fault.UNFINISHED_REMOVAL, "", 1, "g1", (A,)))
    assert after.domains[1].own_connection is None


def test_a_closed_connection_is_gone() -> None:
    closed = replace(host(connection(1, A)), kernel_connections=frozenset({1, 2}))
    after = simulate_repair(closed, [Finding(Fault.UNFINISHED_CLOSE, "", 1, "g1", (A,))])
    assert after.domains[1].own_connection is None
    assert after.kernel_connections == {2}


def test_what_a_dead_domain_has_left_costs_a_living_one_nothing() -> None:
    faulty = host(connection(1, A), markers={A: 1, B: 7}, orphaned_connections={7: connection(7, A)})
    findings = [Finding(Fault.ORPHANED_CONNECTION, "", 7, "", (A,)), Finding(Fault.DEAD_MARKER, "", 7, "", (B,))]
    after = repaired(faulty, *findings)
    assert after.domains[1].devices == (A,)
    assert after.orphaned_connections == {} and after.markers == {A: 1}


def test_what_a_killed_repair_was_to_bring_back_is_there() -> None:
    device = PciDevice(A, "8086", "10d3", "", "", "020000", "", driver=PCIBACK)
    faulty = replace(host(connection(1, A)), devices={A: device}, domains={1: Domain(1, "g1")})
    after = repaired(faulty, Finding(Fault.UNFINISHED_REPAIR, "", 1, "g1", (A,)))
    backend = after.domains[1].own_connection
    assert after.domains[1].devices == (A,)
    assert backend is not None and backend.connected and backend.problems() == []


def test_what_is_in_order_stays_so() -> None:
    faulty = host(connection(1, A))
    assert repaired(faulty, Finding(Fault.MISSING_MARKER, "", 1, "g1", (A,))) == faulty


def test_pcibacks_list_names_what_it_holds_once_and_nothing_else() -> None:
    held = PciDevice(A, "8086", "10d3", "", "", "020000", "", driver=PCIBACK, pciback_slots=3)
    elsewhere = replace(held, sbdf=B, driver="e1000e", pciback_slots=1)
    faulty = Host({A: held, B: elsewhere}, {})
    after = repaired(faulty, Finding(Fault.STRAY_SLOT, "", devices=(A, B)))
    assert [after.devices[one].pciback_slots for one in (A, B)] == [1, 0]


@pytest.mark.parametrize("recipe", Recipe, ids=lambda recipe: recipe.name)
def test_each_recipe_is_simulated_according_to_its_kind(recipe: Recipe) -> None:
    assert (recipe in DEVICE_SIMULATIONS) == (recipe.kind is RecipeKind.DEVICE)
    assert (recipe in CONNECTION_SIMULATIONS) == (recipe.kind in (RecipeKind.CONNECTION, RecipeKind.GUEST))
