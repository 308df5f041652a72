# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How virtual functions come to their number and settings, and what is refused beforehand."""

from __future__ import annotations

from typing import Any

import pytest
from builders import device, domain, function, host
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.model.device import BlockUse, NetInterface, PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.physical_function import PhysicalFunction, VfSettings
from ansible_collections.xen.pci.plugins.module_utils.plan.function_plan import (
    Configure,
    DesiredFunctions,
    FunctionPlan,
    SetAutoprobe,
    SetCount,
    plan_functions,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

PF = Sbdf.parse("0000:3b:00.0")
VFS = tuple(Sbdf(0, 0x3B, 2, index) for index in range(4))
UPLINK = (NetInterface("uplink0", "02:00:5e:3b:00:00", is_up=True),)
MAC = "02:00:5e:3b:01:00"


def virtual(index: int, **facts: Any) -> PciDevice:
    return function(VFS[index], PF, index, **facts)


def physical(count: int = 0, **facts: Any) -> PciDevice:
    return device(PF, **{"driver": "i40e", "sriov_totalvfs": 64, "net": UPLINK, "virtfns": VFS[:count], **facts})


def plan(
    one: PciDevice, *desired: DesiredFunctions, functions: tuple[PciDevice, ...] = (), **facts: Any
) -> FunctionPlan:
    """The plan for a host with this physical function; `facts` are of the host, or of the physical function."""
    observed = {
        name: facts.pop(name) for name in ("drivers_autoprobe", "settings", "settings_problem") if name in facts
    }
    devices = [one, *map(virtual, range(len(one.virtfns))), *functions]
    now = {one.sbdf: PhysicalFunction(one, **observed)}
    return plan_functions(host(devices, functions=now, **facts), desired)


def test_functions_are_created_after_it_is_said_who_gets_them_and_configured_then() -> None:
    wanted = DesiredFunctions(PF, 4, False, {1: VfSettings(vlan=20), 0: VfSettings(MAC, 0, True)})
    assert plan(physical(), wanted).steps == (
        SetAutoprobe(PF, False),
        SetCount(PF, 0, 4),
        Configure(PF, "uplink0", 0, VfSettings(MAC, 0, True)),
        Configure(PF, "uplink0", 1, VfSettings(vlan=20)),
    )


def test_what_is_so_already_needs_nothing() -> None:
    seen = {0: VfSettings(MAC, 20, True), 1: VfSettings("02:00:00:00:00:01", 0, True)}
    wanted = DesiredFunctions(PF, 4, False, {0: VfSettings(MAC, 20), 1: VfSettings(spoof_check=True)})
    assert plan(physical(4), wanted, drivers_autoprobe=False, settings=seen).steps == ()
    assert plan(physical(4), DesiredFunctions(PF, 4), drivers_autoprobe=False).steps == ()


def test_only_what_differs_is_set() -> None:
    wanted = DesiredFunctions(PF, 4, None, {0: VfSettings(MAC, 20, False)})
    (step,) = plan(physical(4), wanted, settings={0: VfSettings(MAC, 0, True)}).steps
    assert step == Configure(PF, "uplink0", 0, VfSettings(None, 20, False))


def test_new_functions_have_lost_what_was_set() -> None:
    wanted = DesiredFunctions(PF, 2, None, {0: VfSettings(MAC)})
    steps = plan(physical(4), wanted, settings={0: VfSettings(MAC)}).steps
    assert steps == (SetCount(PF, 4, 2), Configure(PF, "uplink0", 0, VfSettings(MAC)))
    assert str(steps[0]) == f"remove 4 virtual functions of {PF} and create 2 virtual functions of {PF}"


@pytest.mark.parametrize("count", [0, 3, 8])
@pytest.mark.parametrize(
    ("facts", "evidence"),
    [
        ({"domains": [domain(3, "web01", VFS[2])]}, "web01 (3)"),
        ({"markers": {VFS[2]: 3}}, "domain 3"),
        ({"functions": (virtual(2, driver="pciback"),)}, "bound to pciback"),
        ({"functions": (virtual(2, block=(BlockUse("nvme1n1", ("nvme1n1 is swap",)),)),)}, "nvme1n1 is swap"),
        ({"functions": (virtual(2, net=UPLINK),)}, "uplink0 is up"),
    ],
)
def test_no_number_changes_while_one_is_out_and_it_is_named(count: int, facts: dict[str, Any], evidence: str) -> None:
    refused = plan(physical(4), DesiredFunctions(PF, count), **facts)
    assert refused.steps == ()
    (refusal,) = refused.refusals
    assert codes([refusal]) == [("vf-in-use", str(VFS[2]))]
    assert f"from 4 to {count}" in str(refusal) and str(PF) in str(refusal)
    assert evidence in str(refusal) and refusal.advice
    assert plan(physical(4), DesiredFunctions(PF, 4), **facts).refusals == (), "the same number is no change"


@pytest.mark.parametrize(
    ("device", "count", "code", "facts"),
    [
        (physical(sriov_totalvfs=0), 1, "no-sriov", ""),
        (physical(), 65, "vf-count", "0 to 64 virtual functions, not 65"),
        (physical(driver="pciback"), 1, "pf-in-pciback", ""),
        (physical(driver=None), 1, "no-driver", ""),
        (function(PF, PF, 0), 1, "no-pf", ""),
    ],
)
def test_what_cannot_be_is_refused(device: PciDevice, count: int, code: str, facts: str) -> None:
    (refusal,) = plan(device, DesiredFunctions(PF, count)).refusals
    assert codes([refusal]) == [(code, str(PF))]
    assert facts in str(refusal)


@pytest.mark.parametrize(
    ("device", "settings", "code", "facts"),
    [
        (physical(4, net=(), driver="nvme"), {0: VfSettings(MAC)}, "no-interface", "nvme"),
        (physical(4), {4: VfSettings(MAC)}, "vf-index", "virtual function 4"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    device: PciDevice, settings: dict[int, VfSettings], code: str, facts: str
) -> None:
    (refusal,) = plan(device, DesiredFunctions(PF, 4, None, settings)).refusals
    assert codes([refusal]) == [(code, str(PF))]
    assert facts in str(refusal)


def test_settings_that_cannot_be_compared_are_refused_and_the_number_is_not() -> None:
    unknown = {"settings_problem": "`ip` could not be run"}
    (refusal,) = plan(physical(4), DesiredFunctions(PF, 4, None, {0: VfSettings(vlan=7)}), **unknown).refusals
    assert codes([refusal]) == [("settings-unknown", str(PF))]
    assert unknown["settings_problem"] in refusal.reason
    assert plan(physical(4), DesiredFunctions(PF, 2), **unknown).steps == (SetCount(PF, 4, 2),)


def test_a_guest_keeps_the_mac_address_that_it_works_with_but_not_the_vlan() -> None:
    out = [domain(3, "web01", VFS[0])]
    seen = {0: VfSettings("02:00:00:00:00:09", 0, True)}
    wanted = DesiredFunctions(PF, 4, None, {0: VfSettings(MAC)})
    (refusal,) = plan(physical(4), wanted, domains=out, settings=seen).refusals
    assert codes([refusal]) == [("vf-in-use", str(PF))]
    assert MAC in str(refusal) and "web01" in str(refusal)
    wanted = DesiredFunctions(PF, 4, None, {0: VfSettings(vlan=7)})
    assert plan(physical(4), wanted, domains=out, settings=seen).steps == (
        Configure(PF, "uplink0", 0, VfSettings(vlan=7)),
    )


def test_a_physical_function_that_is_declared_twice_is_refused_and_nothing_is_done() -> None:
    refused = plan(physical(), DesiredFunctions(PF, 2), DesiredFunctions(PF, 4))
    assert codes(refused.refusals) == [("pf-twice", str(PF))]
    assert refused.steps == ()
