# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of a host without its faults, a plan sees what it will see of the real one, and loses nothing of others."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.xen.pci.plugins.module_utils.decisions.diagnose import Finding
from ansible_collections.xen.pci.plugins.module_utils.decisions.faults import Fault
from ansible_collections.xen.pci.plugins.module_utils.decisions.mended import assuming_mended
from ansible_collections.xen.pci.plugins.module_utils.model.backend import Backend
from ansible_collections.xen.pci.plugins.module_utils.model.host import Domain, Host, XenOwner
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B = Sbdf(0, 1, 0, 0), Sbdf(0, 2, 0, 0)


def connection(domid: int, *devices: Sbdf, sub_state: str = "3") -> Backend:
    nodes = {"state": "4", "num_devs": str(len(devices))}
    for index, device in enumerate(devices):
        nodes |= {f"dev-{index}": str(device), f"state-{index}": sub_state}
    return Backend.from_nodes(domid, nodes, "4")


def host(backend: Backend, **more: object) -> Host:
    markers = dict.fromkeys(backend.devices, backend.domid)
    owners = dict.fromkeys(backend.devices, XenOwner.GUEST)
    return Host({}, {1: Domain(1, "g1", backend=backend)}, **{"markers": markers, "xen_owners": owners, **more})


def test_entries_of_a_removal_are_gone_with_marker_and_owner() -> None:
    after = assuming_mended(
        host(connection(1, A, B, sub_state="5")), [Finding(Fault.UNFINISHED_REMOVAL, "", 1, "g1", (A,))]
    )
    assert after.domains[1].devices == (B,)
    assert after.markers == {B: 1}
    assert after.xen_owners[A] is XenOwner.HOST


def test_a_closed_connection_is_gone() -> None:
    after = assuming_mended(host(connection(1, A)), [Finding(Fault.UNFINISHED_CLOSE, "", 1, "g1", (A,))])
    assert after.domains[1].backend is None
    assert after.markers == {}


def test_what_a_dead_domain_has_left_costs_a_living_one_nothing() -> None:
    sick = host(connection(1, A), markers={A: 7}, ghosts={7: connection(7, A)})
    findings = [Finding(Fault.GHOST_CONNECTION, "", 7, "", (A,)), Finding(Fault.DEAD_MARKER, "", 7, "", (A,))]
    after = assuming_mended(sick, findings)
    assert after.domains[1].devices == (A,)
    assert after.ghosts == {} and after.markers == {}


def test_what_a_killed_repair_was_to_bring_back_is_there() -> None:
    sick = replace(host(connection(1, A)), domains={1: Domain(1, "g1")})
    after = assuming_mended(sick, [Finding(Fault.UNFINISHED_REPAIR, "", 1, "g1", (A,))])
    backend = after.domains[1].backend
    assert after.domains[1].devices == (A,)
    assert backend is not None and backend.connected and backend.problems() == []


def test_what_a_plan_does_not_see_changes_nothing() -> None:
    sick = host(connection(1, A))
    assert assuming_mended(sick, [Finding(Fault.MISSING_MARKER, "", 1, "g1", (A,))]) == sick
