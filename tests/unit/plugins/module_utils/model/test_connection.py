# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a connection's nodes: sound ones, and each way of being unsound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection, backend_path, frontend_path
from ansible_collections.xen.pci.plugins.module_utils.values.address import GuestAddress, Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.states import SubState, XenbusState

FIRST, SECOND = Sbdf(0, 3, 0, 0), Sbdf(0, 4, 0, 1)
SOUND = {
    "state": "4",
    "online": "1",
    "num_devs": "2",
    "root_num": "1",
    "root-0": "0000:00",
    "key-0": "0000:03:00.0",
    "dev-0": "0000:03:00.0",
    "opts-0": "permissive=0",
    "state-0": "3",
    "vdev-0": "0000:00:00.00",
    "key-1": "0000:04:00.1",
    "dev-1": "0000:04:00.1",
    "state-1": "3",
    "vdev-1": "0000:00:01.01",
}


def read(frontend: str | None = "4", **changed: str | None) -> PciConnection:
    """The sound connection with some nodes changed or taken away (None); `_` stands for `-`."""
    nodes = dict(SOUND)
    for name, value in changed.items():
        node = name if name == "num_devs" else name.replace("_", "-")
        nodes.pop(node, None)
        if value is not None:
            nodes[node] = value
    return PciConnection.from_nodes(7, nodes, frontend)


def test_the_directories_are_libxls() -> None:
    assert backend_path(7) == "/local/domain/0/backend/pci/7/0"
    assert frontend_path(7) == "/local/domain/7/device/pci/0"


def test_a_sound_connection_reads_as_it_stands() -> None:
    backend = read()
    assert backend.problems() == []
    assert backend.connected
    assert backend.devices == (FIRST, SECOND)
    entry = backend.entry_of(SECOND)
    assert entry is not None
    assert (entry.index, entry.state, entry.exported) == (1, SubState.EXPORTED, True)
    assert entry.guest_address == GuestAddress(0, 0, 1, 1)
    assert dict(entry.nodes) == {
        "state": "3",
        "key": "0000:04:00.1",
        "dev": "0000:04:00.1",
        "vdev": "0000:00:01.01",
    }


@pytest.mark.parametrize(("backend", "frontend"), [("7", "4"), ("4", "7"), ("4", None), ("4", "44"), (None, "4")])
def test_connected_means_both_ends(backend: str | None, frontend: str | None) -> None:
    assert not read(frontend=frontend, state=backend).connected


def test_exported_needs_the_guest_address() -> None:
    entry = read(vdev_0=None).entry_of(FIRST)
    assert entry is not None and not entry.exported


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"num_devs": None}, ["num_devs"]),
        ({"num_devs": "two"}, ["num_devs"]),
        ({"num_devs": "-1"}, ["num_devs"]),
        ({"num_devs": "10000"}, ["num_devs"]),
        ({"num_devs": "0"}, ["num_devs=0", "xl"]),
        ({"num_devs": "1"}, ["num_devs=1", "dev-1", "state-1", "vdev-1", "key-1"]),
        ({"dev_1": None}, ["dev-1"]),
        ({"dev_1": "nonsense"}, ["dev-1"]),
        ({"dev_1": "0000:03:00.0"}, ["0000:03:00.0", "two entries"]),
        ({"state_0": "5"}, ["0000:03:00.0", "sub-state 5"]),
        ({"state_1": "1"}, ["0000:04:00.1", "sub-state 1"]),
    ],
)
def test_each_way_of_being_unsound_is_told(changed: dict[str, str | None], words: list[str]) -> None:
    problems = read(**changed).problems()
    assert problems
    for word in words:
        assert any(word in problem for problem in problems), (word, problems)


@pytest.mark.parametrize(
    ("state", "error", "lost"),
    [
        ("5", "12 No more space on root virtual PCI bus", SECOND),
        ("6", "12 Error adding entry to virtual PCI bus", SECOND),
        ("5", "22 Couldn't locate PCI device (0000:04:00.1)! perhaps already in-use?", None),
        ("7", "12 No more space on root virtual PCI bus", None),
        ("5", "", None),
    ],
)
def test_what_pciback_took_and_could_not_place_it_holds_for_nobody(state: str, error: str, lost: Sbdf | None) -> None:
    nodes = {**SOUND, "state": state, "state-1": "1"}
    assert PciConnection.from_nodes(7, nodes, "7", error).lost_hold == lost
    assert PciConnection.from_nodes(7, {**nodes, "state-1": "3"}, "7", error).lost_hold is None


def test_an_add_under_way_is_no_problem() -> None:
    assert read(frontend="4", state="7", state_1="1", vdev_1=None).problems() == []


NAMES = st.sampled_from(
    [*SOUND, "dev-2", "state-99", "vdev-", "state--1", "state-x", "key-007", "name-0", "vdevfn-0", "uuid-0", "-", ""]
) | st.text(max_size=8)
VALUES = st.sampled_from(["", "0", "1", "3", "4", "5", "9999", "99999", "0000:03:00.0", "0000:00:00.00"]) | st.text(
    max_size=6
)


@given(st.dictionaries(NAMES, VALUES), st.none() | VALUES)
def test_whatever_the_nodes_hold_they_can_be_read_and_judged(nodes: dict[str, str], frontend: str | None) -> None:
    backend = PciConnection.from_nodes(1, nodes, frontend)
    assert all(isinstance(problem, str) for problem in backend.problems())
    assert [entry.index for entry in backend.entries] == list(range(len(backend.entries)))
    assert not any(
        f"{kind}-{entry.index}" in backend.stray_nodes for entry in backend.entries for kind, _value in entry.nodes
    )


@given(st.text(max_size=3))
def test_a_guests_nonsense_never_passes_for_connected(text: str) -> None:
    assert read(frontend=text).connected == (text == "4")
    if text not in list("012345678"):
        assert read(frontend=text).frontend_state is XenbusState.UNKNOWN
