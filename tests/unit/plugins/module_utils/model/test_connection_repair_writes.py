# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries are put in order whatever is left of them, and what a guest has is never lost by that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.model import connection_writes
from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection, backend_path
from ansible_collections.xen.pci.plugins.module_utils.model.store_changes import Remove, Write
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.states import SubState, XenbusState

BACK = backend_path(1)


def applied(nodes: dict[str, str], changes: list[object]) -> dict[str, str]:
    result = dict(nodes)
    for change in changes:
        assert isinstance(change, (Write, Remove))
        name = change.path.removeprefix(f"{BACK}/")
        if isinstance(change, Write):
            result[name] = change.value
        else:
            result.pop(name, None)
    return result


def whole(index: int, device: Sbdf, state: str = "3") -> dict[str, str]:
    return {
        f"dev-{index}": str(device),
        f"key-{index}": str(device),
        f"state-{index}": state,
        f"vdev-{index}": f"0000:00:{device.bus:02x}.00",
        f"opts-{index}": "permissive=0",
    }


ENTRIES = st.dictionaries(
    st.integers(0, 5),
    st.tuples(st.integers(1, 6), st.sets(st.sampled_from(["dev", "key", "state", "vdev", "opts"]), max_size=3)),
)


@given(ENTRIES, st.one_of(st.none(), st.sampled_from(["0", "3", "x", "6"])))
def test_any_wreck_becomes_sound(entries: dict[int, tuple[int, set[str]]], count: str | None) -> None:
    nodes = {"state": "4", **({} if count is None else {"num_devs": count})}
    had = set()
    for index, (bus, missing) in entries.items():
        device = Sbdf(0, bus, 0, 0)
        own = {name: value for name, value in whole(index, device).items() if name.partition("-")[0] not in missing}
        nodes |= own
        if f"vdev-{index}" in own and (f"dev-{index}" in own or f"key-{index}" in own):
            had.add(device)
    after = applied(nodes, list(connection_writes.put_in_order(1, nodes)))
    backend = PciConnection.from_nodes(1, after, "4")
    assert [problem for problem in backend.problems() if "num_devs=0" not in problem] == []
    assert set(backend.devices) == had
    assert all(entry.exported for entry in backend.entries)
    assert connection_writes.put_in_order(1, after) == []


def test_the_first_stale_entry_goes_and_so_do_adds() -> None:
    devices = [Sbdf(0, bus, 0, 0) for bus in range(1, 5)]
    nodes = {"state": "7", "num_devs": "4"}
    for index, state in enumerate(("3", "5", "5", "1")):
        nodes |= whole(index, devices[index], state)
    backend = PciConnection.from_nodes(1, nodes, "7")
    changes = list(connection_writes.skip_stale(backend))
    *entries, last = changes
    assert last == Write("/local/domain/1/device/pci/0/state", str(XenbusState.RECONFIGURING.value))
    after = PciConnection.from_nodes(1, applied(nodes, entries), "7")
    assert after.devices == (devices[0], devices[2])
    assert [entry.state for entry in after.entries] == [SubState.EXPORTED, SubState.TO_REMOVE]


def test_of_two_entries_for_one_device_the_first_that_the_guest_has_stays() -> None:
    one, other = Sbdf(0, 1, 0, 0), Sbdf(0, 2, 0, 0)
    first, second = whole(1, one), whole(2, one)
    del (entry := whole(0, one))["vdev-0"]  # begun, but the guest never got it there
    first["vdev-1"], second["vdev-2"] = "0000:00:07.00", "0000:00:09.00"
    nodes = {"state": "4", "num_devs": "4", **entry, **first, **second, **whole(3, other)}
    after = PciConnection.from_nodes(1, applied(nodes, list(connection_writes.put_in_order(1, nodes))), "4")
    assert after.devices == (one, other)
    assert [str(entry.guest_address) for entry in after.entries] == ["0000:00:07.00", "0000:00:02.00"]
    assert after.problems() == []


def test_an_entry_with_a_state_that_pciback_ignores_is_as_exported_as_the_guest_has_it() -> None:
    one, other = Sbdf(0, 1, 0, 0), Sbdf(0, 2, 0, 0)
    nodes = {"state": "4", "num_devs": "2", **whole(0, one, "9"), **whole(1, other, "5")}
    assert "ignores" in PciConnection.from_nodes(1, nodes, "4").problems()[0]
    after = PciConnection.from_nodes(1, applied(nodes, list(connection_writes.put_in_order(1, nodes))), "4")
    assert [entry.state for entry in after.entries] == [SubState.EXPORTED, SubState.TO_REMOVE]


