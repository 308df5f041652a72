# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of a host without its faults, a plan sees what it will see of the real one, and loses nothing of others."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.xen.pci.plugins.module_utils.decisions.diagnose import Finding, Signs
from ansible_collections.xen.pci.plugins.module_utils.decisions.faults import Fault
from ansible_collections.xen.pci.plugins.module_utils.decisions.mended import assuming_mended
from ansible_collections.xen.pci.plugins.module_utils.model.backend import Backend
from ansible_collections.xen.pci.plugins.module_utils.model.host import PCIBACK, Domain, Host, PciDevice, XenOwner
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B = Sbdf(0, 1, 0, 0), Sbdf(0, 2, 0, 0)


def connection(domid: int, *devices: Sbdf, sub_state: str = "3") -> Backend:
    nodes = {"state": "4", "num_devs": str(len(devices))}
    for index, device in enumerate(devices):
        nodes |= {f"dev-{index}": str(device), f"key-{index}": str(device), f"state-{index}": sub_state}
        nodes[f"vdev-{index}"] = f"0000:00:{index:02x}.00"
    return Backend.from_nodes(domid, nodes, "4")


def host(backend: Backend, **more: object) -> Host:
    markers = dict.fromkeys(backend.devices, backend.domid)
    owners = dict.fromkeys(backend.devices, XenOwner.GUEST)
    return Host({}, {1: Domain(1, "g1", backend=backend)}, **{"markers": markers, "xen_owners": owners, **more})


def mended(sick: Host, *findings: Finding) -> Host:
    return assuming_mended(Signs(sick), findings).host


def test_entries_of_a_removal_are_gone_and_then_their_rights() -> None:
    sick = host(connection(1, A, B))
    backend = sick.domains[1].backend
    assert backend is not None
    half = Backend.from_nodes(1, {**backend.nodes, "state-0": "5"}, "4")
    after = mended(host(half), Finding(Fault.UNFINISHED_REMOVAL, "", 1, "g1", (A,)))
    assert after.domains[1].devices == (B,)
    assert after.domains[1].backend is not None and after.domains[1].backend.problems() == []
    assert after.markers == {A: 1, B: 1}
    after = mended(after, Finding(Fault.LEFT_RIGHTS, "", 1, "g1", (A,)))
    assert after.markers == {B: 1}
    assert after.xen_owners[A] is XenOwner.HOST


def test_a_connection_that_loses_its_last_entry_is_gone() -> None:
    after = mended(host(connection(1, A, sub_state="5")), Finding(Fault.UNFINISHED_REMOVAL, "", 1, "g1", (A,)))
    assert after.domains[1].backend is None


def test_a_closed_connection_is_gone() -> None:
    signs = Signs(host(connection(1, A)), frozenset({1, 2}))
    after = assuming_mended(signs, [Finding(Fault.UNFINISHED_CLOSE, "", 1, "g1", (A,))])
    assert after.host.domains[1].backend is None
    assert after.kernel_connections == {2}


def test_what_a_dead_domain_has_left_costs_a_living_one_nothing() -> None:
    sick = host(connection(1, A), markers={A: 1, B: 7}, ghosts={7: connection(7, A)})
    findings = [Finding(Fault.GHOST_CONNECTION, "", 7, "", (A,)), Finding(Fault.DEAD_MARKER, "", 7, "", (B,))]
    after = mended(sick, *findings)
    assert after.domains[1].devices == (A,)
    assert after.ghosts == {} and after.markers == {A: 1}


def test_what_a_killed_repair_was_to_bring_back_is_there() -> None:
    device = PciDevice(A, "8086", "10d3", "", "", "020000", "", driver=PCIBACK)
    sick = replace(host(connection(1, A)), devices={A: device}, domains={1: Domain(1, "g1")})
    after = mended(sick, Finding(Fault.UNFINISHED_REPAIR, "", 1, "g1", (A,)))
    backend = after.domains[1].backend
    assert after.domains[1].devices == (A,)
    assert backend is not None and backend.connected and backend.problems() == []


def test_what_is_in_order_stays_so() -> None:
    sick = host(connection(1, A))
    assert mended(sick, Finding(Fault.MISSING_MARKER, "", 1, "g1", (A,))) == sick
