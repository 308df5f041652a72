# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each way in which a second look can differ from the plan is found, and none where all is as planned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.model.boot_facts import (
    BootFacts,
    HideSetting,
    PcibackKind,
)
from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import (
    ConfigFlags,
    NetInterface,
    PciDevice,
    XenOwner,
)
from ansible_collections.xen.pci.plugins.module_utils.model.device_model import DeviceModel, Plugged, qemu_name
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain, DomainKind
from ansible_collections.xen.pci.plugins.module_utils.model.evidence import ConvergeLevel
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.physical_function import PhysicalFunction, VfSettings
from ansible_collections.xen.pci.plugins.module_utils.plan.assignable_plan import (
    AssignablePlan,
    plan_absent,
    plan_present,
)
from ansible_collections.xen.pci.plugins.module_utils.plan.assignment_state import AssignmentState
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import DesiredDomain, DomainsPlan, make_plan
from ansible_collections.xen.pci.plugins.module_utils.plan.function_plan import DesiredFunctions
from ansible_collections.xen.pci.plugins.module_utils.values.address import GuestAddress, Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import DevicePolicy
from ansible_collections.xen.pci.plugins.module_utils.verify.assignable_verdict import verify_assignable
from ansible_collections.xen.pci.plugins.module_utils.verify.domain_verdict import DomainVerdict, verify_domains
from ansible_collections.xen.pci.plugins.module_utils.verify.function_verdict import verify_functions

A, B, C = (Sbdf.parse(f"0000:0{number}:00.0") for number in (1, 2, 3))
CONNECTED, ACTIVE = ConvergeLevel.CONNECTED, ConvergeLevel.ACTIVE
BUS_MASTER = ConfigFlags(memory=True, bus_master=True)


def device(sbdf: Sbdf, driver: str | None = "pciback", **facts: Any) -> PciDevice:
    return PciDevice(sbdf, "8086", "10d3", "", "", "020000", "00", driver=driver, reset_methods=("flr",), **facts)


def connection(*devices: Sbdf, frontend: str = "4", **changed: str) -> PciConnection:
    nodes = {"state": "4", "num_devs": str(len(devices))}
    for index, sbdf in enumerate(devices):
        nodes |= {f"dev-{index}": str(sbdf), f"state-{index}": "3", f"vdev-{index}": f"0000:00:0{index}.00"}
    return PciConnection.from_nodes(
        1, nodes | {name.replace("_", "-"): value for name, value in changed.items()}, frontend
    )


def domain(own_connection: PciConnection | None = None, **more: Any) -> Domain:
    return replace(Domain(1, "web01", kind=DomainKind.PV, own_connection=own_connection), **more)


# ---- domains


def host(one: Domain | None, *devices: PciDevice, owners: dict[Sbdf, XenOwner] | None = None) -> Host:
    found = devices or [device(sbdf, config=BUS_MASTER) for sbdf in (A, B, C)]
    known = dict.fromkeys(one.devices, XenOwner.GUEST) if one is not None else {}
    domains = {} if one is None else {1: one}
    return Host({sbdf.sbdf: sbdf for sbdf in found}, domains, xen_owners={**known, **(owners or {})})


def planned(before: Domain, *devices: Sbdf) -> DomainsPlan:
    """The plan that gives web01 exactly these devices."""
    plan = make_plan(host(before), [DesiredDomain("web01", devices, exclusive=True)])
    assert plan.refusals == ()
    return plan


def verified(plan: DomainsPlan, seen: Host, level: ConvergeLevel = ACTIVE) -> DomainVerdict:
    (verdict,) = verify_domains(plan, seen, level)
    return verdict


ADD_A = planned(domain(), A)
DONE = host(domain(connection(A)))


def test_a_domain_that_has_what_was_planned_lacks_nothing() -> None:
    verdict = verified(ADD_A, DONE)
    assert (verdict.shortfall, verdict.pci_failure, verdict.devices) == ("", "", (A,))
    (evidence,) = verdict.evidence
    assert (evidence.device, evidence.connected, evidence.active) == (A, True, True)
    assert evidence.guest_address == GuestAddress(0, 0, 0, 0)


