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

from ansible_collections.xen.pci.plugins.module_utils.model.device import (
    Acs,
    BlockUse,
    ConfigFlags,
    NetInterface,
    PciDevice,
    Resource,
)
from ansible_collections.xen.pci.plugins.module_utils.model.topology import Topology
from ansible_collections.xen.pci.plugins.module_utils.model.usage import NetworkUse
from ansible_collections.xen.pci.plugins.module_utils.plan.isolation import Ties, ties
from ansible_collections.xen.pci.plugins.module_utils.plan.safety import (
    Check,
    Refusal,
    judge,
    needs_of_host,
    wrong_waivers,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import parse_catalog
from ansible_collections.xen.pci.plugins.module_utils.values.reserved_memory import ReservedMemory

ROUTED = NetworkUse(
    networks={"eth7": ("10.0.7.0/24",)}, default_route=frozenset({"xenbr0"}), connection=frozenset({"eth1"})
)


def device(**facts: Any) -> PciDevice:
    ids = {"vendor": "8086", "device": "10d3", "subsystem_vendor": "", "subsystem_device": "", "revision": "00"}
    return PciDevice(Sbdf.parse("0000:03:00.0"), **{**ids, "class_code": "020000", **facts})


def refusals(one: PciDevice, network: NetworkUse, assigned: tuple[Sbdf, ...] = ()) -> list[str]:
    return [str(refusal) for refusal in needs_of_host(one, network, assigned)]


def test_an_idle_device_may_go() -> None:
    idle = device(block=(BlockUse("nvme0n1"),), net=(NetInterface("eth9", "", is_up=True),))
    assert refusals(idle, ROUTED) == []


def test_bridges_stay_by_class_by_header_and_by_what_is_behind_them() -> None:
    assert "is a bridge" in refusals(device(class_code="060400"), NetworkUse())[0]
    assert "is a bridge" in refusals(device(header_type=1), NetworkUse())[0]
    assert "1 device behind it" in refusals(device(children=(Sbdf.parse("0000:04:00.0"),)), NetworkUse())[0]


def test_every_use_of_a_disk_is_told() -> None:
    disk = BlockUse("nvme0n1", ("nvme0n1p1 is mounted on /data", "nvme0n1p2 is in use as swap"))
    (reason,) = refusals(device(class_code="010802", block=(disk,)), NetworkUse())
    assert all(use in reason for use in disk.used_by)
    assert "(disk: may be waived)" in reason


def test_a_physical_function_with_virtual_functions_stays() -> None:
    virtual = Sbdf.parse("0000:03:10.0")
    (idle,) = needs_of_host(device(virtfns=(virtual,)), NetworkUse())
    assert "1 virtual function," in str(idle)
    assert idle.waivable
    (out,) = needs_of_host(device(virtfns=(virtual,)), NetworkUse(), {virtual})
    assert "0000:03:10.0 of them is with pciback" in str(out)
    assert not out.waivable


def test_parts_of_the_mainboard_and_the_console_stay() -> None:
    assert "part of the mainboard" in refusals(device(class_code="0c0500"), NetworkUse())[0]
    screen = device(class_code="030000", consoles=("the firmware's display", "framebuffer fb0"))
    assert "the host's console (the firmware's display, framebuffer fb0)" in refusals(screen, NetworkUse())[0]


def test_the_connection_of_ansible_and_the_default_route_stay() -> None:
    (direct,) = refusals(device(net=(NetInterface("eth1", "", is_up=True),)), ROUTED)
    assert "eth1, which carries the connection that Ansible uses;" in direct
    assert "cannot be waived" in direct
    (through,) = refusals(device(net=(NetInterface("eth0", "", is_up=True, upper=("bond0", "xenbr0")),)), ROUTED)
    assert "the host's default route through xenbr0 and is a part of bond0, xenbr0" in through


def test_an_interface_with_an_address_or_in_a_bridge_stays() -> None:
    (addressed,) = refusals(device(net=(NetInterface("eth7", "", is_up=True),)), ROUTED)
    assert "is up and has an address in 10.0.7.0/24" in addressed
    (enslaved,) = refusals(device(net=(NetInterface("eth9", "", is_up=True, upper=("br9",)),)), ROUTED)
    assert "is up and is a part of br9" in enslaved


def test_an_interface_that_is_down_carries_nothing() -> None:
    assert refusals(device(net=(NetInterface("eth1", "", is_up=False, upper=("xenbr0",)),)), ROUTED) == []


names = st.sampled_from(["eth0", "bond0", "xenbr0", "eth1", "eth9"])


@given(names, st.lists(names).map(tuple), st.booleans(), st.frozensets(names), st.frozensets(names))
def test_an_interface_is_refused_exactly_if_it_or_what_is_above_it_is_needed(
    name: str, upper: tuple[str, ...], up: bool, default: frozenset[str], connection: frozenset[str]
) -> None:
    found = needs_of_host(device(net=(NetInterface(name, "", up, upper),)), NetworkUse(default, connection))
    stack = {name, *upper}
    carries = [Check.CONNECTION] if stack & connection else []
    assert [one.check for one in found] == (
        carries + ([Check.NETWORK] if stack & default or upper else []) if up else []
    )


# ---- what hangs together

A, B, C = (Sbdf.parse(f"0000:0{number}:00.0") for number in (1, 2, 3))
FLR = ("flr",)


def topology(**facts: dict[str, Any]) -> Topology:
    """Devices A, B and C with facts of their own."""
    known = {"A": A, "B": B, "C": C}
    made = [
        PciDevice(known[name], "8086", "10d3", "", "", "020000", "00", **{"reset_methods": FLR, **more})
        for name, more in facts.items()
    ]
    return Topology({one.sbdf: one for one in made})


def window(start: int, size: int, flags: int = 0x200) -> dict[str, Any]:
    return {"resources": (Resource(start, start + size - 1, flags),)}


def test_registers_in_one_page_tie_devices_together() -> None:
    close = topology(A=window(0xFE000000, 256), B=window(0xFE000800, 256), C=window(0xFE001000, 0x1000))
    (refusal,) = ties(close, A, {B, C}).refusals
    assert refusal.check is Check.SHARED_PAGE
    assert "same page of memory (0xfe000000) as 0000:02:00.0," in str(refusal)
    assert ties(close, A, {C}) == Ties()
    assert ties(close, C, {A, B}) == Ties()


def test_a_window_that_reaches_into_anothers_last_page_counts() -> None:
    tail = topology(A=window(0xFE000000, 0x1800), B=window(0xFE001800, 0x800))
    assert [one.check for one in ties(tail, A, {B}).refusals] == [Check.SHARED_PAGE]


def test_ports_and_full_pages_are_nobody_elses() -> None:
    ports = topology(A=window(0xC000, 32, 0x101), B=window(0xC020, 32, 0x101))
    assert ties(ports, A, {B}) == Ties()
    full = topology(A=window(0xFE000000, 0x1000), B=window(0xFE001000, 0x1000))
    assert ties(full, A, {B}) == Ties()


def test_a_shared_line_is_refused_without_message_interrupts_and_warned_about_with_them() -> None:
    line = {"irq": 17, "interrupt_pin": 1}
    shared = topology(A=line, B={**line, "message_interrupts": True}, C={**line, "irq": 18})
    (refusal,) = ties(shared, A, {B, C}).refusals
    assert refusal.check is Check.SHARED_INTERRUPT
    assert "shares interrupt line 17 with 0000:02:00.0," in str(refusal)
    able = ties(shared, B, {A, C})
    assert able.refusals == []
    assert "harmless while the driver in the guest uses MSI" in able.warnings[0].reason
    assert ties(shared, A, {C}) == Ties()


def test_what_has_no_line_or_shows_its_message_interrupt_shares_none() -> None:
    line = {"irq": 17, "interrupt_pin": 1}
    for other in (
        {"irq": 17},
        {**line, "config": ConfigFlags(msi=True)},
        {**line, "class_code": "060400"},
        {**line, "irq": 255},
    ):
        devices = topology(A=line)
        second = PciDevice(B, "8086", "10d3", "", "", **{"class_code": "020000", "revision": "00", **other})
        assert ties(Topology({**devices.devices, B: second}), A, {B}).refusals == []


def test_what_xen_calls_a_group_stays_together() -> None:
    (refusal,) = ties(topology(A={}, B={}, C={}), A, {B}, {A, B, C}).refusals
    assert refusal.check is Check.GROUP
    assert "0000:02:00.0 by the IOMMU" in str(refusal)
    assert ties(topology(A={}, B={}), A, set(), {A, B}) == Ties()


UP, P1, P2 = (Sbdf.parse(f"0000:{bus}:00.0") for bus in ("10", "11", "12"))


def switch(first: Acs, second: Acs) -> Topology:
    """A is below the first port of a switch, B below the second, C beside the switch."""
    ports = {
        sbdf: PciDevice(sbdf, "10b5", "8747", "", "", "060400", "00", parent=parent, port_type=kind, acs=acs)
        for sbdf, parent, kind, acs in ((UP, None, 5, Acs.ABSENT), (P1, UP, 6, first), (P2, UP, 6, second))
    }
    return Topology({**ports, **topology(A={"parent": P1}, B={"parent": P2}, C={}).devices})


@pytest.mark.parametrize(
    ("first", "second", "evidence"),
    [
        (Acs.ABSENT, Acs.ON, f"and port {P1} of it has no ACS"),
        (Acs.OFF, Acs.ON, f"and port {P1} of it has its ACS switched off"),
        (Acs.ON, Acs.ABSENT, f"and port {P2} of it has no ACS"),
        (Acs.ON, Acs.ON, ""),
        (Acs.UNKNOWN, Acs.UNKNOWN, ""),
    ],
)
def test_a_switch_without_acs_ties_what_is_behind_its_ports(first: Acs, second: Acs, evidence: str) -> None:
    refusals = ties(switch(first, second), A, {B, C, UP, P1, P2}).refusals
    assert [one.check for one in refusals] == ([Check.ACS] if evidence else [])
    if evidence:
        assert f"{A} is below the same switch as {B}, which" in str(refusals[0])
        assert evidence in str(refusals[0])
    assert ties(switch(first, second), A, {C, UP, P1, P2}) == Ties(), "they go together"
    assert ties(switch(first, second), C, {A, B}) == Ties()


def test_a_switch_above_a_switch_counts() -> None:
    up, port = Sbdf.parse("0000:20:00.0"), Sbdf.parse("0000:21:00.0")
    outer = switch(Acs.ON, Acs.ABSENT)
    inner = {
        up: PciDevice(up, "10b5", "8747", "", "", "060400", "00", parent=P1, port_type=5),
        port: PciDevice(port, "10b5", "8747", "", "", "060400", "00", parent=up, port_type=6, acs=Acs.ON),
    }
    below = replace(outer.devices[A], parent=port)
    (refusal,) = ties(Topology({**outer.devices, **inner, A: below}), A, {B}).refusals
    assert f"and port {P2} of it has no ACS" in str(refusal)


def test_a_device_that_does_not_answer_is_refused_whoever_wants_it() -> None:
    (refusal,) = ties(topology(A={"answers": False}, B={}), A, ()).refusals
    assert (refusal.check, refusal.waivable) == (Check.DEAD, False)
    assert "all ones" in str(refusal)


def test_reserved_memory_is_warned_about_and_refused_if_others_share_it() -> None:
    way = "0000:00/1c.0/00.0"
    own, shared = (
        ReservedMemory(0x7B800000, 0x7BFFFFFF, (way,)),
        ReservedMemory(0xE0000, 0xEFFFF, (way, "0000:00/14.0")),
    )
    alone = ties(topology(A={"path": way, "reserved_memory": (own,)}), A, ())
    assert alone.refusals == []
    assert [one.check for one in alone.warnings] == [Check.RESERVED_MEMORY]
    assert f"firmware keeps {A} at memory 0x7b800000-0x7bffffff" in alone.warnings[0].reason
    both = ties(topology(A={"path": way, "reserved_memory": (own, shared)}), A, ())
    assert [one.check for one in both.refusals] == [Check.RESERVED_MEMORY]
    assert "0xe0000-0xeffff (RMRR), and 0000:00/14.0 too" in str(both.refusals[0])
    assert judge(both.refusals, {"reserved-memory": "firmware no longer uses it"}, both.warnings).warnings == ()


def test_functions_of_one_card_without_acs_are_warned_about() -> None:
    first, second = (Sbdf.parse(f"0000:01:00.{number}") for number in (0, 1))
    endpoint = {"port_type": 0, "acs": Acs.ABSENT, "reset_methods": FLR}

    def pair(**facts: Any) -> Topology:
        made = [PciDevice(sbdf, "8086", "10d3", "", "", "020000", "00", **endpoint) for sbdf in (first, second)]
        return Topology({first: made[0], second: replace(made[1], **facts)})

    found = ties(pair(), first, {second})
    assert found.refusals == []
    assert [one.check for one in found.warnings] == [Check.ACS]
    assert f"{first} is on one card with {second}" in found.warnings[0].reason
    assert ties(pair(), first, set()) == Ties()
    assert ties(pair(physfn=first), first, {second}) == Ties(), "a virtual function"
    both = pair(acs=Acs.ON)
    assert ties(Topology({**both.devices, first: both.devices[first]}), second, {first}).warnings
    on = {sbdf: replace(device, acs=Acs.ON) for sbdf, device in both.devices.items()}
    assert ties(Topology(on), first, {second}) == Ties()
    conventional = {sbdf: replace(device, port_type=None) for sbdf, device in both.devices.items()}
    assert ties(Topology(conventional), first, {second}) == Ties(), "Xen groups what is behind a conventional bridge"


def test_a_device_without_reset_is_warned_about_or_refused_with_what_stands_in_the_way() -> None:
    port = Sbdf.parse("0000:00:01.0")
    bare = topology(A={"reset_methods": (), "parent": port}, B={"parent": port})
    (warning,) = ties(bare, A, set()).warnings
    assert "0000:01:00.0 has no way to be reset, and 0000:02:00.0 on its bus keep" in warning.reason
    (refusal,) = ties(bare, A, set(), require_reset=True).refusals
    assert refusal.check is Check.NO_RESET
    assert ties(bare, B, set(), require_reset=True) == Ties()


# ---- waivers

REFUSALS = [Refusal(A, Check.DISK, "a disk"), Refusal(A, Check.BRIDGE, "a bridge", waivable=False)]


def test_a_reason_overrules_one_check_and_is_kept() -> None:
    verdict = judge(REFUSALS, {"disk": "wiped", "bridge": "I dare"})
    assert [one.check for one in verdict.refusals] == [Check.BRIDGE]
    assert [(one.refusal.check, one.why) for one in verdict.waived] == [(Check.DISK, "wiped")]
    assert judge(REFUSALS, {}).refusals == tuple(REFUSALS)
    mild = [Refusal(A, Check.SHARED_INTERRUPT, "a line")]
    assert judge([], {}, mild).warnings == tuple(mild)
    assert judge([], {"shared-interrupt": "known"}, mild).warnings == ()


def test_waivers_of_what_cannot_be_waived_are_told() -> None:
    catalog = parse_catalog({"a": {"slot": "3", "waive": {"bridge": "x", "dsik": "y", "disk": "z"}}})
    first, second = wrong_waivers(catalog)
    assert "'bridge'" in first
    assert "'dsik'" in second
    assert "mainboard, disk, network" in second