ONE, TWO, THREE = (Sbdf(0, bus, 0, 0) for bus in (1, 2, 3))


def ordered(nodes: dict[str, str], *how: object, **more: object) -> PciConnection:
    changes = list(connection_writes.put_in_order(1, nodes, *how, **more))  # type: ignore[arg-type]
    return PciConnection.from_nodes(1, applied(nodes, changes), "4")


def test_an_entry_without_a_name_is_that_of_the_one_device_that_is_missing() -> None:
    nodes = {"state": "4", "num_devs": "2", **whole(0, ONE), **whole(1, TWO)}
    for lost in ({"dev-0": "", "key-0": ""}, {"dev-0": str(THREE)}, {"dev-0": str(THREE), "key-0": str(THREE)}):
        damaged = {**nodes, **lost}
        after = ordered(damaged, [ONE, TWO], [THREE])
        assert after.devices == (ONE, TWO) and after.problems() == []
        assert [dict(entry.nodes)["vdev"] for entry in after.entries] == ["0000:00:01.00", "0000:00:02.00"]


def test_nothing_is_written_where_it_cannot_be_said_which_entry_is_whose() -> None:
    nodes = {"state": "4", "num_devs": "2", **whole(0, ONE), **whole(1, TWO)}
    nodes |= {"dev-0": "", "key-0": "", "dev-1": "", "key-1": ""}
    assert connection_writes.put_in_order(1, nodes, [ONE, TWO]) == []
    assert ordered(nodes, [ONE, TWO], by_places=False).devices == (ONE, TWO), "a device model goes by no place"


def test_an_entry_without_a_place_stays_if_the_guest_has_its_device() -> None:
    nodes = {"state": "4", "num_devs": "3", **whole(0, ONE), **whole(1, TWO)}
    del nodes["vdev-0"]
    assert ordered(nodes, [ONE, TWO]).devices == (ONE, TWO)
    assert ordered(nodes).devices == (TWO,)


def test_what_a_device_model_has_is_listed_again() -> None:
    nodes = {"state": "7", "num_devs": "1", **whole(0, ONE, "1")}
    after = ordered(nodes, [ONE, TWO], by_places=False)
    assert after.devices == (ONE, TWO) and dict(after.entries[0].nodes)["state"] == "1"


def test_what_the_guest_uses_is_kept_where_a_removal_is_stuck() -> None:
    nodes = {"state": "7", "num_devs": "2", **whole(0, ONE, "5"), **whole(1, TWO)}
    backend = PciConnection.from_nodes(1, nodes, "7")
    *entries, _last = connection_writes.skip_stale(backend, [ONE])
    after = PciConnection.from_nodes(1, applied(nodes, list(entries)), "7")
    assert [entry.state for entry in after.entries] == [SubState.EXPORTED, SubState.EXPORTED]


@given(st.integers(0, 7), st.integers(0, 7))
def test_a_place_gets_the_function_number_of_the_host(published: int, function: int) -> None:
    """Linux before 5.14 publishes 0 for a virtual function."""
    device = Sbdf(0, 5, 0, function)
    nodes = {"state": "4", "num_devs": "1", **whole(0, device), "vdev-0": f"0000:00:03.{published:02x}"}
    backend = PciConnection.from_nodes(1, nodes, "4")
    changes = connection_writes.correct_places(backend, [device])
    assert applied(nodes, list(changes))["vdev-0"] == f"0000:00:03.{function:02x}"
    assert len(changes) == (published != function)
    assert connection_writes.correct_places(backend, [ONE]) == []


STATES = st.sampled_from(list(XenbusState))


@given(STATES, STATES, st.booleans())
def test_a_state_of_the_guest_is_written_only_if_it_is_connected(
    back: XenbusState, front: XenbusState, connected: bool
) -> None:
    backend = PciConnection.from_nodes(
        1, {"state": str(back.value), "num_devs": "1", **whole(0, ONE)}, str(front.value)
    )
    for changes in (
        connection_writes.connect_again(backend, connected),
        connection_writes.finish_by_hand(backend, connected),
    ):
        written = {change.path: change.value for change in changes if isinstance(change, Write)}
        assert len(written) == len(changes) and set(written.values()) <= {"4"}
        of_guest = "/local/domain/1/device/pci/0/state" in written and front is not XenbusState.CONNECTED
        assert not of_guest or connected
        assert not (changes and (back.is_ending or front.is_ending))