def test_the_order_of_the_entries_does_not_matter() -> None:
    assert verified(planned(domain(), A, B), host(domain(connection(B, A)))).shortfall == ""


def test_a_domain_that_was_to_lose_all_may_have_lost_its_connection_or_be_gone() -> None:
    plan = planned(domain(connection(A)))
    assert verified(plan, host(domain())) == DomainVerdict(None, (), "")
    assert verified(plan, host(None)) == DomainVerdict(None, (), "")


def test_a_domain_that_is_gone_while_it_was_to_have_a_device_is_found() -> None:
    verdict = verified(ADD_A, host(None))
    assert "web01" in verdict.shortfall and str(A) in verdict.shortfall
    assert (verdict.connection, verdict.evidence) == (None, ())


def test_a_domain_of_the_same_name_and_another_number_is_not_the_one() -> None:
    again = replace(domain(connection(A)), domid=2)
    seen = replace(DONE, domains={2: again})
    assert verified(ADD_A, seen).shortfall


@pytest.mark.parametrize("change", [{"frontend": "5"}, {"state": "7"}, {"frontend": "7", "state": "7"}])
def test_a_connection_that_is_not_at_rest_is_found_with_both_states(change: dict[str, str]) -> None:
    seen = host(domain(connection(A, **change)))
    shortfall = verified(ADD_A, seen).shortfall
    ends = seen.domains[1].own_connection
    assert ends is not None
    assert f"backend {ends.state}" in shortfall and f"frontend {ends.frontend_state}" in shortfall


@pytest.mark.parametrize("has", [(), (B,), (A, B)])
def test_other_devices_than_planned_are_found_and_both_lists_are_named(has: tuple[Sbdf, ...]) -> None:
    seen = host(domain(connection(*has)) if has else domain())
    shortfall = verified(ADD_A, seen).shortfall
    assert f"{', '.join(map(str, has)) or 'no device'}, not {A}" in shortfall


def test_a_device_that_was_to_go_and_is_still_listed_is_found() -> None:
    plan = planned(domain(connection(A, B)), A)
    assert str(B) in verified(plan, host(domain(connection(A, B)))).shortfall
    assert verified(plan, host(domain(connection(A)))).shortfall == ""


@pytest.mark.parametrize("driver", ["igb", None])
def test_a_listed_device_that_pciback_does_not_have_is_found(driver: str | None) -> None:
    verdict = verified(ADD_A, host(domain(connection(A)), device(A, driver, config=BUS_MASTER)))
    assert str(A) in verdict.shortfall and "no longer bound to pciback" in verdict.shortfall
    assert not verdict.evidence[0].in_pciback


def test_a_listed_device_that_has_left_the_host_is_found() -> None:
    assert "no longer bound to pciback" in verified(ADD_A, host(domain(connection(A)), device(B))).shortfall


@pytest.mark.parametrize(
    "seen",
    [
        host(domain(connection(A, state_0="1"))),
        host(domain(connection(A, vdev_0=""))),
        host(domain(connection(A)), owners={A: XenOwner.HOST}),
    ],
    ids=["not exported", "without an address", "owned by no guest"],
)
def test_a_listed_device_that_the_guest_does_not_have_is_found(seen: Host) -> None:
    verdict = verified(ADD_A, seen, CONNECTED)
    assert str(A) in verdict.shortfall and "not attached" in verdict.shortfall
    assert not verdict.evidence[0].connected


def test_where_xen_cannot_be_asked_pciback_is_believed() -> None:
    assert verified(ADD_A, host(domain(connection(A)), owners={A: XenOwner.UNKNOWN})).shortfall == ""


def test_a_driver_that_does_not_use_its_device_is_found_only_where_that_was_asked_for() -> None:
    seen = host(domain(connection(A)), device(A))
    assert str(A) in verified(ADD_A, seen, ACTIVE).shortfall
    assert verified(ADD_A, seen, CONNECTED).shortfall == ""


