# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's rules for domains that are not dom0, which no client of the socket is."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from simulated_xen.store.local import LocalClient
from simulated_xen.store.operations import Quota
from simulated_xen.store.store import Store
from simulated_xen.store.tree import parse_permission
from simulated_xen.store.wire import StoreError


@pytest.fixture
def store() -> Store:
    return Store(quota=Quota(nodes=5, entry_bytes=64, watches=2, transactions=1))


def client(store: Store, domid: int) -> LocalClient:
    return LocalClient(store, f"D{domid}", domid)


def permissions(text: str) -> Any:
    return tuple(parse_permission(entry) for entry in text.split())


def refused(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(StoreError) as caught:
        call(*arguments)
    return errno.errorcode[caught.value.number]


def test_a_guest_reads_and_writes_what_it_may(store: Store) -> None:
    dom0, guest, other = client(store, 0), client(store, 1), client(store, 2)
    dom0.make("/local/domain/1/readable", permissions("n0 r1"))
    dom0.make("/local/domain/1/own", permissions("n1 r0"))
    dom0.write("/local/domain/1/readable/value", "7")
    assert guest.read("readable/value") == "7", "children inherit the permissions of their directory"
    assert other.read("/local/domain/1/readable/value") is None
    assert refused(guest.write, "readable/value", "8") == "EACCES"
    assert refused(guest.write, "readable/new", "8") == "EACCES"
    guest.write("own/state", "3")
    node = store.node(dom0._caller, "/local/domain/1/own/state")
    assert [str(entry) for entry in node.permissions] == ["n1", "r0"]


def test_absence_is_only_told_to_who_may_read_the_directory(store: Store) -> None:
    dom0, guest = client(store, 0), client(store, 1)
    dom0.make("/open", permissions("r0"))
    dom0.make("/closed", permissions("n0"))
    assert refused(store.read, guest._caller, "/open/x") == "ENOENT"
    assert refused(store.read, guest._caller, "/closed/x") == "EACCES"


def test_only_dom0_gives_nodes_away(store: Store) -> None:
    dom0, guest = client(store, 0), client(store, 1)
    dom0.make("/shared", permissions("n1"))

    def give(to: str) -> None:
        store.change(guest._caller, 0, lambda view: view.set_permissions("/shared", permissions(to)))

    assert refused(give, "n2") == "EPERM"
    give("n1 r2")
    assert client(store, 2).exists("/shared")


def test_quotas_hold_for_guests_only(store: Store) -> None:
    dom0, guest = client(store, 0), client(store, 1)
    dom0.make("/data", permissions("n1"))
    for number in range(4):
        guest.write(f"/data/{number}", "x")
    assert refused(guest.write, "/data/4", "x") == "ENOSPC"
    assert refused(guest.write, "/data/0", "x" * 65) == "ENOSPC"
    dom0.write("/data/5", "x" * 65)
    guest.watch("/data", lambda path: None)
    guest.watch("/data", lambda path: None)
    assert refused(guest.watch, "/data", lambda path: None) == "E2BIG"
    store.start_transaction(guest._caller)
    assert refused(store.start_transaction, guest._caller) == "ENOSPC"


def test_a_guest_is_not_told_of_what_it_may_not_read(store: Store) -> None:
    dom0, guest = client(store, 0), client(store, 1)
    told: list[str] = []
    guest.watch("/", told.append)
    told.clear()
    dom0.make("/secret", permissions("n0"))
    dom0.make("/visible", permissions("n0 r1"))
    dom0.write("/visible/x", "1")
    assert set(told) == {"/visible", "/visible/x"}


def test_a_transaction_conflicts_with_what_a_kernel_wrote_meanwhile(store: Store) -> None:
    dom0 = client(store, 0)
    toolstack = LocalClient(store, "A1", 0)
    dom0.write("/state", "4")
    number = store.start_transaction(toolstack._caller)
    store.read(toolstack._caller, "/state", number)
    store.change(toolstack._caller, number, lambda view: view.write("/other", b"1"))
    dom0.write("/state", "4")
    assert refused(store.end_transaction, toolstack._caller, number, True) == "EAGAIN"
    assert not dom0.exists("/other")


def test_a_storm_of_conflicts_hits_clients_only(store: Store) -> None:
    dom0, toolstack = client(store, 0), LocalClient(store, "A1", 0)
    store.conflicts = 2
    dom0.write_all({"/kernel": 1})
    for _turn in range(2):
        number = store.start_transaction(toolstack._caller)
        assert refused(store.end_transaction, toolstack._caller, number, True) == "EAGAIN"
    toolstack.write_all({"/client": 1})
    assert dom0.exists("/client")


def test_the_trace_tells_who_wrote_what(store: Store) -> None:
    client(store, 0).write("/a/b", "1")
    LocalClient(store, "A7", 0).write_all({"/a/c": 2})
    client(store, 0).remove("/a")
    lines = [(entry.writer, entry.action, entry.path, entry.value) for entry in store.trace.entries[-3:]]
    assert lines == [("D0", "write", "/a/b", "1"), ("A7.1", "write", "/a/c", "2"), ("D0", "rm", "/a", "")]
