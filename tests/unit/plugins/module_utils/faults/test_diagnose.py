# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault has its look, and a host in order has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.faults.diagnose import diagnose
from ansible_collections.xen.pci.plugins.module_utils.faults.finding import in_words
from ansible_collections.xen.pci.plugins.module_utils.faults.table import Fault, RepairedBy
from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import ConfigFlags, PciDevice, XenOwner
from ansible_collections.xen.pci.plugins.module_utils.model.device_model import DeviceModel, Plugged, qemu_name
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain, DomainKind
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.values.address import GuestAddress, Sbdf

A, B = Sbdf(0, 1, 0, 0), Sbdf(0, 2, 0, 0)


def device(sbdf: Sbdf, **facts: Any) -> PciDevice:
    return PciDevice(sbdf, "8086", "10d3", "8086", "0000", "020000", "00", **{"driver": "pciback", **facts})


def nodes(*devices: Sbdf, **changes: str | None) -> dict[str, str]:
    """A sound connection with these devices; `changes` by the node's name with _ for -."""
    found: dict[str, str] = {"state": "4", "online": "1", "num_devs": str(len(devices))}
    for index, one in enumerate(devices):
        found |= {f"dev-{index}": str(one), f"key-{index}": str(one), f"state-{index}": "3"}
        found[f"vdev-{index}"] = f"0000:00:{index:02x}.00"
    for name, value in changes.items():
        node = name.replace("_", "-", 1) if name[-1].isdigit() else name
        if value is None:
            del found[node]
        else:
            found[node] = value
    return found


def host(connection: Mapping[str, str] | None, frontend: str = "4", **changes: Any) -> Host:
    """g1 with this connection; its devices are its own in every view."""
    backend = None if connection is None else PciConnection.from_nodes(1, connection, frontend)
    kind, stored = changes.pop("kind", DomainKind.PV), changes.pop("stored", None)
    held = set(backend.devices) if backend else set()
    facts: dict[str, Any] = {
        "devices": {one: device(one) for one in (A, B)},
        "domains": {
            1: Domain(1, "g1", "u-1", kind, backend, configured=stored),
            2: Domain(2, "g2", "u-2", DomainKind.PV, None),
        },
        "markers": dict.fromkeys(held, 1),
        "xen_owners": {one: XenOwner.GUEST if one in held else XenOwner.HOST for one in (A, B)},
    }
    return Host(**{**facts, **changes})


def faults(observed: Host, **more: Any) -> set[Fault]:
    return {finding.fault for finding in diagnose(replace(observed, **{"quarantined": frozenset({A, B}), **more}))}


@pytest.mark.parametrize("devices", [(), (A,), (A, B)])
def test_a_host_in_order_has_no_fault(devices: tuple[Sbdf, ...]) -> None:
    assert (
        faults(host(nodes(*devices) if devices else None), kernel_connections=frozenset({1} if devices else ()))
        == set()
    )


@pytest.mark.parametrize(
    ("back", "front", "online", "fault"),
    [
        ("5", "7", "1", Fault.REFUSED_CYCLE),
        ("7", "7", "1", Fault.STUCK_CYCLE),
        ("7", "4", "1", Fault.SILENT_GUEST),
        ("7", "3", "1", Fault.MISSED_CONNECT),
        ("4", "7", "1", Fault.LATE_ANSWER),
        ("8", "4", "1", Fault.LOST_EVENT),
        ("8", "7", "1", Fault.LOST_EVENT),
        ("4", "3", "1", Fault.LOST_EVENT),
        ("7", "1", "1", Fault.NEVER_CONNECTED),
        ("3", "1", "1", Fault.NEVER_CONNECTED),
        ("1", "1", "1", Fault.NEVER_CONNECTED),
        ("5", "5", "1", Fault.CLOSED_CONNECTION),
        ("6", "6", "1", Fault.CLOSED_CONNECTION),
        ("4", "6", "1", Fault.CLOSED_CONNECTION),
        ("5", "4", "0", Fault.UNANSWERED_CLOSE),
        ("6", "6", "0", Fault.UNFINISHED_CLOSE),
        ("5", "6", "0", Fault.UNFINISHED_CLOSE),
    ],
)
def test_the_two_ends_name_the_fault(back: str, front: str, online: str, fault: Fault) -> None:
    assert faults(host(nodes(A, state=back, online=online), front)) == {fault}


