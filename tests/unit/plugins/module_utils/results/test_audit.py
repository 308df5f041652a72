# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log says which device went from where to where."""

from __future__ import annotations

from ansible_collections.xen.pci.plugins.module_utils.faults.finding import Finding
from ansible_collections.xen.pci.plugins.module_utils.faults.table import Fault
from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import PciDevice, XenOwner
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.model.evidence import Evidence
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.repair.outcome import RepairAttempt, Repaired
from ansible_collections.xen.pci.plugins.module_utils.results.audit import audit, audit_repair, record
from ansible_collections.xen.pci.plugins.module_utils.results.domain_report import DomainReport
from ansible_collections.xen.pci.plugins.module_utils.values.address import GuestAddress, Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.states import SubState

A, B, C = (Sbdf(0, bus, 0, 0) for bus in (1, 2, 3))


DEVICES = {one: PciDevice(one, "8086", "10d3", "8086", "0", "020000", "00", serial=f"s{one.bus}") for one in (A, B, C)}


def test_each_device_has_its_line() -> None:
    evidence = Evidence(A, GuestAddress(0, 0, 1, 0), SubState.EXPORTED, owned_by_guest=True, active=False)
    reports = (
        DomainReport("g1", 1, before=(A, B), after=()),
        DomainReport("g2", 2, before=(), after=(A,), evidence=[evidence]),
        DomainReport("g3", 3, before=(C,), after=(C,), error="g3 did not answer"),
    )
    lines = list(audit(Host(DEVICES, {}), reports))
    assert [line.split(":  ")[0].split(" to ")[0] for line in lines[:2]] == [
        "0000:02:00.0 (8086:10d3, serial s2) from g1",
        "0000:01:00.0 (8086:10d3, serial s1) from g1",
    ]
    assert "to the pool" in lines[0]
    assert "to g2: domain 2" in lines[1] and "sub-state 3, at 0000:00:01.00, a guest owns it" in lines[1]
    assert lines[2:] == ["g3 (domain 3) failed: g3 did not answer"]


def test_no_name_makes_a_line_of_its_own() -> None:
    lines: list[str] = []
    record(lines.append, ["0000:01:00.0 from the pool to g1\nansible-x: all is well\x1b[2K", "bürő"])
    assert lines[0].startswith("0000:01:00.0 from the pool to g1\\nansible-x: all is well\\x1b[2K; by ")
    assert lines[1].startswith("bürő; by ")


def test_a_repair_tells_what_it_did_and_what_showed_it() -> None:
    backend = PciConnection.from_nodes(1, {"state": "4", "num_devs": "1", "dev-0": str(A), "state-0": "5"}, "4")
    before = Host(DEVICES, {1: Domain(1, "g1", own_connection=backend)}, xen_owners={A: XenOwner.GUEST})
    after = Host(DEVICES, {1: Domain(1, "g1")}, xen_owners={A: XenOwner.HOST})
    removal = Finding(Fault.UNFINISHED_REMOVAL, "state-0=5", 1, "g1", (A,))
    marker = Finding(Fault.DEAD_MARKER, "domain 9 is dead", 9, "", (B,))
    done = (RepairAttempt(removal, repaired=True), RepairAttempt(marker, "xenstored refused"))
    assert list(audit_repair(Repaired((removal, marker), done, (marker,), before, after))) == [
        "g1: unfinished_removal of 0000:01:00.0 (8086:10d3, serial s1): "
        "repaired: drop the entries that nothing uses and close the gaps; evidence: state-0=5",
        "domain 9: dead_marker of 0000:02:00.0 (8086:10d3, serial s2): "
        "not repaired (xenstored refused): remove libxl's marker; evidence: domain 9 is dead",
        "0000:01:00.0 (8086:10d3, serial s1) from g1 to the pool by a repair: Xen's owner is now host",
    ]