def test_only_the_device_that_falls_short_is_named() -> None:
    plan = planned(domain(), A, B)
    seen = host(domain(connection(A, B, state_1="1")))
    shortfall = verified(plan, seen).shortfall
    assert str(B) in shortfall and str(A) not in shortfall


def test_a_pci_error_is_reported_beside_a_plan_that_was_carried_out() -> None:
    verdict = verified(ADD_A, host(domain(connection(A, aerState="aerfail"))))
    assert verdict.shortfall == ""
    assert "web01" in verdict.pci_failure and "aerState=aerfail" in verdict.pci_failure


def emulated(plugged: dict[Sbdf, bool], listed: tuple[Sbdf, ...] = (A,), frontend: str = "1") -> Domain:
    """web01 as an HVM guest: of each device that its device model has, whether the guest has enabled it."""
    model = {qemu_name(sbdf): Plugged(GuestAddress(0, 0, 4, 0), on) for sbdf, on in plugged.items()}
    own = connection(*listed, frontend=frontend, state_0="1")
    return domain(own, kind=DomainKind.HVM, device_model=DeviceModel(model, 29))


ADD_A_TO_HVM = planned(domain(kind=DomainKind.HVM, device_model=DeviceModel({}, 29)), A)


def test_of_an_hvm_guest_the_device_model_decides_and_not_the_connection() -> None:
    verdict = verified(ADD_A_TO_HVM, host(emulated({A: True})))
    assert verdict.shortfall == ""
    assert verdict.evidence[0].guest_address == GuestAddress(0, 0, 4, 0)


def test_a_device_that_the_device_model_does_not_have_is_found() -> None:
    shortfall = verified(ADD_A_TO_HVM, host(emulated({})), CONNECTED).shortfall
    assert str(A) in shortfall and "device model does not have it" in shortfall


def test_an_hvm_guest_that_does_not_use_its_device_is_found_only_where_that_was_asked_for() -> None:
    seen = host(emulated({A: False}))
    assert str(A) in verified(ADD_A_TO_HVM, seen, ACTIVE).shortfall
    assert verified(ADD_A_TO_HVM, seen, CONNECTED).shortfall == ""


def test_each_domain_of_the_plan_has_its_verdict() -> None:
    red, blue = (Domain(number, name, kind=DomainKind.PV) for number, name in ((1, "red"), (2, "blue")))
    before = replace(host(None), domains={1: red, 2: blue})
    plan = make_plan(before, [DesiredDomain("red", (A,)), DesiredDomain("blue", (B,))])
    seen = replace(before, domains={1: replace(red, own_connection=connection(A)), 2: blue})
    first, second = verify_domains(plan, seen, CONNECTED)
    assert first.shortfall == ""
    assert second.shortfall.startswith("blue: ")


# ---- assignable devices

NIC = "/sys/bus/pci/drivers/e1000e"


def situation(*devices: PciDevice, held: tuple[Sbdf, ...] = (), **facts: Any) -> Host:
    """A host whose next boot keeps the devices of `held` with pciback."""
    hide = (HideSetting("/etc/modprobe.d/xen-pci.conf", "".join(f"({sbdf})" for sbdf in held), ours=True),)
    boot = BootFacts(PcibackKind.MODULE, hide=hide if held else ())
    return Host(
        {one.sbdf: one for one in devices}, {}, boot=boot, drivers=frozenset({"pciback", "e1000e", "igb"}), **facts
    )


def differences(before: Host, plan: AssignablePlan, seen: Host, after_reboot: tuple[Sbdf, ...] = ()) -> list[str]:
    assert plan.refusals == ()
    expected = AssignmentState.expected(before, plan, list(before.devices), frozenset(after_reboot))
    return verify_assignable(plan, seen, expected)