@pytest.mark.parametrize(
    ("connection", "fault"),
    [
        (nodes(A, state_0="5"), Fault.UNFINISHED_REMOVAL),
        (nodes(A, state_0="1"), Fault.UNEXPORTED_ENTRY),
        (nodes(A, B, dev_0=None), Fault.DISORDERED_ENTRIES),
        (nodes(A, vdev_0=None), Fault.DISORDERED_ENTRIES),
        (nodes(A, state_0=None), Fault.DISORDERED_ENTRIES),
        (nodes(A, B, num_devs="1"), Fault.DISORDERED_ENTRIES),
        (nodes(A, num_devs=None), Fault.DISORDERED_ENTRIES),
        (nodes(A, A), Fault.DISORDERED_ENTRIES),
        (nodes(), Fault.EMPTY_CONNECTION),
        (nodes(A, aerState="aerfail"), Fault.AER_FAILURE),
    ],
)
def test_entries_name_the_fault(connection: dict[str, str], fault: Fault) -> None:
    assert faults(host(connection)) == {fault}


def test_states_of_an_hvm_guest_say_nothing() -> None:
    assert faults(host(nodes(A, state="7", state_0="1", vdev_0=None), "1", kind=DomainKind.HVM)) == set()


def emulated(observed: Host, plugged: Sequence[Sbdf] | None) -> Host:
    """g1 as an HVM guest whose device model has these devices."""
    found = None if plugged is None else {qemu_name(one): Plugged(GuestAddress(0, 0, 3, 0), True) for one in plugged}
    g1 = replace(observed.domains[1], kind=DomainKind.HVM, device_model=DeviceModel(found, problem="deaf"))
    return replace(observed, domains={**observed.domains, 1: g1})


@pytest.mark.parametrize(
    ("listed", "plugged", "found"),
    [
        ((A,), (A,), set()),
        ((A,), (), {Fault.STALE_RECORD}),
        ((A, B), (A,), {Fault.STALE_RECORD}),
        ((), (A,), {Fault.UNLISTED_DEVICE}),
        ((A,), None, {Fault.SILENT_DEVICE_MODEL}),
    ],
)
def test_libxl_against_the_device_model(
    listed: tuple[Sbdf, ...], plugged: tuple[Sbdf, ...] | None, found: set[Fault]
) -> None:
    assert faults(emulated(host(nodes(*listed) if listed else None, "1"), plugged)) == found


def test_a_device_in_the_guest_that_libxl_does_not_list_is_one_fault_with_its_marker_and_its_owner() -> None:
    observed = host(None, markers={A: 1}, xen_owners={A: XenOwner.GUEST, B: XenOwner.HOST})
    [finding] = diagnose(replace(emulated(observed, [A]), quarantined=frozenset({A, B})))
    assert (finding.fault, finding.devices) == (Fault.UNLISTED_DEVICE, (A,))


@pytest.mark.parametrize(("markers", "devices"), [({A: 1}, (A,)), ({A: 2}, ()), ({}, ())])
def test_what_has_left_the_host_is_the_device_that_the_marker_names(
    markers: Mapping[Sbdf, int], devices: tuple[Sbdf, ...]
) -> None:
    """Only of one of which the address is known, its rights can be taken: a device model is not asked for a name."""
    observed = emulated(host(None, markers=markers, xen_owners={B: XenOwner.HOST}), [A])
    gone = replace(observed, devices={B: observed.devices[B]}, quarantined=frozenset({B}))
    [finding] = [one for one in diagnose(gone) if one.fault is Fault.UNLISTED_DEVICE]
    assert finding.devices == devices
    assert (finding.recipe is None) == (finding.repaired_by is RepairedBy.PERSON) == (not devices)
    assert ("restart" in in_words(finding).lower()) == (not devices)


