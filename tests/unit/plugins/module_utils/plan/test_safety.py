# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host refuses to lose, with the evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.model.device import BlockUse, NetInterface, PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.usage import NetworkUse, OtherUse
from ansible_collections.xen.pci.plugins.module_utils.plan.safety import (
    Check,
    against,
    judge,
    needs_of_host,
    wrong_waivers,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import parse_catalog
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import Refusal

A = Sbdf.parse("0000:03:00.0")
ROUTED = NetworkUse(
    networks={"eth7": ("10.0.7.0/24",)}, default_route=frozenset({"xenbr0"}), connection=frozenset({"eth1"})
)


def device(**facts: Any) -> PciDevice:
    ids = {"vendor": "8086", "device": "10d3", "subsystem_vendor": "", "subsystem_device": "", "revision": "00"}
    return PciDevice(A, **{**ids, "class_code": "020000", **facts})


def of(refusals: list[Refusal]) -> list[str]:
    """The checks that refuse; each is about the device."""
    assert {one.subject for one in refusals} <= {str(A)}
    return [one.code for one in refusals]


def test_an_idle_device_may_go() -> None:
    idle = device(block=(BlockUse("nvme0n1"),), net=(NetInterface("eth9", "", is_up=True),))
    assert needs_of_host(idle, ROUTED) == []


def test_bridges_stay_by_class_by_header_and_by_what_is_behind_them() -> None:
    assert of(needs_of_host(device(class_code="060400"), NetworkUse())) == ["bridge"]
    assert of(needs_of_host(device(header_type=1), NetworkUse())) == ["bridge"]
    (refusal,) = needs_of_host(device(children=(Sbdf.parse("0000:04:00.0"),)), NetworkUse())
    assert (refusal.code, refusal.waivable) == ("bridge", False)
    assert "1 device" in str(refusal)


def test_every_use_of_a_disk_is_named() -> None:
    disk = BlockUse("nvme0n1", ("nvme0n1p1 is mounted on /data", "nvme0n1p2 is in use as swap"))
    (refusal,) = needs_of_host(device(class_code="010802", block=(disk,)), NetworkUse())
    assert (refusal.code, refusal.waivable) == ("disk", True)
    assert all(use in str(refusal) for use in disk.used_by)


def test_a_physical_function_with_virtual_functions_stays() -> None:
    virtual = Sbdf.parse("0000:03:10.0")
    (idle,) = needs_of_host(device(virtfns=(virtual,)), NetworkUse())
    assert (idle.code, idle.waivable) == ("virtual-functions", True)
    assert "1 virtual function," in str(idle)
    (out,) = needs_of_host(device(virtfns=(virtual,)), NetworkUse(), {virtual})
    assert (out.code, out.waivable) == ("virtual-functions", False)
    assert "0000:03:10.0" in str(out)


def test_parts_of_the_mainboard_and_the_console_stay() -> None:
    assert of(needs_of_host(device(class_code="0c0500"), NetworkUse())) == ["mainboard"]
    screen = device(class_code="030000", consoles=("the firmware's display", "framebuffer fb0"))
    (refusal,) = needs_of_host(screen, NetworkUse())
    assert of([refusal]) == ["console"]
    assert "the firmware's display, framebuffer fb0" in str(refusal)


def test_the_connection_of_ansible_and_the_default_route_stay() -> None:
    (direct,) = needs_of_host(device(net=(NetInterface("eth1", "", is_up=True),)), ROUTED)
    assert (direct.code, direct.waivable) == ("connection", False)
    assert "eth1" in str(direct) and "through" not in str(direct)
    above = NetInterface("eth0", "", is_up=True, upper=("bond0", "xenbr0"))
    (through,) = needs_of_host(device(net=(above,)), ROUTED)
    assert (through.code, through.waivable) == ("network", True)
    assert "default route through xenbr0" in str(through) and "bond0, xenbr0" in str(through)


def test_an_interface_with_an_address_or_in_a_bridge_stays() -> None:
    (addressed,) = needs_of_host(device(net=(NetInterface("eth7", "", is_up=True),)), ROUTED)
    assert of([addressed]) == ["network"]
    assert "10.0.7.0/24" in str(addressed)
    (enslaved,) = needs_of_host(device(net=(NetInterface("eth9", "", is_up=True, upper=("br9",)),)), ROUTED)
    assert of([enslaved]) == ["network"]
    assert "br9" in str(enslaved)


def test_an_interface_with_a_route_or_that_takes_all_frames_stays() -> None:
    idle = NetInterface("swp1", "", is_up=True)
    assert needs_of_host(device(net=(idle,)), NetworkUse()) == []
    assert of(needs_of_host(device(net=(idle,)), NetworkUse(routed=frozenset({"swp1"})))) == ["network"]
    assert of(needs_of_host(device(net=(replace(idle, promiscuous=True),)), NetworkUse())) == ["network"]


NOWHERE = NetworkUse(connection=frozenset({"wg0"}), connection_ends=("interface wg0",))


@given(st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_where_the_way_is_lost_each_card_counts_that_is_up_and_in_use(
    up: bool, addressed: bool, promiscuous: bool, above: bool
) -> None:
    card = NetInterface("eth3", "", up, ("br3",) if above else (), promiscuous)
    network = replace(NOWHERE, networks={"eth3": ("10.3.0.0/24",)} if addressed else {})
    found = of(needs_of_host(device(net=(card,)), network))
    assert ("connection" in found) == (up and (addressed or promiscuous or above))
    assert "connection" not in of(needs_of_host(device(net=(card,)), replace(network, connection_ends=())))


@pytest.mark.parametrize(
    ("use", "check"),
    [
        (OtherUse(inputs=("keyboard K",)), "input"),
        (OtherUse(peripherals=("smart card reader R",)), "peripheral"),
        (OtherUse(thunderbolt=("Thunderbolt device D",)), "peripheral"),
        (OtherUse(data=("sdb holds a file system (ext4)",)), "data"),
        (OtherUse(claims=("disk sdb: sdb is in use",)), "disk"),
        (OtherUse(processes=("/dev/sg1 in mt (7)",)), "processes"),
        (OtherUse(tunneled=True), None),
    ],
)
def test_other_uses_are_refused_of_the_device_and_of_what_takes_it_along(use: OtherUse, check: str | None) -> None:
    wanted = [] if check is None else [check]
    own = needs_of_host(device(), NetworkUse(), others={A: use})
    assert of(own) == wanted and all(refusal.waivable for refusal in own)
    other = replace(device(), sbdf=Sbdf.parse("0000:05:00.0"))
    assert of(needs_of_host(device(), NetworkUse(), depending=[other], others={other.sbdf: use})) == wanted


def test_an_interface_that_is_down_carries_nothing() -> None:
    down = NetInterface("eth1", "", is_up=False, upper=("xenbr0",))
    assert needs_of_host(device(net=(down,)), ROUTED) == []


names = st.sampled_from(["eth0", "bond0", "xenbr0", "eth1", "eth9"])


@given(names, st.lists(names).map(tuple), st.booleans(), st.frozensets(names), st.frozensets(names))
def test_an_interface_is_refused_exactly_if_it_or_what_is_above_it_is_needed(
    name: str, upper: tuple[str, ...], up: bool, default: frozenset[str], connection: frozenset[str]
) -> None:
    found = needs_of_host(device(net=(NetInterface(name, "", up, upper),)), NetworkUse(default, connection))
    stack = {name, *upper}
    carries = ["connection"] if stack & connection else []
    assert of(found) == (carries + (["network"] if stack & default or upper else []) if up else [])


# ---- waivers

REFUSALS = [against(Check.DISK, A, "a disk"), against(Check.BRIDGE, A, "a bridge")]


def test_a_reason_overrules_one_check_and_is_kept() -> None:
    verdict = judge(REFUSALS, {"disk": "wiped", "bridge": "I dare"})
    assert of(list(verdict.refusals)) == ["bridge"]
    assert [(one.refusal.code, one.why) for one in verdict.waived] == [("disk", "wiped")]
    assert judge(REFUSALS, {}).refusals == tuple(REFUSALS)
    mild = [against(Check.SHARED_INTERRUPT, A, "a line")]
    assert judge([], {}, mild).warnings == tuple(mild)
    assert judge([], {"shared-interrupt": "known"}, mild).warnings == ()


def test_what_a_check_may_never_be_waived_for_cannot_be() -> None:
    never = [check for check in Check if not against(check, A, "a reason").waivable]
    assert never == [Check.BRIDGE, Check.SEGMENT, Check.CONNECTION, Check.DEAD, Check.PERMISSIVE]
    assert not against(Check.DISK, A, "a reason", waivable=False).waivable


def test_waivers_of_what_cannot_be_waived_are_refused() -> None:
    catalog = parse_catalog({"a": {"slot": "3", "waive": {"bridge": "x", "dsik": "y", "disk": "z"}}})
    first, second = wrong_waivers(catalog)
    assert codes([first, second]) == [("waiver", "a"), ("waiver", "a")]
    assert "'bridge'" in first.reason and "'dsik'" in second.reason
    assert "disk" in second.advice and "bridge" not in second.advice
    assert "did you mean 'disk'?" in second.advice and "did you mean" not in first.advice
