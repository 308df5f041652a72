# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What devices share, and that those which share it go to one owner or the plan is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import Acs, ConfigFlags, PciDevice, Resource
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain, DomainKind
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.topology import Topology
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_isolation import judge_isolation
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import DesiredDomain, make_plan
from ansible_collections.xen.pci.plugins.module_utils.plan.isolation import Ties, ties_of
from ansible_collections.xen.pci.plugins.module_utils.plan.safety import judge
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import DevicePolicy
from ansible_collections.xen.pci.plugins.module_utils.values.reserved_memory import ReservedMemory

A, B, C = (Sbdf.parse(f"0000:0{number}:00.0") for number in (1, 2, 3))
# ---- what a device shares with others

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
    (refusal,) = ties_of(close, A, {B, C}).refusals
    assert codes([refusal]) == [("shared-page", str(A))]
    assert "0xfe000000" in str(refusal) and "0000:02:00.0," in str(refusal)
    assert ties_of(close, A, {C}) == Ties()
    assert ties_of(close, C, {A, B}) == Ties()


def test_a_window_that_reaches_into_anothers_last_page_counts() -> None:
    tail = topology(A=window(0xFE000000, 0x1800), B=window(0xFE001800, 0x800))
    assert codes(ties_of(tail, A, {B}).refusals) == [("shared-page", str(A))]


def test_ports_and_full_pages_are_not_shared() -> None:
    ports = topology(A=window(0xC000, 32, 0x101), B=window(0xC020, 32, 0x101))
    assert ties_of(ports, A, {B}) == Ties()
    full = topology(A=window(0xFE000000, 0x1000), B=window(0xFE001000, 0x1000))
    assert ties_of(full, A, {B}) == Ties()


def test_a_shared_line_is_refused_without_message_interrupts_and_warned_about_with_them() -> None:
    line = {"irq": 17, "interrupt_pin": 1}
    shared = topology(A=line, B={**line, "message_interrupts": True}, C={**line, "irq": 18})
    (refusal,) = ties_of(shared, A, {B, C}).refusals
    assert codes([refusal]) == [("shared-interrupt", str(A))]
    assert "line 17 with 0000:02:00.0," in str(refusal)
    able = ties_of(shared, B, {A, C})
    assert able.refusals == ()
    assert codes(able.warnings) == [("shared-interrupt", str(B))]
    assert ties_of(shared, A, {C}) == Ties()


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
        assert ties_of(Topology({**devices.devices, B: second}), A, {B}).refusals == ()


def test_what_xen_calls_a_group_stays_together() -> None:
    (refusal,) = ties_of(topology(A={}, B={}, C={}), A, {B}, {A, B, C}).refusals
    assert codes([refusal]) == [("group", str(A))]
    assert "0000:02:00.0," in str(refusal), "the third stays with whoever has the first"
    assert ties_of(topology(A={}, B={}), A, set(), {A, B}) == Ties()


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
        (Acs.ABSENT, Acs.ON, f"port {P1} of the switch has no ACS"),
        (Acs.OFF, Acs.ON, f"port {P1} of the switch has its ACS switched off"),
        (Acs.ON, Acs.ABSENT, f"port {P2} of the switch has no ACS"),
        (Acs.ON, Acs.ON, ""),
        (Acs.UNKNOWN, Acs.UNKNOWN, ""),
    ],
)
def test_a_switch_without_acs_ties_what_is_behind_its_ports(first: Acs, second: Acs, evidence: str) -> None:
    refusals = ties_of(switch(first, second), A, {B, C, UP, P1, P2}).refusals
    assert codes(refusals) == ([("acs", str(A))] if evidence else [])
    if evidence:
        assert f"{B}," in str(refusals[0]) and str(C) not in str(refusals[0])
        assert evidence in str(refusals[0])
    assert ties_of(switch(first, second), A, {C, UP, P1, P2}) == Ties(), "they go together"
    assert ties_of(switch(first, second), C, {A, B}) == Ties()