def test_what_a_stub_domain_has_is_its_guests() -> None:
    observed = emulated(host(None), [A])
    stub = Domain(2, "g1-dm", "u-2", DomainKind.PV, PciConnection.from_nodes(2, nodes(A), "4"), serves=1)
    g1 = replace(observed.domains[1], stub=stub)
    both = replace(observed, domains={1: g1, 2: stub}, markers={A: 1}, xen_owners={A: XenOwner.GUEST, B: XenOwner.HOST})
    assert faults(both) == set()
    busy = replace(stub, own_connection=PciConnection.from_nodes(2, nodes(A, state="7"), "4"))
    changing = replace(both, domains={1: replace(g1, stub=busy, device_model=DeviceModel()), 2: busy})
    assert faults(changing) == {Fault.SILENT_GUEST}, "its cycle comes first"


UNBOUND = {A: device(A, driver="e1000e"), B: device(B)}
OWNED = {A: XenOwner.GUEST, B: XenOwner.HOST}
GUESTS = {A: XenOwner.GUEST, B: XenOwner.GUEST}
FREE = {A: XenOwner.HOST, B: XenOwner.HOST}
RUNNING = {A: device(A, config=ConfigFlags(bus_master=True)), B: device(B)}


@pytest.mark.parametrize(
    ("observed", "more", "fault"),
    [
        (host(nodes(A), markers={}), {}, Fault.MISSING_MARKER),
        (host(nodes(A), markers={A: 2}), {}, Fault.WRONG_MARKER),
        (host(None, markers={A: 7}), {}, Fault.DEAD_MARKER),
        (host(None, markers={A: 1}), {}, Fault.LEFT_RIGHTS),
        (host(None, xen_owners=OWNED), {}, Fault.UNEXPLAINED_OWNER),
        (host(None, xen_owners=OWNED, devices=RUNNING), {}, Fault.LOST_ENTRY),
        (host(None, xen_owners=OWNED, devices=RUNNING, markers={A: 2}), {}, Fault.LOST_ENTRY),
        (host(nodes(A), xen_owners=FREE), {}, Fault.RIGHTS_MISSING),
        (host(nodes(A), devices=UNBOUND), {}, Fault.NOT_IN_PCIBACK),
        (host(nodes(A), devices={B: device(B)}), {}, Fault.DEVICE_GONE),
        (host(None), {"quarantined": frozenset({A})}, Fault.UNQUARANTINED),
        (host(None, devices={A: device(A, permissive=True), B: device(B)}), {}, Fault.STICKY_PERMISSIVE),
        (host(None), {"kernel_connections": frozenset({1})}, Fault.STUCK_KERNEL_DEVICE),
        (host(None), {"kernel_connections": frozenset({9})}, Fault.STUCK_KERNEL_DEVICE),
        (host(nodes(A, state="1"), "3"), {"kernel_connections": frozenset({1})}, Fault.STUCK_KERNEL_DEVICE),
        (
            host(None),
            {"kernel_errors": {1: f"22 Couldn't locate PCI device ({A})! perhaps already in-use?"}},
            Fault.LEAKED_HOLD,
        ),
        (
            host(None, orphaned_connections={9: PciConnection.from_nodes(9, nodes(A), None)}, xen_owners=FREE),
            {},
            Fault.ORPHANED_CONNECTION,
        ),
        (
            host(nodes(A), markers={A: 1, B: 1}, xen_owners=GUESTS, devices={
                A: device(A), B: device(B, config=ConfigFlags(bus_master=True))
            }),
            {},
            Fault.LOST_ENTRY,
        ),
    ],
)  # fmt: skip
def test_views_that_disagree_name_the_fault(observed: Host, more: dict[str, Any], fault: Fault) -> None:
    assert fault in faults(observed, **more)
    assert faults(observed, **more) <= {fault, Fault.UNQUARANTINED}


