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