def test_a_switch_above_a_switch_counts() -> None:
    up, port = Sbdf.parse("0000:20:00.0"), Sbdf.parse("0000:21:00.0")
    outer = switch(Acs.ON, Acs.ABSENT)
    inner = {
        up: PciDevice(up, "10b5", "8747", "", "", "060400", "00", parent=P1, port_type=5),
        port: PciDevice(port, "10b5", "8747", "", "", "060400", "00", parent=up, port_type=6, acs=Acs.ON),
    }
    below = replace(outer.devices[A], parent=port)
    (refusal,) = ties_of(Topology({**outer.devices, **inner, A: below}), A, {B}).refusals
    assert f"port {P2} of the switch has no ACS" in str(refusal)


def test_a_device_that_does_not_answer_is_refused_whoever_wants_it() -> None:
    (refusal,) = ties_of(topology(A={"answers": False}, B={}), A, ()).refusals
    assert (refusal.code, refusal.subject, refusal.waivable) == ("dead", str(A), False)


def test_reserved_memory_is_warned_about_and_refused_if_others_share_it() -> None:
    way = "0000:00/1c.0/00.0"
    own, shared = (
        ReservedMemory(0x7B800000, 0x7BFFFFFF, (way,)),
        ReservedMemory(0xE0000, 0xEFFFF, (way, "0000:00/14.0")),
    )
    alone = ties_of(topology(A={"path": way, "reserved_memory": (own,)}), A, ())
    assert alone.refusals == ()
    assert codes(alone.warnings) == [("reserved-memory", str(A))]
    assert "0x7b800000-0x7bffffff" in alone.warnings[0].reason
    both = ties_of(topology(A={"path": way, "reserved_memory": (own, shared)}), A, ())
    assert codes(both.refusals) == [("reserved-memory", str(A))]
    assert "0xe0000-0xeffff" in str(both.refusals[0]) and "0000:00/14.0" in str(both.refusals[0])
    assert judge(both.refusals, {"reserved-memory": "firmware no longer uses it"}, both.warnings).warnings == ()


def test_functions_of_one_card_without_acs_are_warned_about() -> None:
    first, second = (Sbdf.parse(f"0000:01:00.{number}") for number in (0, 1))
    endpoint = {"port_type": 0, "acs": Acs.ABSENT, "reset_methods": FLR}

    def pair(**facts: Any) -> Topology:
        made = [PciDevice(sbdf, "8086", "10d3", "", "", "020000", "00", **endpoint) for sbdf in (first, second)]
        return Topology({first: made[0], second: replace(made[1], **facts)})

    found = ties_of(pair(), first, {second})
    assert found.refusals == ()
    assert codes(found.warnings) == [("acs", str(first))]
    assert str(second) in found.warnings[0].reason
    assert ties_of(pair(), first, set()) == Ties()
    assert ties_of(pair(physfn=first), first, {second}) == Ties(), "a virtual function"
    both = pair(acs=Acs.ON)
    assert ties_of(Topology({**both.devices, first: both.devices[first]}), second, {first}).warnings
    on = {sbdf: replace(device, acs=Acs.ON) for sbdf, device in both.devices.items()}
    assert ties_of(Topology(on), first, {second}) == Ties()
    conventional = {sbdf: replace(device, port_type=None) for sbdf, device in both.devices.items()}
    assert ties_of(Topology(conventional), first, {second}) == Ties(), "Xen groups what is behind a conventional bridge"


def test_a_device_without_reset_is_warned_about_or_refused_with_what_stands_in_the_way() -> None:
    port = Sbdf.parse("0000:00:01.0")
    bare = topology(A={"reset_methods": (), "parent": port}, B={"parent": port})
    (warning,) = ties_of(bare, A, set()).warnings
    assert codes([warning]) == [("no-reset", str(A))]
    assert str(B) in warning.reason, "it keeps the kernel from resetting the bus"
    (refusal,) = ties_of(bare, A, set(), require_reset=True).refusals
    assert codes([refusal]) == [("no-reset", str(A))]
    assert ties_of(bare, B, set(), require_reset=True) == Ties()