@pytest.mark.parametrize(
    ("observed", "found"),
    [
        (host(nodes(A), stored=(A,)), set()),
        (host(nodes(A), stored=()), {Fault.NOT_CONFIGURED}),
        (host(nodes(A, B), stored=(B,)), {Fault.NOT_CONFIGURED}),
        (host(nodes(A), stored=(A, B)), {Fault.STALE_CONFIGURATION}),
        (host(None, stored=(B,)), {Fault.STALE_CONFIGURATION}),
        (host(nodes(A), stored=(B,)), {Fault.NOT_CONFIGURED, Fault.STALE_CONFIGURATION}),
        # The marker says more: the guest may have the device still.
        (host(None, stored=(B,), markers={B: 1}), {Fault.LEFT_RIGHTS}),
        (host(nodes(A), stored=(), kind=DomainKind.HVM), set()),
        # While an attach goes on, the entry is not in the connection yet, or the connection not at rest.
        (host(nodes(A, state="7"), "7", stored=(A, B)), {Fault.STUCK_CYCLE}),
        (host(nodes(A, state_0="5"), stored=()), {Fault.UNFINISHED_REMOVAL}),
    ],
)
def test_what_libxl_would_build_anew_is_compared_with_what_is(observed: Host, found: set[Fault]) -> None:
    assert faults(observed) == found


def test_a_guest_whose_end_alone_is_left_may_have_what_its_marker_names() -> None:
    observed = host(None, xen_owners=OWNED, markers={A: 1})
    alone = replace(observed.domains[1], frontend_alone=True)
    assert faults(replace(observed, domains={1: alone})) == {Fault.LOST_BACKEND}


@pytest.mark.parametrize("markers", [{}, {A: 99}, {A: 0}])
def test_a_device_that_is_listed_lacks_its_marker_wherever_it_is(markers: Mapping[Sbdf, int]) -> None:
    assert faults(host(nodes(A), markers=markers)) == {Fault.MISSING_MARKER}
    gone = host(nodes(A), markers=markers, devices={B: device(B)}, xen_owners={B: XenOwner.HOST})
    assert faults(gone) == {Fault.MISSING_MARKER, Fault.DEVICE_GONE}


def test_what_is_in_disorder_takes_no_right_from_its_guest() -> None:
    assert faults(host(nodes(A, B, dev_1=None), markers={A: 1, B: 1})) == {Fault.DISORDERED_ENTRIES}


def test_a_device_in_two_connections_is_told_of_both() -> None:
    one = host(nodes(A), stored=())
    domain = one.domains[1]
    other = replace(domain, domid=2, name="g2")
    assert faults(replace(one, domains={1: domain, 2: other})) == {Fault.SHARED_DEVICE}


@pytest.mark.parametrize(
    ("driver", "slots", "evidence"),
    [
        ("pciback", 0, None),
        ("pciback", 1, None),
        ("pciback", None, None),
        ("e1000e", 0, None),
        ("e1000e", None, None),
        ("e1000e", 1, "pciback's list names it, but it has driver e1000e"),
        (None, 1, "pciback's list names it, but it has no driver"),
        ("pciback", 3, "pciback's list names it 3 times"),
    ],
)
def test_pcibacks_list_is_compared_with_what_it_holds(
    driver: str | None, slots: int | None, evidence: str | None
) -> None:
    observed = Host({A: device(A, driver=driver, pciback_slots=slots)}, {}, quarantined=frozenset({A}))
    found = [(one.fault, one.devices, one.evidence) for one in diagnose(observed)]
    assert found == ([] if evidence is None else [(Fault.STRAY_SLOT, (A,), evidence)])


def test_a_device_that_a_domain_lists_is_no_stray_slot() -> None:
    unbound = {A: device(A, driver=None, pciback_slots=1), B: device(B)}
    assert faults(host(nodes(A), devices=unbound)) == {Fault.NOT_IN_PCIBACK}


STATES = st.sampled_from([*"012345678", "x", ""])
NAMES = st.sampled_from(
    [
        "state",
        "online",
        "num_devs",
        *(f"{kind}-{index}" for kind in ("dev", "state", "vdev", "key") for index in range(3)),
    ]
)
VALUES = st.one_of(STATES, st.just(str(A)), st.just(str(B)), st.just("0000:00:01.00"), st.text(max_size=8))


@given(st.dictionaries(NAMES, VALUES, min_size=1), STATES)
def test_whatever_stands_in_xenstore_has_a_diagnosis(connection: dict[str, str], frontend: str) -> None:
    observed = host(connection, frontend)
    found = diagnose(observed)
    backend = observed.domains[1].own_connection
    assert backend is not None
    assert all(in_words(finding) for finding in found)
    if not backend.connected or backend.problems():
        assert found