FREE = situation(device(A, "e1000e"))
TAKE = plan_present(FREE, [A])
HELD = situation(device(A), driver_paths={A: NIC}, quarantined=frozenset({A}))
RELEASE = plan_absent(HELD, [A])
RELEASE_TO_ANY = plan_absent(replace(HELD, driver_paths={}), [A])


def test_devices_that_are_where_they_were_to_be_differ_in_nothing() -> None:
    assert differences(FREE, TAKE, situation(device(A), driver_paths={A: NIC}, quarantined=frozenset({A}))) == []
    assert differences(HELD, RELEASE, situation(device(A, "e1000e"))) == []
    kept = situation(device(A), driver_paths={A: NIC}, quarantined=frozenset({A}), held=(A,))
    assert differences(FREE, TAKE, kept, after_reboot=(A,)) == []


@pytest.mark.parametrize("driver", ["e1000e", None])
def test_a_device_that_pciback_was_to_have_and_does_not_is_found(driver: str | None) -> None:
    (difference,) = differences(FREE, TAKE, situation(device(A, driver), quarantined=frozenset({A})))
    assert str(A) in difference and (driver or "no driver") in difference and "pciback" in difference


def test_a_device_that_has_left_the_host_is_found() -> None:
    (difference,) = differences(FREE, TAKE, situation(device(B)))
    assert str(A) in difference and "no driver" in difference


def test_a_device_that_is_not_in_quarantine_is_found() -> None:
    (difference,) = differences(FREE, TAKE, situation(device(A)))
    assert str(A) in difference and "quarantine" in difference


@pytest.mark.parametrize("driver", ["pciback", "igb", None])
def test_a_released_device_that_its_driver_does_not_have_is_found(driver: str | None) -> None:
    (difference,) = differences(HELD, RELEASE, situation(device(A, driver), quarantined=frozenset({A})))
    assert str(A) in difference and "e1000e" in difference


@pytest.mark.parametrize("driver", ["igb", None])
def test_where_the_kernel_chooses_any_driver_of_the_host_will_do(driver: str | None) -> None:
    assert differences(HELD, RELEASE_TO_ANY, situation(device(A, driver))) == []


def test_where_the_kernel_chooses_pciback_will_not_do() -> None:
    seen = situation(device(A), driver_paths={A: NIC}, quarantined=frozenset({A}))
    (difference,) = differences(HELD, RELEASE_TO_ANY, seen)
    assert str(A) in difference and "pciback" in difference


def test_a_device_that_is_permissive_and_should_not_be_or_the_reverse_is_found() -> None:
    taken = situation(device(A, permissive=True), driver_paths={A: NIC}, quarantined=frozenset({A}))
    (difference,) = differences(FREE, TAKE, taken)
    assert str(A) in difference and "permissive" in difference
    asked = plan_present(FREE, [A], policies={A: DevicePolicy("nic", permissive="its driver needs it")})
    assert differences(FREE, asked, taken) == []
    (missing,) = differences(FREE, asked, replace(taken, devices={A: device(A)}))
    assert str(A) in missing and "not permissive" in missing


@pytest.mark.parametrize("record", ["/sys/bus/pci/drivers/igb", None])
def test_another_record_of_the_former_driver_than_was_made_is_found(record: str | None) -> None:
    taken = situation(device(A), driver_paths={A: record} if record else {}, quarantined=frozenset({A}))
    (difference,) = differences(FREE, TAKE, taken)
    assert str(A) in difference and "e1000e" in difference


def test_a_released_device_is_not_expected_in_quarantine() -> None:
    assert AssignmentState.expected(HELD, RELEASE, [A], frozenset()).quarantined == frozenset()
    assert AssignmentState.expected(FREE, TAKE, [A], frozenset()).quarantined == {A}


def test_the_next_boot_is_compared_in_both_directions() -> None:
    taken = situation(device(A), driver_paths={A: NIC}, quarantined=frozenset({A}))
    (lost,) = differences(FREE, TAKE, taken, after_reboot=(A,))
    assert f"will not hold {A}" in lost
    (kept,) = differences(FREE, TAKE, replace(taken, boot=situation(device(A), held=(A,)).boot))
    assert f"will hold {A}" in kept


