# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left to other managers, and what of it a repair may do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import assignable, domain, host

from ansible_collections.xen.pci.plugins.module_utils.faults.finding import Finding
from ansible_collections.xen.pci.plugins.module_utils.faults.table import Fault
from ansible_collections.xen.pci.plugins.module_utils.model.device import NetInterface
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.management import LibvirtClaim, Management, Manager
from ansible_collections.xen.pci.plugins.module_utils.model.physical_function import PhysicalFunction
from ansible_collections.xen.pci.plugins.module_utils.plan.function_plan import DesiredFunctions, plan_functions
from ansible_collections.xen.pci.plugins.module_utils.plan.managers import CODE, against_devices, against_domains
from ansible_collections.xen.pci.plugins.module_utils.plan.repair_limits import against_repairs
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

PF, VF, A, B = (Sbdf.parse(f"0000:{text}") for text in ("03:00.0", "03:10.1", "04:00.0", "05:00.0"))
NIC = NetInterface("eth1", "02:00:00:00:00:01", False)


def managed(*claims: LibvirtClaim, unreadable: tuple[str, ...] = (), manager: Manager = Manager.LIBVIRT) -> Host:
    devices = [
        replace(assignable(PF), net=(NIC,), virtfns=(VF,)),
        replace(assignable(VF), physfn=PF),
        assignable(A),
        assignable(B),
    ]
    guests = [
        replace(domain(1, "web", A), manager=Manager.LIBVIRT),
        replace(domain(2, "db", B), manager=Manager.XL),
        replace(domain(3, "web-dm"), manager=Manager.LIBVIRT, serves=1),
    ]
    return host(devices, guests, management=Management(manager, "/x", claims, unreadable=unreadable))


def test_a_network_hands_out_the_virtual_functions_of_its_interface() -> None:
    on = managed(LibvirtClaim("network vfs", "u", interface="eth1", managed=True), LibvirtClaim("domain x", "v"))
    assert [one.subject for one in against_devices(on, [PF, VF, A])] == [str(VF)]


@pytest.mark.parametrize("only_managed", [False, True])
def test_what_others_are_to_make_assignable_is_refused_only_where_it_leaves(only_managed: bool) -> None:
    on = managed(LibvirtClaim("domain a", "u", A), LibvirtClaim("domain b", "v", B, managed=True))
    expected = [str(B)] if only_managed else [str(A), str(B)]
    assert [one.subject for one in against_devices(on, [A, B], only_managed=only_managed)] == expected


@pytest.mark.parametrize(("count", "refused"), [(0, True), (1, False), (4, True)])
def test_virtual_functions_that_libvirt_hands_out_are_not_made_anew(count: int, refused: bool) -> None:
    on = managed(LibvirtClaim("network vfs", "u", interface="eth1"))
    free = replace(on.devices[VF], driver=None, pciback_slots=0)
    physical = replace(on.devices[PF], driver="igb", sriov_totalvfs=7)
    on = replace(on, devices={**on.devices, VF: free, PF: physical}, functions={PF: PhysicalFunction(physical)})
    subjects = [one.subject for one in plan_functions(on, [DesiredFunctions(PF, count)]).refusals if one.code == CODE]
    assert subjects == ([str(VF)] if refused else [])


def test_an_unreadable_definition_counts_only_where_a_device_is_concerned() -> None:
    on = managed(unreadable=("/etc/libvirt/libxl/x.xml (why)",))
    assert [one.subject for one in against_devices(on, [A])] == ["/etc/libvirt/libxl/x.xml"]
    assert against_devices(on, []) == []


@pytest.mark.parametrize("manager", [Manager.QUBES, Manager.XAPI])
def test_a_host_with_its_own_records_is_named_once(manager: Manager) -> None:
    on = managed(manager=manager)
    for refusals in (against_domains(on, on.domains.values()), against_devices(on, [A, B])):
        assert [(one.code, one.subject) for one in refusals] == [("manager", "host")]
    assert against_domains(on, []) == against_devices(on, []) == []
    dead = Finding(Fault.STALE_NAME, "", 7)
    assert [(one.code, one.subject) for one in against_repairs(on, [dead])] == [("manager", "host")]
    assert against_repairs(on, []) == []


@pytest.mark.parametrize(
    ("finding", "subjects"),
    [
        (Finding(Fault.LATE_ANSWER, "", 1, "web", (A,)), ["web"]),
        (Finding(Fault.LATE_ANSWER, "", 3, "web-dm"), ["web"]),
        (Finding(Fault.LATE_ANSWER, "", 2, "db", (B,)), [str(B)]),
        (Finding(Fault.UNQUARANTINED, "", devices=(B,)), [str(B)]),
        (Finding(Fault.UNQUARANTINED, "", devices=(A,)), []),
        (Finding(Fault.ORPHANED_CONNECTION, "", 7, devices=(B,)), []),
        (Finding(Fault.DEAD_MARKER, "", 7, devices=(B,)), []),
        (Finding(Fault.STALE_NAME, "", 7), []),
    ],
)
def test_a_repair_leaves_its_domains_and_devices(finding: Finding, subjects: list[str]) -> None:
    on = managed(LibvirtClaim("domain x", "v", B))
    assert [one.subject for one in against_repairs(on, [finding])] == subjects