# ---- what a plan would split


LINE: dict[str, Any] = {"irq": 17, "interrupt_pin": 1}


def device(sbdf: Sbdf, **facts: Any) -> PciDevice:
    facts = {"driver": "pciback", "reset_methods": ("flr",), **facts}
    return PciDevice(sbdf, "8086", "10d3", "", "", "020000", "00", **facts)


def domain(domid: int, name: str, *devices: Sbdf) -> Domain:
    nodes = {"state": "4", "num_devs": str(len(devices))}
    for number, sbdf in enumerate(devices):
        nodes |= {f"dev-{number}": str(sbdf), f"state-{number}": "3"}
    return Domain(
        domid, name, kind=DomainKind.PV, own_connection=PciConnection.from_nodes(domid, nodes, "4") if devices else None
    )


def split(
    devices: list[PciDevice],
    wanted: dict[str, tuple[Sbdf, ...]],
    *,
    domains: tuple[Domain, ...] = (domain(1, "a"), domain(2, "b")),
    groups: dict[Sbdf, frozenset[Sbdf]] | None = None,
    policies: dict[Sbdf, DevicePolicy] | None = None,
) -> list[tuple[str, str]]:
    host = Host({one.sbdf: one for one in devices}, {one.domid: one for one in domains})
    plan = make_plan(host, [DesiredDomain(name, having, exclusive=True) for name, having in wanted.items()])
    assert plan.refusals == ()
    host = replace(host, groups=groups or {})
    return codes(judge_isolation(host, plan, policies or {}).refusals)


def test_a_line_is_not_split_between_domains_or_between_a_domain_and_the_host() -> None:
    both = [device(A, **LINE), device(B, **LINE)]
    assert split(both, {"a": (A,), "b": (B,)}) == [("shared-interrupt", str(A)), ("shared-interrupt", str(B))]
    assert split(both, {"a": (A, B)}) == []
    assert split([both[0], device(B, driver="e1000e", **LINE)], {"a": (A,)}) == [("shared-interrupt", str(A))]


def test_a_partner_in_quarantine_is_no_other_owner() -> None:
    assert split([device(A, **LINE), device(B, **LINE)], {"a": (A,)}) == []


def test_a_partner_of_a_domain_outside_the_plan_counts_and_one_that_is_released_does_not() -> None:
    both, domains = [device(A, **LINE), device(B, **LINE)], (domain(1, "a"), domain(2, "b", B))
    assert split(both, {"a": (A,)}, domains=domains) == [("shared-interrupt", str(A))]
    assert split(both, {"a": (A,), "b": ()}, domains=domains) == []


def test_what_a_domain_has_already_is_not_questioned() -> None:
    both = [device(A, **LINE), device(B, driver="e1000e", **LINE)]
    assert split(both, {"a": (A,)}, domains=(domain(1, "a", A),)) == []


def test_groups_are_not_split() -> None:
    groups = {A: frozenset({A, B})}
    assert split([device(A), device(B)], {"a": (A,), "b": (B,)}, groups=groups) == [("group", str(A))]
    assert split([device(A), device(B)], {"a": (A, B)}, groups=groups) == []


def test_a_reason_overrules() -> None:
    both = [device(A, **LINE), device(B, driver="e1000e", **LINE)]
    assert split(both, {"a": (A,)}, policies={A: DevicePolicy("nic", {"shared-interrupt": "unused"})}) == []


def test_permissive_from_before_is_not_passed_on() -> None:
    on, refused = [device(A, permissive=True)], [("permissive", str(A))]
    assert split(on, {"a": (A,)}) == refused
    assert split(on, {"a": (A,)}, policies={A: DevicePolicy("gpu", permissive="firmware")}) == []
    assert split(on, {"a": (A,)}, policies={A: DevicePolicy("gpu", {"permissive": "no"})}) == refused
