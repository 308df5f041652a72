# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning: laws that hold on any host, and one example for each refusal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import PciDevice, XenOwner
from ansible_collections.xen.pci.plugins.module_utils.model.device_model import DeviceModel, Plugged, qemu_name
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain, DomainKind
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.stored_config import Creation
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import (
    DesiredDomain,
    DomainsPlan,
    make_plan,
    virtual_slots,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import GuestAddress, Sbdf

NEW_KERNEL, OLD_KERNEL = (6, 1), (5, 13)
A, B, C = Sbdf(0, 3, 0, 0), Sbdf(0, 4, 0, 0), Sbdf(0, 5, 0, 0)


def function(sbdf: Sbdf, driver: str | None = "pciback", **more: object) -> PciDevice:
    return PciDevice(sbdf, "8086", "1521", "8086", "0001", "020000", "01", driver=driver, **more)  # type: ignore[arg-type]


def connection(domid: int, devices: Sequence[Sbdf], **changed: str) -> PciConnection:
    nodes = {"state": "4", "num_devs": str(len(devices))}
    for index, device in enumerate(devices):
        nodes |= {
            f"dev-{index}": str(device),
            f"key-{index}": str(device),
            f"state-{index}": "3",
            f"vdev-{index}": f"0000:00:{index:02x}.00",
        }
    nodes |= {name.replace("_", "-"): value for name, value in changed.items()}
    return PciConnection.from_nodes(domid, nodes, "4")


def guest(name: str, domid: int, devices: Sequence[Sbdf] = (), **more: object) -> Domain:
    backend = connection(domid, devices) if devices else None
    return replace(Domain(domid, name, kind=DomainKind.PV, own_connection=backend), **more)  # type: ignore[arg-type]


def emulated(listed: Sequence[Sbdf], plugged: Sequence[Sbdf] | None, free_slots: int = 29) -> Domain:
    """red as an HVM guest: what libxl lists for it, and what its device model has."""
    found = None if plugged is None else {qemu_name(one): Plugged(GuestAddress(0, 0, 3, 0), True) for one in plugged}
    model = DeviceModel(found, free_slots, "its QEMU is deaf" if found is None else "")
    return guest("red", 1, listed, kind=DomainKind.HVM, device_model=model)


def host(
    *domains: Domain, devices: Sequence[PciDevice] = (), kernel: tuple[int, int] = NEW_KERNEL, **more: object
) -> Host:
    return Host(
        devices={device.sbdf: device for device in devices or [function(one) for one in (A, B, C)]},
        domains={domain.domid: domain for domain in domains},
        kernel=kernel,
        **more,  # type: ignore[arg-type]
    )


def wants(name: str, *devices: Sbdf, exclusive: bool = False, present: bool = True) -> DesiredDomain:
    return DesiredDomain(name, devices, exclusive, present)


# ---- laws

POOL = [Sbdf(0, bus, 0, 0) for bus in range(1, 6)]
GUESTS = ("red", "green", "blue")


@st.composite
def situations(draw: st.DrawFn) -> tuple[Host, list[DesiredDomain]]:
    """A sound host with its devices anywhere, and any declaration, sensible or not."""
    where = {device: draw(st.sampled_from([None, *GUESTS])) for device in POOL}
    domains = [
        guest(name, domid, [device for device in POOL if where[device] == name]) for domid, name in enumerate(GUESTS, 1)
    ]
    desired = [
        DesiredDomain(
            name, tuple(draw(st.lists(st.sampled_from(POOL), max_size=4))), draw(st.booleans()), draw(st.booleans())
        )
        for name in draw(st.lists(st.sampled_from(GUESTS), min_size=1, unique=True))
    ]
    unbound = draw(st.frozensets(st.sampled_from(POOL), max_size=1))
    devices = [function(one, "igb" if one in unbound and where[one] is None else "pciback") for one in POOL]
    return host(*domains, devices=devices), desired


def broken_rules(before: Host, desired: Sequence[DesiredDomain]) -> bool:
    """The rules once more, said as what must hold for the outcome."""
    wanted = Counter(device for want in desired if want.present for device in want.devices)
    if any(count > 1 for count in wanted.values()):
        return True
    named = {want.name: want for want in desired}
    for want in desired:
        if not want.devices and not (want.exclusive and want.present):
            return True
        if not want.present:
            continue
        for device in want.devices:
            holder = before.holder_of(device)
            if holder is None:
                if before.devices[device].driver != "pciback":
                    return True
            elif holder.name != want.name:
                other = named.get(holder.name)
                gives_up = other is not None and (
                    (device in other.devices)
                    if not other.present
                    else (other.exclusive and device not in other.devices)
                )
                if not gives_up:
                    return True
    return False


@dataclass(frozen=True)
class Agreed:
    """A declaration without contradictions, and where each device is then to be."""

    before: Host
    desired: list[DesiredDomain]
    holders: dict[Sbdf, str | None]


@st.composite
def agreements(draw: st.DrawFn) -> Agreed:
    """Any placement and any other one that the domains' ways of declaring can bring about."""
    where = {device: draw(st.sampled_from([None, *GUESTS])) for device in POOL}
    ways = {name: draw(st.sampled_from(["exactly", "at least", "without", "unnamed"])) for name in GUESTS}
    receivers = [None, *(name for name in GUESTS if ways[name] in ("exactly", "at least"))]
    holders, given_up = {}, []
    for device, holder in where.items():
        way = ways.get(holder or "", "exactly")
        leaves = way == "exactly" or (way == "without" and draw(st.booleans()))
        holders[device] = draw(st.sampled_from(receivers)) if leaves else holder
        if way == "without" and leaves:
            given_up.append(device)
    desired = []
    for name in draw(st.permutations(GUESTS)):
        own = [device for device in draw(st.permutations(POOL)) if holders[device] == name]
        if ways[name] == "exactly":
            desired.append(DesiredDomain(name, tuple(own), exclusive=True))
        elif ways[name] == "at least":
            listed = [device for device in own if where[device] != name or draw(st.booleans())]
            desired += [DesiredDomain(name, tuple(listed))] if listed else []
        elif ways[name] == "without":
            listed = [device for device in given_up if where[device] == name]
            desired += [DesiredDomain(name, tuple(listed), present=False)] if listed else []
    domains = [guest(name, domid, [one for one in POOL if where[one] == name]) for domid, name in enumerate(GUESTS, 1)]
    assume(desired)
    return Agreed(host(*domains, devices=[function(one) for one in POOL]), desired, holders)


def outcome(before: Host, plan: DomainsPlan) -> Host:
    after = {step.domain.domid: step.after for step in plan.domains}
    domains = {
        domid: guest(domain.name, domid, after.get(domid, domain.devices)) for domid, domain in before.domains.items()
    }
    return replace(before, domains=domains)


def agreed_plan(agreed: Agreed) -> DomainsPlan:
    plan = make_plan(agreed.before, agreed.desired)
    assert plan.refusals == ()
    return plan


@given(agreements())
def test_each_device_ends_where_it_is_declared_to_be(agreed: Agreed) -> None:
    after = outcome(agreed.before, agreed_plan(agreed))
    held = Counter(device for domain in after.domains.values() for device in domain.devices)
    assert all(count == 1 for count in held.values())
    found = {device: holder.name if (holder := after.holder_of(device)) else None for device in POOL}
    assert found == agreed.holders


@given(agreements())
def test_add_remove_and_keep_part_what_a_domain_has_and_gets(agreed: Agreed) -> None:
    plan = agreed_plan(agreed)
    assert [step.domain.name for step in plan.domains] == [want.name for want in agreed.desired]
    for step in plan.domains:
        assert sorted(step.keep + step.remove) == sorted(step.domain.devices)
        assert not set(step.add) & set(step.domain.devices)
        assert len(set(step.after)) == len(step.after)


@given(agreements())
def test_both_sides_of_a_move_know_of_it(agreed: Agreed) -> None:
    plan = agreed_plan(agreed)
    for step in plan.domains:
        assert step.arriving == {device for device in step.add if agreed.before.holder_of(device) is not None}
        assert step.departing == {device for device in step.remove if agreed.holders[device] is not None}


@given(agreements())
def test_planning_the_outcome_again_changes_nothing(agreed: Agreed) -> None:
    again = make_plan(outcome(agreed.before, agreed_plan(agreed)), agreed.desired)
    assert not again.refusals
    assert not any(step.changes for step in again.domains)


@given(situations())
def test_no_refusal_comes_twice(situation: tuple[Host, list[DesiredDomain]]) -> None:
    refusals = make_plan(*situation).refusals
    assert len(set(refusals)) == len(refusals)


@given(situations())
def test_a_declaration_is_refused_exactly_if_it_breaks_a_rule(situation: tuple[Host, list[DesiredDomain]]) -> None:
    assert bool(make_plan(*situation).refusals) == broken_rules(*situation)


def test_a_swap_between_two_domains_is_one_plan() -> None:
    plan = make_plan(
        host(guest("red", 1, [A]), guest("green", 2, [B])),
        [wants("red", B, exclusive=True), wants("green", A, exclusive=True)],
    )
    assert plan.refusals == ()
    assert [(step.arriving, step.departing) for step in plan.domains] == [({B}, {A}), ({A}, {B})]


@pytest.mark.parametrize("also", [[], [C]])
def test_what_pciback_keeps_for_a_guest_moves_on_once_the_plan_has_emptied_that_guest(also: list[Sbdf]) -> None:
    """Its own first device, or one that it has given back before: the other guest waits until the last has left."""
    given_back = replace(emulated([B], [B]), own_connection=connection(1, [B], state_0="1"))
    for keeper, kept in ((emulated([A, B], [A, B]), {}), (given_back, {A: 1})):
        desired = [wants("red", *also, exclusive=True), wants("green", A)]
        plan = make_plan(host(keeper, guest("green", 2), kept_holds=kept), desired)
        assert plan.refusals == ()
        red, green = plan.domains
        assert red.departing == set(keeper.devices) == green.awaited
        assert green.arriving == set(keeper.devices)


# ---- refusals: each code, with what it is about and the facts that its text must have


RED = guest("red", 1)
MANY = [function(Sbdf(0, 8, slot, 0)) for slot in range(32)] + [function(Sbdf(0, 9, 0, 0))]
REFUSALS: Mapping[str, tuple[Host, list[DesiredDomain], tuple[str, str], Sequence[str]]] = {
    "empty list": (host(RED), [wants("red")], ("empty-devices", "red"), ["exclusive: true"]),
    "empty list to take away": (
        host(RED),
        [wants("red", exclusive=True, present=False)],
        ("empty-devices", "red"),
        [],
    ),
    "twice for one domain": (host(RED), [wants("red", A, A)], ("declared-twice", str(A)), ["red"]),
    "for two domains": (
        host(RED, guest("green", 2)),
        [wants("red", A), wants("green", A)],
        ("declared-twice", str(A)),
        ["red", "green"],
    ),
    "no such domain": (
        host(RED, guest("green", 2)),
        [wants("blue", A)],
        ("unknown-domain", "blue"),
        ["blue", "green, red"],
    ),
    "a misspelled domain": (host(RED), [wants("rde", A)], ("unknown-domain", "rde"), ["Did you mean 'red'?"]),
    "no such domain, none at all": (host(), [wants("blue", A)], ("unknown-domain", "blue"), ["blue", "none"]),
    "PVH": (
        host(guest("red", 1, kind=DomainKind.PVH)),
        [wants("red", A)],
        ("wrong-kind", "red"),
        ["red", "PVH", 'type="pv"'],
    ),
    "HVM, of another device model": (
        host(guest("red", 1, kind=DomainKind.HVM)),
        [wants("red", A)],
        ("wrong-kind", "red"),
        ["red", 'device_model_version="qemu-xen"'],
    ),
    "HVM, libxl lists more": (
        host(emulated([B], [])),
        [wants("red", A)],
        ("stale-record", "red"),
        [str(B), "xen.pci.repair"],
    ),
    "HVM, libxl lists less": (
        host(emulated([], [B])),
        [wants("red", A)],
        ("unlisted-device", "red"),
        ["pci-pt-04_00.0", "xen.pci.repair"],
    ),
    "HVM, the same name in two segments": (
        host(emulated([], []), devices=[function(A), function(replace(A, segment=1))]),
        [wants("red", A, replace(A, segment=1))],
        ("same-name-in-qemu", "red"),
        [str(A), "0001:03:00.0"],
    ),
    "HVM, no slot left": (
        host(emulated([], [], free_slots=1)),
        [wants("red", A, B)],
        ("bus-full", "red"),
        ["2 slots", "1 are free"],
    ),
    "HVM, its first device to a PV guest": (
        host(emulated([A, B], [A, B]), guest("green", 2)),
        [wants("red", B, exclusive=True), wants("green", A)],
        ("kept-by-pciback", str(A)),
        [str(A), "red"],
    ),
    "HVM, its former first device to a PV guest, and it keeps another": (
        host(
            replace(emulated([B, C], [B, C]), own_connection=connection(1, [B, C], state_0="1")),
            guest("green", 2),
            kept_holds={A: 1},
        ),
        [wants("red", B, exclusive=True), wants("green", A)],
        ("kept-by-pciback", str(A)),
        [str(A), "red"],
    ),
    "a stub domain": (
        host(guest("red", 1, serves=7)),
        [wants("red", A)],
        ("wrong-kind", "red"),
        ["red", "domain 7"],
    ),
    "unknown kind": (
        host(guest("red", 1, kind=DomainKind.UNKNOWN)),
        [wants("red", A)],
        ("wrong-kind", "red"),
        ["red", "libxl"],
    ),
    "unsound connection": (
        host(guest("red", 1, own_connection=connection(1, [B], state_0="5"))),
        [wants("red", A)],
        ("unsound-connection", "red"),
        [str(B), "sub-state 5", "xen.pci.repair"],
    ),
    "no IOMMU use": (
        host(guest("red", 1, creation=Creation(passthrough="disabled"))),
        [wants("red", A)],
        ("not-ready", "red"),
        ["red", "IOMMU", 'passthrough="enabled"'],
    ),
    "too many slots": (
        host(RED, devices=MANY),
        [wants("red", *[device.sbdf for device in MANY])],
        ("bus-full", "red"),
        ["33", "32"],
    ),
    "no such device": (
        host(RED),
        [wants("red", Sbdf(0, 9, 0, 0))],
        ("no-such-device", "0000:09:00.0"),
        ["0000:09:00.0", "red"],
    ),
    "bridge": (
        host(RED, devices=[replace(function(A), class_code="060400")]),
        [wants("red", A)],
        ("bridge", str(A)),
        [str(A), "behind it"],
    ),
    "bridge by its header": (
        host(RED, devices=[function(A, header_type=1)]),
        [wants("red", A)],
        ("bridge", str(A)),
        [str(A)],
    ),
    "bridge by what is behind": (
        host(RED, devices=[function(A, children=(B,))]),
        [wants("red", A)],
        ("bridge", str(A)),
        [str(A)],
    ),
    "held by pciback and no domain": (
        host(RED, devices=[function(A, lost_hold="12 No more space on root virtual PCI bus")]),
        [wants("red", A)],
        ("lost-hold", str(A)),
        [str(A), "12 No more space", "dom0"],
    ),
    "driver of the host": (
        host(RED, devices=[function(A, "igb")]),
        [wants("red", A)],
        ("not-assignable", str(A)),
        [str(A), "igb", "xen.pci.assignable_devices"],
    ),
    "no driver": (
        host(RED, devices=[function(A, None)]),
        [wants("red", A)],
        ("not-assignable", str(A)),
        [str(A), "no driver", "xen.pci.assignable_devices"],
    ),
    "held by another": (
        host(RED, guest("green", 2, [A])),
        [wants("red", A)],
        ("held", str(A)),
        [str(A), "green", "exclusive: true", "state: absent"],
    ),
    "held by another that keeps it": (
        host(RED, guest("green", 2, [A])),
        [wants("red", A), wants("green", B)],
        ("held", str(A)),
        [str(A), "green"],
    ),
    "ghost": (
        host(RED, orphaned_connections={9: connection(9, [A])}),
        [wants("red", A)],
        ("orphaned-connection", str(A)),
        [str(A), "domain 9", "xen.pci.repair"],
    ),
    "libxl's marker": (
        host(RED, guest("green", 2), markers={A: 2}),
        [wants("red", A)],
        ("marked", str(A)),
        [str(A), "green"],
    ),
    "Xen's owner": (
        host(RED, xen_owners={A: XenOwner.GUEST}),
        [wants("red", A)],
        ("unexplained-owner", str(A)),
        [str(A), "xen.pci.repair"],
    ),
}


@pytest.mark.parametrize(("before", "desired", "code", "facts"), REFUSALS.values(), ids=REFUSALS)
def test_each_refusal_names_who_and_what_and_what_to_do(
    before: Host, desired: list[DesiredDomain], code: tuple[str, str], facts: Sequence[str]
) -> None:
    (refusal,) = make_plan(before, desired).refusals
    assert codes([refusal]) == [code]
    assert [fact for fact in facts if fact not in str(refusal)] == []


def test_all_refusals_come_at_once() -> None:
    plan = make_plan(host(RED, devices=[function(A, "igb")]), [wants("red", A, B), wants("blue", C)])
    assert sorted(codes(plan.refusals)) == [
        ("no-such-device", str(B)),
        ("not-assignable", str(A)),
        ("unknown-domain", "blue"),
    ]


@pytest.mark.parametrize(
    "before",
    [
        host(RED, markers={A: 1}),
        host(RED, markers={A: 5}),
        host(RED, xen_owners={A: XenOwner.HOST}),
        host(RED, xen_owners={A: XenOwner.UNKNOWN}),
        host(guest("red", 1, creation=Creation(passthrough="sync_pt"))),
    ],
    ids=["its own marker", "marker of a domain that is gone", "owned by the host", "owner unknown", "IOMMU in use"],
)
def test_what_no_domain_uses_can_be_added(before: Host) -> None:
    plan = make_plan(before, [wants("red", A)])
    assert plan.refusals == ()
    assert [step.add for step in plan.domains] == [(A,)]


def test_a_domain_that_may_have_no_room_for_a_device_is_told_with_the_line_to_set() -> None:
    cramped = Creation(passthrough="sync_pt", e820_host=False)
    (doubt,) = make_plan(host(guest("red", 1, creation=cramped)), [wants("red", A)]).doubts
    assert "red" in doubt and "e820_host=1" in doubt
    has_it = host(guest("red", 1, own_connection=connection(1, [A]), creation=cramped))
    assert make_plan(has_it, [wants("red", A)]).doubts == ()
    roomy = Creation(passthrough="sync_pt", e820_host=True)
    assert make_plan(host(guest("red", 1, creation=roomy)), [wants("red", A)]).doubts == ()


def test_a_domain_that_keeps_what_it_has_need_not_be_able_to_take_more() -> None:
    before = host(guest("red", 1, own_connection=connection(1, [A, B]), creation=Creation(passthrough="disabled")))
    plan = make_plan(before, [wants("red", A)])
    assert plan.refusals == ()
    assert not plan.domains[0].changes


def test_what_stands_in_an_unsound_connection_is_not_called_good_even_if_nothing_is_to_be_changed() -> None:
    before = host(guest("red", 1, own_connection=connection(1, [A, B], state_0="5")))
    [refusal] = make_plan(before, [wants("red", A)]).refusals
    assert codes([refusal]) == [("unsound-connection", "red")]
    assert "entry 0" in str(refusal)


def test_a_device_can_be_taken_from_a_domain_without_iommu_use() -> None:
    plan = make_plan(
        host(guest("red", 1, [A], creation=Creation(passthrough="disabled"))), [wants("red", A, present=False)]
    )
    assert plan.refusals == ()


def test_a_domain_that_has_32_slots_full_can_swap_a_device() -> None:
    held = [device.sbdf for device in MANY[:32]]
    before = host(guest("red", 1, held), devices=MANY)
    plan = make_plan(before, [wants("red", *held[1:], MANY[32].sbdf, exclusive=True)])
    assert plan.refusals == ()


# ---- virtual slots


def functions(count: int, bus: int = 3) -> list[PciDevice]:
    return [function(Sbdf(0, bus, 0, number)) for number in range(count)]


def vfs(numbers: Sequence[int]) -> list[PciDevice]:
    return [function(Sbdf(0, 3, 0x10, number), physfn=Sbdf(0, 3, 0, 0)) for number in numbers]


@pytest.mark.parametrize(
    ("devices", "old", "new"),
    [
        ([], 0, 0),
        (functions(8), 1, 1),
        (functions(1, 3) + functions(1, 4), 2, 2),
        (vfs([1, 2, 3]), 3, 1),
        (vfs([0, 1, 2]), 3, 2),
        (vfs([0]) + functions(4), 2, 2),
    ],
)
def test_slots_on_the_virtual_bus(devices: list[PciDevice], old: int, new: int) -> None:
    assert virtual_slots(devices, OLD_KERNEL) == old
    assert virtual_slots(devices, (5, 14)) == new
    assert virtual_slots(devices, NEW_KERNEL) == new


@given(
    st.lists(st.builds(Sbdf, st.integers(0, 1), st.integers(0, 3), st.integers(0, 3), st.integers(0, 7)), unique=True)
)
def test_devices_need_as_many_slots_as_they_have_on_the_host(addresses: list[Sbdf]) -> None:
    for kernel in (OLD_KERNEL, NEW_KERNEL):
        assert virtual_slots(map(function, addresses), kernel) == len({one.host_slot for one in addresses})
