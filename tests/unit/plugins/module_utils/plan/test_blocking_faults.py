# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fault forbids a plan unless it is harmless, may pass, or ends with what the plan removes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.faults.finding import Finding
from ansible_collections.xen.pci.plugins.module_utils.faults.table import Blocks, Fault
from ansible_collections.xen.pci.plugins.module_utils.model.device_model import DeviceModel
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain, DomainKind
from ansible_collections.xen.pci.plugins.module_utils.plan.blocking_faults import blocking_faults
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import DomainPlan, DomainsPlan
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B = Sbdf.parse("0000:01:00.0"), Sbdf.parse("0000:02:00.0")
G1 = Domain(domid=1, name="g1", uuid="", kind=DomainKind.PV, own_connection=None)


def plan(*, add: tuple[Sbdf, ...] = (), remove: tuple[Sbdf, ...] = (), keep: tuple[Sbdf, ...] = ()) -> DomainsPlan:
    return DomainsPlan((DomainPlan(G1, add, remove, keep),))


def finding(fault: Fault, *devices: Sbdf) -> Finding:
    return Finding(fault, "as seen", 1, "g1", devices)


@pytest.mark.parametrize("fault", [Fault.MISSING_MARKER, Fault.RIGHTS_MISSING, Fault.NOT_IN_PCIBACK])
def test_a_fault_of_a_device_that_stays_is_named_with_the_way_out(fault: Fault) -> None:
    [refusal] = blocking_faults([finding(fault, A)], plan(keep=(A,)))
    assert codes([refusal]) == [(fault.code, "g1")]
    assert str(A) in str(refusal) and fault.advice in str(refusal)
    assert "xen.pci.repair" in refusal.advice and "repair: first" in refusal.advice


@pytest.mark.parametrize("fault", [Fault.MISSING_MARKER, Fault.RIGHTS_MISSING, Fault.SHARED_DEVICE])
def test_a_removal_ends_the_fault_of_its_device_and_no_other(fault: Fault) -> None:
    assert blocking_faults([finding(fault, A)], plan(remove=(A,), keep=(B,))) == []
    assert len(blocking_faults([finding(fault, B)], plan(remove=(A,), keep=(B,)))) == 1


@pytest.mark.parametrize("fault", [Fault.DEVICE_GONE, Fault.NOT_IN_PCIBACK])
def test_what_pciback_does_not_have_goes_with_the_whole_connection_only(fault: Fault) -> None:
    assert len(blocking_faults([finding(fault, A)], plan(remove=(A,), keep=(B,)))) == 1
    assert blocking_faults([finding(fault, A)], plan(remove=(A,))) == []
    emulated = DomainPlan(replace(G1, device_model=DeviceModel({})), (), (A,), (B,))
    assert blocking_faults([finding(fault, A)], DomainsPlan((emulated,))) == []


@pytest.mark.parametrize("keep", [(), (B,)])
def test_a_stub_domain_gives_back_no_device_without_a_handshake(keep: tuple[Sbdf, ...]) -> None:
    stub = replace(G1, domid=2, name="g1-dm", serves=1)
    step = DomainPlan(replace(G1, device_model=DeviceModel({}), stub=stub), (), (A,), keep)
    found = replace(finding(Fault.LOST_PLACE, A), domid=2, domain="g1-dm", serves=1)
    assert codes(blocking_faults([found], DomainsPlan((step,)))) == [("lost_place", "g1-dm")]


@pytest.mark.parametrize("fault", [Fault.REFUSED_CYCLE, Fault.CLOSED_CONNECTION, Fault.DISORDERED_ENTRIES])
def test_no_removal_ends_a_fault_of_the_connection(fault: Fault) -> None:
    assert len(blocking_faults([finding(fault, A)], plan(remove=(A,)))) == 1
    assert len(blocking_faults([finding(fault)], plan(add=(B,)))) == 1


def test_a_fault_that_nothing_repairs_says_what_a_person_can_do() -> None:
    [refusal] = blocking_faults([finding(Fault.LOST_ENTRY, A)], plan(keep=(A,)))
    assert codes([refusal]) == [("lost_entry", "g1")]
    assert Fault.LOST_ENTRY.advice in str(refusal)
    assert "xen.pci.repair" not in refusal.advice


@pytest.mark.parametrize("fault", [Fault.SILENT_GUEST, Fault.LOST_EVENT, Fault.UNANSWERED_CLOSE])
def test_what_may_be_a_cycle_under_way_is_waited_for(fault: Fault) -> None:
    assert fault.blocks is Blocks.PLANS_UNLESS_IT_PASSES
    assert blocking_faults([finding(fault, A)], plan(keep=(A,))) == []


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.blocks is Blocks.NOTHING])
def test_what_blocks_nothing_does_not_block_the_plan(fault: Fault) -> None:
    assert blocking_faults([finding(fault, A)], plan(keep=(A,))) == []


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.blocks is Blocks.PLANS])
def test_what_blocks_plans_is_named_by_its_code(fault: Fault) -> None:
    assert codes(blocking_faults([finding(fault, A)], plan(keep=(A,)))) == [(fault.code, "g1")]