def test_a_device_can_differ_now_and_after_a_reboot() -> None:
    assert len(differences(FREE, TAKE, FREE, after_reboot=(A,))) == 2


def test_devices_that_the_plan_leaves_alone_are_compared_too() -> None:
    before = situation(device(A, "e1000e"), device(B, "igb"))
    seen = situation(device(A), device(B, None), driver_paths={A: NIC}, quarantined=frozenset({A}))
    (difference,) = differences(before, plan_present(before, [A]), seen)
    assert str(B) in difference


# ---- virtual functions

PF = Sbdf.parse("0000:3b:00.0")
VFS = tuple(Sbdf(0, 0x3B, 2, index) for index in range(4))
MAC = "02:00:5e:3b:01:00"
WANTED = [DesiredFunctions(PF, 2, False, {0: VfSettings(mac=MAC, vlan=20)})]


def functions(count: int = 2, **now: Any) -> Host:
    """A host with so many virtual functions, as WANTED declares them but for `now`."""
    physical = device(
        PF,
        "i40e",
        sriov_totalvfs=64,
        virtfns=VFS[:count],
        net=(NetInterface("uplink0", "02:00:5e:3b:00:00", is_up=True),),
    )
    so = {"drivers_autoprobe": False, "settings": {0: VfSettings(mac=MAC, vlan=20, spoof_check=True)}, **now}
    virtual = [device(sbdf, None, physfn=PF, vf_index=index) for index, sbdf in enumerate(VFS[:count])]
    return Host({one.sbdf: one for one in (physical, *virtual)}, {}, functions={PF: PhysicalFunction(physical, **so)})


def test_functions_that_are_as_declared_lack_nothing() -> None:
    assert verify_functions(WANTED, functions()) == []


def test_what_is_not_declared_of_functions_may_be_anything() -> None:
    assert verify_functions([DesiredFunctions(PF, 2)], functions(drivers_autoprobe=True, settings={})) == []


@pytest.mark.parametrize(
    ("seen", "fact"),
    [
        (functions(drivers_autoprobe=True), "do not offer"),
        (functions(settings={}), MAC),
        (functions(settings={0: VfSettings(mac=MAC, vlan=0)}), "VLAN 20"),
        (functions(settings={0: VfSettings(mac="02:00:00:00:00:01", vlan=20)}), MAC),
    ],
    ids=["offered to drivers", "no settings", "another VLAN", "another MAC address"],
)
def test_each_setting_that_is_not_so_is_found(seen: Host, fact: str) -> None:
    (left,) = verify_functions(WANTED, seen)
    assert str(PF) in left and fact in left


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_functions_is_found(count: int) -> None:
    left = verify_functions([DesiredFunctions(PF, 2)], functions(count))
    (step,) = left
    assert str(PF) in step and "2 virtual functions" in step


def test_a_number_that_cannot_be_made_any_more_is_found_with_the_reason() -> None:
    seen = functions(3)
    seen = replace(seen, devices={**seen.devices, VFS[2]: replace(seen.devices[VFS[2]], driver="pciback")})
    (reason,) = verify_functions([DesiredFunctions(PF, 2)], seen)
    assert "from 3 to 2" in reason and str(VFS[2]) in reason


def test_a_physical_function_that_has_left_the_host_is_found() -> None:
    (difference,) = verify_functions(WANTED, Host({}, {}))
    assert str(PF) in difference


def test_each_physical_function_is_compared() -> None:
    other = replace(PF, bus=0x3C)
    one = functions()
    second = replace(one.functions[PF].device, sbdf=other, virtfns=())
    seen = replace(
        one,
        devices={**one.devices, other: second},
        functions={**one.functions, other: PhysicalFunction(second)},
    )
    (left,) = verify_functions([*WANTED, DesiredFunctions(other, 1)], seen)
    assert str(other) in left
