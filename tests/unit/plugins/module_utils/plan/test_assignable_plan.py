# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pciback takes and gives back, and what is refused beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import BlockUse, PciDevice, XenOwner
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.notes import Note
from ansible_collections.xen.pci.plugins.module_utils.plan.assignable_plan import free, plan_absent, plan_present
from ansible_collections.xen.pci.plugins.module_utils.plan.device_steps import (
    FinishRelease,
    MakePermissive,
    Quarantine,
    Rebind,
    Release,
    Take,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import DevicePolicy

A, B, C = (Sbdf.parse(f"0000:0{number}:00.0") for number in (1, 2, 3))
RESET: dict[str, Any] = {"reset_methods": ("flr",)}
E1000E = "/sys/bus/pci/drivers/e1000e"


def device(sbdf: Sbdf, driver: str | None, **facts: Any) -> PciDevice:
    return PciDevice(
        sbdf, "8086", "10d3", "", "", facts.pop("class_code", "020000"), "00", driver=driver, **{**RESET, **facts}
    )


def situation(*devices: PciDevice, quarantined: tuple[Sbdf, ...] = (), **facts: Any) -> Host:
    own: dict[str, Any] = {
        "domains": {},
        "drivers": frozenset({"pciback", "e1000e"}),
        "quarantined": frozenset(quarantined),
    }
    return Host(devices={one.sbdf: one for one in devices}, **{**own, **facts})


def domain(domid: int, *devices: Sbdf) -> Domain:
    nodes = {"state": "4", "num_devs": str(len(devices))} | {f"dev-{i}": str(sbdf) for i, sbdf in enumerate(devices)}
    return Domain(domid, "web01", own_connection=PciConnection.from_nodes(domid, nodes, "4"))


def test_a_device_is_taken_from_its_driver_which_is_kept_in_mind() -> None:
    now = situation(device(A, "e1000e"), device(B, None), driver_paths={B: E1000E})
    assert plan_present(now, [A, B]).steps == (Take(A, "e1000e", None), Take(B, None, E1000E))


def test_what_pciback_holds_in_quarantine_needs_nothing() -> None:
    assert plan_present(situation(device(A, "pciback"), quarantined=(A,)), [A]).steps == ()


def test_what_pciback_holds_outside_quarantine_is_quarantined() -> None:
    now = situation(device(A, "pciback"), device(B, "pciback"), domains={3: domain(3, B)})
    assert plan_present(now, [A, B]).steps == (Quarantine(A),)


def test_without_pciback_nothing_can_be_taken() -> None:
    now = Host(devices={A: device(A, None)}, domains={})
    (refusal,) = plan_present(now, [A]).refusals
    assert codes([refusal]) == [("no-pciback", "pciback")]
    assert "modprobe xen-pciback" in refusal.advice


def test_all_refusals_come_at_once_and_nothing_is_done() -> None:
    disk = device(B, "nvme", block=(BlockUse("nvme0n1", ("nvme0n1 is mounted on /",)),))
    plan = plan_present(situation(device(A, None, class_code="060400"), disk, device(C, None)), [A, B, C])
    assert codes(plan.refusals) == [("bridge", str(A)), ("disk", str(B))]
    assert plan.steps == ()


def test_exclusive_gives_back_the_others_first() -> None:
    now = situation(device(A, "e1000e"), device(B, "pciback"), device(C, None), driver_paths={B: E1000E})
    assert plan_present(now, [A], exclusive=True).steps == (Release(B, "e1000e", E1000E), Take(A, "e1000e", None))
    assert plan_present(now, [A], exclusive=False).steps == (Take(A, "e1000e", None),)
    assert plan_present(now, [], exclusive=True).steps == (Release(B, "e1000e", E1000E),)


def test_exclusive_refuses_if_a_domain_has_one_of_the_others() -> None:
    now = situation(device(A, "e1000e"), device(B, "pciback"), domains={3: domain(3, B)})
    (refusal,) = plan_present(now, [A], exclusive=True).refusals
    assert codes([refusal]) == [("held", str(B))]
    assert "web01 (3)" in str(refusal)


def test_release_goes_to_the_recorded_driver_or_to_whatever_fits() -> None:
    now = situation(device(A, "pciback"), device(B, "pciback"), device(C, "e1000e"), driver_paths={A: E1000E})
    assert plan_absent(now, [A, B, C]).steps == (Release(A, "e1000e", E1000E), Release(B, None, None))


def test_a_device_that_pciback_lost_is_never_taken_from_it() -> None:
    now = situation(device(A, "pciback", lost_hold="12 No more space", permissive=True), quarantined=(A,))
    (refusal,) = plan_absent(now, [A]).refusals
    assert codes([refusal]) == [("lost-hold", str(A))]
    assert "12 No more space" in str(refusal)
    assert plan_present(now, [A]).steps == (), "nor to clear its permissive flag"


def test_release_wants_the_recorded_driver_loaded() -> None:
    now = situation(device(A, "pciback"), driver_paths={A: "/sys/bus/pci/drivers/ixgbe"})
    (refusal,) = plan_absent(now, [A]).refusals
    assert codes([refusal]) == [("driver-not-loaded", str(A))]
    assert "modprobe ixgbe" in refusal.advice


def test_each_view_alone_keeps_a_device_with_its_holder() -> None:
    held = device(A, "pciback")
    orphan = domain(9, A).own_connection
    for facts, evidence in (
        ({"domains": {3: domain(3, A)}}, "web01 (3)"),
        ({"orphaned_connections": {9: orphan}}, "domain 9"),
        ({"markers": {A: 3}, "domains": {3: domain(3)}}, "3 (web01)"),
        ({"markers": {A: 8}}, "domain 8"),
        ({"xen_owners": {A: XenOwner.GUEST}}, "Xen"),
    ):
        (refusal,) = plan_absent(situation(held, **facts), [A]).refusals
        assert codes([refusal]) == [("held", str(A))]
        assert evidence in str(refusal)


def test_a_device_without_pciback_that_a_domain_lists_is_not_taken() -> None:
    (refusal,) = plan_present(situation(device(A, "e1000e"), domains={3: domain(3, A)}), [A]).refusals
    assert codes([refusal]) == [("held", str(A))]
    assert "web01 (3)" in str(refusal)


def test_a_waiver_overrules_its_check_and_stands_in_the_plan() -> None:
    disk = device(A, "nvme", block=(BlockUse("nvme0n1", ("nvme0n1 is mounted on /srv",)),))
    policy = DevicePolicy("scratch", {"disk": "nobody needs /srv"})
    plan = plan_present(situation(disk), [A], policies={A: policy})
    assert plan.steps == (Take(A, "nvme", None, policy),)
    assert [(one.refusal.code, one.why) for one in plan.waived] == [("disk", "nobody needs /srv")]
    other = {A: DevicePolicy("scratch", {"network": "wrong one"})}
    assert codes(plan_present(situation(disk), [A], policies=other).refusals) == [("disk", str(A))]


LINE: dict[str, Any] = {"irq": 17, "interrupt_pin": 1}


def test_devices_on_one_line_go_together_or_not_at_all() -> None:
    now = situation(device(A, "e1000e", **LINE), device(B, "e1000e", **LINE))
    assert codes(plan_present(now, [A]).refusals) == [("shared-interrupt", str(A))]
    assert len(plan_present(now, [A, B]).steps) == 2
    assert len(plan_present(situation(device(A, "e1000e", **LINE), device(B, "pciback", **LINE)), [A]).steps) == 1


def test_a_shared_line_of_a_device_with_message_interrupts_is_a_warning() -> None:
    able = device(A, "e1000e", **LINE, message_interrupts=True)
    plan = plan_present(situation(able, device(B, "e1000e", **LINE)), [A])
    assert len(plan.steps) == 1
    assert f"{A} shares interrupt line 17" in plan.warnings[0]
    others = [device(one, "e1000e", **LINE, message_interrupts=True) for one in (A, B)]
    (warning,) = plan_present(situation(*others, device(C, None, **LINE)), [A, B]).warnings
    assert f"{A} shares" in warning
    assert "so do 1 more" in warning


def test_groups_of_xen_are_not_split() -> None:
    now = replace(situation(device(A, "e1000e"), device(B, None)), groups={A: frozenset({A, B})})
    assert codes(plan_present(now, [A]).refusals) == [("group", str(A))]
    assert plan_present(now, [A, B]).refusals == ()


def test_reset_is_required_only_if_asked_for() -> None:
    now = situation(device(A, None, reset_methods=()))
    plan = plan_present(now, [A])
    assert plan.refusals == ()
    assert str(A) in plan.warnings[0] and "reset" in plan.warnings[0]
    assert codes(plan_present(now, [A], require_reset=True).refusals) == [("no-reset", str(A))]
    waived = {A: DevicePolicy("a", {"no-reset": "one guest for ever"})}
    assert len(plan_present(now, [A], policies=waived, require_reset=True).steps) == 1


def test_permissive_is_cleared_unless_a_reason_is_declared() -> None:
    now = situation(device(A, "pciback", permissive=True), quarantined=(A,))
    assert plan_present(now, [A]).steps == (Rebind(A),)
    assert plan_present(now, [A], policies={A: DevicePolicy(permissive="GPU")}).steps == ()
    off = situation(device(A, "pciback"), device(B, None), quarantined=(A,))
    policies = {one: DevicePolicy(permissive="GPU") for one in (A, B)}
    expected = (MakePermissive(A, "GPU"), Take(B, None, None, policies[B]), MakePermissive(B, "GPU"))
    assert plan_present(off, [A, B], policies=policies).steps == expected


def test_permissive_is_not_cleared_under_a_guest() -> None:
    now = situation(device(A, "pciback", permissive=True), domains={3: domain(3, A)})
    plan = plan_present(now, [A])
    assert plan.steps == ()
    assert f"{A} is permissive" in plan.warnings[0] and "web01 (3)" in plan.warnings[0]


def test_permissive_for_all_is_warned_about() -> None:
    now = replace(situation(device(A, "pciback"), quarantined=(A,)), permissive_for_all=True)
    assert "permissive=1" in plan_present(now, [A]).warnings[0]


def test_what_is_left_of_a_release_is_finished() -> None:
    now = situation(
        device(A, "e1000e", pciback_slots=2),
        device(B, None, pciback_slots=None),
        device(C, None),
        driver_paths={B: E1000E},
    )
    steps = (FinishRelease(A, None, None, bound=True), FinishRelease(B, "e1000e", E1000E))
    assert plan_absent(now, [A, B, C]).steps == steps
    assert plan_present(now, [], exclusive=True).steps == steps


def test_what_is_left_of_a_take_is_finished() -> None:
    now = situation(device(A, None, pciback_slots=1), driver_paths={A: E1000E})
    assert plan_present(now, [A]).steps == (Take(A, None, E1000E),)


def test_free_is_what_no_domain_has_and_no_check_refuses() -> None:
    used = device(C, "nvme", block=(BlockUse("nvme0n1", ("nvme0n1 is mounted on /",)),))
    now = situation(device(A, "e1000e"), device(B, "pciback"), used, domains={3: domain(3, B)})
    assert [free(now, sbdf) for sbdf in (A, B, C)] == [True, False, False]


def test_what_a_guest_had_is_reset_on_its_way_back() -> None:
    now = replace(situation(device(A, "pciback"), device(B, "pciback")), notes={A: Note(guest="web01")})
    assert plan_absent(now, [A, B]).steps == (Release(A, None, None, "web01"), Release(B, None, None))
    assert str(plan_absent(now, [A]).steps[0]).startswith(f"reset {A}, which web01 had; release {A}")


def test_what_a_guest_had_and_nothing_resets_is_refused_unless_a_reason_is_declared() -> None:
    now = replace(situation(device(A, "pciback", reset_methods=())), notes={A: Note(guest="web01")})
    (refusal,) = plan_absent(now, [A]).refusals
    assert codes([refusal]) == [("untrusted", str(A))]
    assert "web01" in str(refusal) and refusal.waivable
    assert plan_present(now, [], exclusive=True).refusals == (refusal,)
    waived = plan_absent(now, [A], {A: DevicePolicy("a", {"untrusted": "web01 is our own"})})
    assert waived.steps == (Release(A, None, None),)
    assert [one.why for one in waived.waived] == ["web01 is our own"]
    assert plan_absent(replace(now, notes={}), [A]).refusals == ()


drivers = st.sampled_from(["pciback", "e1000e", None])


@given(st.tuples(drivers, drivers, drivers), st.permutations([A, B, C]), st.integers(0, 3), st.booleans())
def test_a_second_run_has_nothing_to_do(
    bound: tuple[str | None, ...], order: list[Sbdf], count: int, exclusive: bool
) -> None:
    now = situation(*(device(sbdf, driver) for sbdf, driver in zip((A, B, C), bound, strict=True)))
    wanted = order[:count]
    steps = plan_present(now, wanted, exclusive).steps
    after = {sbdf: one.driver for sbdf, one in now.devices.items()}
    after.update({step.sbdf: None if isinstance(step, Release) else "pciback" for step in steps})
    then = situation(*(device(sbdf, driver) for sbdf, driver in after.items()), quarantined=tuple(wanted))
    assert plan_present(then, wanted, exclusive).steps == ()
    assert all(after[sbdf] == "pciback" for sbdf in wanted)
    assert {step.sbdf for step in plan_absent(then, wanted).steps} == set(wanted)
