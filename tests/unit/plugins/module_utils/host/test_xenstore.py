# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to xenstore, over the wire: against the simulated daemon, and against peers that misbehave."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.host.xenstore import (
    Transaction,
    WatchEvent,
    XenStore,
    XenStoreError,
    XenStoreGone,
)
from ansible_collections.xen.pci.plugins.module_utils.model.store_changes import Directory, Write
from simulated_xen.store.server import Server
from simulated_xen.store.store import Store
from simulated_xen.store.tree import Permission
from simulated_xen.store.wire import Op, Packet, decode

#: For peers that must never answer; and for all others, longer than any of them takes.
SHORT, AMPLE = 0.3, 60.0


class Daemon:
    """The simulated xenstored in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = Store()
        self._server = Server(self.store, path)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Daemon:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(AMPLE)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(AMPLE)
        self._loop.close()

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(AMPLE)

    def freeze(self, frozen: bool) -> None:
        self._loop.call_soon_threadsafe(self._server.freeze, frozen)

    @property
    def watches(self) -> int:
        return sum(len(watches) for watches in self.store._watches.values())


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    path = tmp_path / "socket"
    monkeypatch.setenv("XENSTORED_PATH", str(path))
    with Daemon(path) as running:
        yield running


@pytest.fixture
def store(daemon: Daemon) -> Iterator[XenStore]:
    with XenStore.open(AMPLE) as connected:
        yield connected


Answer = Callable[[Packet], Iterable[Packet]]


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A peer that takes connections and does nothing by itself."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


@contextmanager
def scripted(path: Path, answer: Answer) -> Iterator[None]:
    """A peer that answers each request with what `answer` says; an exception of it hangs up."""

    def serve() -> None:
        connection, _address = listener.accept()
        buffer = b""
        with connection:
            while received := connection.recv(65536):
                buffer += received
                while (found := decode(buffer))[0] is not None:
                    packet, used = found
                    buffer = buffer[used:]
                    assert packet is not None
                    try:
                        replies = list(answer(packet))
                    except ConnectionAbortedError:
                        return
                    for reply in replies:
                        connection.sendall(reply.encode())

    with listening(path) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
    thread.join(AMPLE)


@pytest.fixture
def socket_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "socket"))
    return tmp_path / "socket"


def reply(to: Packet, payload: bytes) -> Packet:
    return Packet(to.type, to.request, to.transaction, payload)


def refusal(to: Packet, name: bytes) -> Packet:
    return Packet(Op.ERROR, to.request, to.transaction, name + b"\0")


def hang_up(_packet: Packet) -> Iterable[Packet]:
    raise ConnectionAbortedError


def in_time(call: Callable[[], Any]) -> Any:
    """Run a call that must come back by itself; if it hangs, the test fails instead of hanging too."""
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except Exception as error:  # noqa: BLE001 - whatever it was, the test is to see it
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result(AMPLE)


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + AMPLE
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def drained(store: XenStore) -> list[Any]:
    """All events that are due: one of our own comes last."""
    store.watch(["/marker"], "marker")
    events: list[Any] = []
    while (event := store.next_event(AMPLE)).token != "marker":
        events.append(event)
    store.unwatch(["/marker"], "marker")
    return events


# ---- nodes


def test_what_is_written_is_read(store: XenStore) -> None:
    store.write("/a/b", "value")
    assert store.read("/a/b") == "value"
    assert store.list("/a") == ["b"]
    assert store.children("/a") == {"b": "value"}


def test_what_is_missing_is_no_error(store: XenStore) -> None:
    assert store.read("/missing") is None
    assert store.list("/missing") == []
    assert store.children("/missing") == {}
    store.remove("/missing/node")
    store.remove("/missing/node", prune=True)


def test_an_empty_node_is_not_a_missing_one(store: XenStore) -> None:
    store.write("/empty", "")
    assert store.read("/empty") == ""


def test_any_text_comes_back_as_it_was_written(store: XenStore) -> None:
    @given(st.text(st.characters(codec="utf-8"), max_size=40))
    def check(value: str) -> None:
        store.write("/value", value)
        assert store.read("/value") == value

    check()
    store.write("/value", "ab\0\0")
    assert store.read("/value") == "ab\0\0"


def test_what_a_guest_wrote_is_read_byte_by_byte(daemon: Daemon, store: XenStore) -> None:
    store.write("/value", "")
    node = daemon.store.tree.get("/value")
    assert node is not None
    node.value = b"\xff\xfe\0\n"
    assert store.read("/value") == "\xff\xfe\0\n"
    node.value = "café".encode()
    assert store.read("/value") == "café"


def test_many_values_come_in_the_order_asked_for(store: XenStore) -> None:
    for number in range(0, 300, 2):
        store.write(f"/many/{number}", str(number))
    values = store.read_all([f"/many/{number}" for number in range(300)])
    assert values == [None if number % 2 else str(number) for number in range(300)]


def test_a_refusal_names_the_error_and_the_connection_lives_on(store: XenStore) -> None:
    with pytest.raises(XenStoreError, match="EINVAL") as caught:
        store.write("/0000:03:00.0", "x")
    assert caught.value.code == errno.EINVAL
    assert store.read("/missing") is None


def test_a_listing_and_values_come_together(store: XenStore) -> None:
    store.apply([Write("/d/b", "1"), Write("/d/a", "2"), Write("/e", "3")])
    names, values = store.list_and_read("/d", ["/e", "/f"])
    assert (sorted(names), values) == (["a", "b"], ["3", None])
    assert store.list_and_read("/f", []) == ([], [])
    assert store.children("/d", ["a", "c"]) == {"a": "2"}


def test_a_refusal_within_a_batch_is_not_lost(store: XenStore) -> None:
    with pytest.raises(XenStoreError, match="EINVAL"):
        store.apply([Write("/good", "1"), Write("/b:d", "2"), Write("/other", "3")])


def test_an_error_with_a_name_that_is_no_errno_is_still_an_error(socket_path: Path) -> None:
    with scripted(socket_path, lambda packet: [refusal(packet, b"EQUOTA")]), XenStore.open(AMPLE) as store:
        with pytest.raises(XenStoreError, match="EQUOTA") as caught:
            store.read("/a")
        assert caught.value.code == 0


def test_a_directory_is_made_afresh_with_its_permissions(daemon: Daemon, store: XenStore) -> None:
    store.write("/d/old", "1")
    store.apply([Directory("/d", ("n7", "r0")), Write("/d/new", "2")])
    assert store.children("/d") == {"new": "2"}
    for path in ("/d", "/d/new"):
        node = daemon.store.tree.get(path)
        assert node is not None
        assert node.permissions == (Permission("n", 7), Permission("r", 0))


def test_pruning_takes_the_parents_that_are_empty_then_and_no_others(store: XenStore) -> None:
    store.write("/local/domain/0/backend/pci/7/0/state", "6")
    store.write("/local/domain/0/backend/pci/8/0/state", "4")
    store.remove("/local/domain/0/backend/pci/7/0", prune=True)
    assert store.list("/local/domain/0/backend/pci") == ["8"]
    store.remove("/local/domain/0/backend/pci/8/0", prune=True)
    assert store.list("/local/domain/0/backend") == []
    assert store.read("/local/domain/0/backend") is not None


def test_without_pruning_the_parents_stay(store: XenStore) -> None:
    store.write("/local/domain/0/backend/pci/7/0/state", "6")
    store.remove("/local/domain/0/backend/pci/7/0")
    assert store.list("/local/domain/0/backend/pci") == ["7"]


# ---- long listings


NAMES = [f"a-long-name-of-some-child-{number:04}" for number in range(600)]


def test_a_listing_over_4096_bytes_comes_in_parts_from_the_c_daemon(daemon: Daemon, store: XenStore) -> None:
    for name in NAMES:
        store.write(f"/many/{name}", "x")
    assert store.list("/many") == NAMES
    assert store.children("/many") == dict.fromkeys(NAMES, "x")
    assert store.transaction(lambda transaction: transaction.list("/many")) == NAMES


@pytest.mark.parametrize("room", [4096, 400, len(NAMES[0]) + 3])
def test_parts_of_any_size_make_the_whole_listing(socket_path: Path, room: int) -> None:
    listing = "".join(f"{name}\0" for name in NAMES).encode()

    def answer(packet: Packet) -> Iterable[Packet]:
        if packet.type == Op.DIRECTORY:
            return [refusal(packet, b"E2BIG")]
        assert packet.type == Op.DIRECTORY_PART
        offset = int(packet.strings()[1])
        rest = listing[offset:]
        part = rest + b"\0" if len(rest) < room else rest[: rest.rindex(b"\0", 0, room) + 1]
        return [reply(packet, b"42\0" + part)]

    with scripted(socket_path, answer), XenStore.open(AMPLE) as store:
        assert store.list("/many") == NAMES


def test_a_directory_that_changes_between_two_parts_is_listed_anew(socket_path: Path) -> None:
    before, after = [b"first\0second\0third\0", b"one\0two\0"]
    asked: list[int] = []

    def answer(packet: Packet) -> Iterable[Packet]:
        if packet.type == Op.DIRECTORY:
            return [refusal(packet, b"E2BIG")]
        offset = int(packet.strings()[1])
        asked.append(offset)
        if len(asked) == 1:
            return [reply(packet, b"1\0" + before[:13])]
        return [reply(packet, b"2\0" + after[offset:] + b"\0")]

    with scripted(socket_path, answer), XenStore.open(AMPLE) as store:
        assert in_time(lambda: store.list("/many")) == ["one", "two"]
    assert asked[-1] == 0


def test_a_listing_over_4096_bytes_comes_whole_from_oxenstored(socket_path: Path) -> None:
    listing = "".join(f"{name}\0" for name in NAMES).encode()
    with scripted(socket_path, lambda packet: [reply(packet, listing)]), XenStore.open(AMPLE) as store:
        assert store.list("/many") == NAMES


# ---- transactions


def test_a_transaction_takes_effect_at_its_end_and_as_a_whole(daemon: Daemon, store: XenStore) -> None:
    def body(transaction: Transaction) -> str | None:
        transaction.write("/a", "1")
        transaction.write("/b", "2")
        assert store.read("/a") is None
        return transaction.read("/a")

    assert store.transaction(body) == "1"
    assert store.read_all(["/a", "/b"]) == ["1", "2"]


def test_an_exception_in_a_transaction_rolls_back_and_comes_through(daemon: Daemon, store: XenStore) -> None:
    def body(transaction: Transaction) -> None:
        transaction.write("/a", "1")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        store.transaction(body)
    assert store.read("/a") is None
    assert not any(caller._caller.transactions for caller in daemon._server.connections)


def test_a_conflict_runs_the_transaction_anew_with_what_is_there_then(daemon: Daemon, store: XenStore) -> None:
    store.write("/counter", "0")
    seen: list[str | None] = []

    def body(transaction: Transaction) -> None:
        seen.append(transaction.read("/counter"))
        if len(seen) < 3:
            store.write("/counter", str(len(seen)))  # somebody is faster
        transaction.write("/counter", f"{seen[-1]}+")

    store.transaction(body)
    assert seen == ["0", "1", "2"]
    assert store.read("/counter") == "2+"


def test_conflicts_are_met_patiently_but_not_for_ever(daemon: Daemon, store: XenStore) -> None:
    tries: list[None] = []
    daemon.store.conflicts = 100
    store.transaction(lambda transaction: tries.append(transaction.write("/a", "1")))
    assert len(tries) == 101
    daemon.store.conflicts = 10**9
    with pytest.raises(XenStoreError, match="kept writing") as caught:
        store.transaction(lambda transaction: tries.append(transaction.write("/b", "1")))
    assert caught.value.code == errno.EAGAIN
    daemon.store.conflicts = 0
    assert store.read("/b") is None


# ---- watches


def test_a_watch_fires_at_once_and_at_each_change_below(store: XenStore) -> None:
    store.watch(["/a"], "token")
    store.write("/a/b", "1")
    store.write("/elsewhere", "1")
    assert drained(store) == [WatchEvent("/a", "token"), WatchEvent("/a/b", "token")]


def test_paths_that_share_a_token_deliver_each_event_once(store: XenStore) -> None:
    store.watch(["/a", "/b"], "shared")
    drained(store)
    store.write("/a", "1")
    store.write("/b", "1")
    assert drained(store) == [WatchEvent("/a", "shared"), WatchEvent("/b", "shared")]
    store.unwatch(["/a"], "shared")
    store.write("/a", "2")
    store.write("/b", "2")
    assert drained(store) == [WatchEvent("/b", "shared")]


def test_what_watched_nodes_say_comes_along(store: XenStore) -> None:
    store.write("/b", "1")
    assert store.watch(["/a", "/b"], "token") == [None, "1"]


def test_of_several_watches_the_one_that_was_refused_is_not_kept(daemon: Daemon, store: XenStore) -> None:
    with pytest.raises(XenStoreError, match="EINVAL"):
        store.watch(["/a", "no path of xenstore's//"], "token")
    drained(store)
    store.write("/a", "1")
    assert drained(store) == [WatchEvent("/a", "token")]
    store.unwatch(["/a", "no path of xenstore's//"], "token")
    assert daemon.watches == 0


def test_a_watch_that_was_refused_changes_nothing(store: XenStore) -> None:
    store.watch(["/a"], "token")
    with pytest.raises(XenStoreError, match="EEXIST"):
        store.watch(["/a"], "token")
    drained(store)
    store.write("/a", "1")
    assert drained(store) == [WatchEvent("/a", "token")]


def test_after_unwatch_nothing_comes_and_watching_again_works(daemon: Daemon, store: XenStore) -> None:
    store.watch(["/a"], "token")
    store.unwatch(["/a"], "token")
    drained(store)
    store.write("/a", "1")
    assert drained(store) == []
    store.watch(["/a"], "token")
    assert drained(store) == [WatchEvent("/a", "token")]


def test_ending_a_watch_that_never_began_is_no_error(store: XenStore) -> None:
    store.unwatch(["/never"], "watched")


def test_waiting_for_an_event_ends_when_the_time_is_over(store: XenStore) -> None:
    assert in_time(lambda: store.next_event(0.05)) is None
    assert in_time(lambda: store.next_event(0)) is None


def test_what_others_put_into_the_queue_comes_out_as_it_is(store: XenStore) -> None:
    thing = object()
    store.events.put(thing)
    assert store.next_event(AMPLE) is thing


def test_one_who_writes_faster_than_we_look_fills_no_memory(store: XenStore) -> None:
    """Of one path, one event waits; of one watch, a bounded number, however many names somebody invents."""
    store.watch(["/a"], "token")
    store.watch(["/b"], "other")
    drained(store)
    for _round in range(5):
        store.apply([Write("/a", str(number)) for number in range(100)])
    assert drained(store) == [WatchEvent("/a", "token")]
    for number in range(1500):
        store.write(f"/a/{number}", "1")
    store.write("/b", "1")
    events = drained(store)
    assert 100 < len(events) <= 1001
    assert events[-1] == WatchEvent("/b", "other")
    store.write("/a", "again")
    assert drained(store) == [WatchEvent("/a", "token")]


def test_closing_leaves_no_watch_no_thread_and_no_file(daemon: Daemon) -> None:
    def session() -> None:
        with XenStore.open(AMPLE) as store:
            store.watch(["/a"], "token")
            store.read("/a")

    session()
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _turn in range(10):
        session()
    assert daemon.watches == 0
    assert threading.active_count() == threads
    # The daemon's ends of the connections are files of this process too, and it closes them a little later.
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= files)


# ---- peers that are gone or silent


def test_no_xenstored_is_told_as_such(socket_path: Path) -> None:
    with pytest.raises(XenStoreGone, match="xenstored"), XenStore.open(AMPLE):
        pass


def test_a_silent_daemon_is_given_up_after_the_time_out(daemon: Daemon) -> None:
    daemon.freeze(True)
    with XenStore.open(SHORT) as store, pytest.raises(XenStoreGone, match=r"not answered for 0\.3 s"):
        in_time(lambda: store.read("/a"))


def test_a_silent_daemon_that_reads_nothing_any_more_cannot_block_a_large_batch(socket_path: Path) -> None:
    with listening(socket_path):

        def ask_much() -> None:
            with XenStore.open(SHORT) as store:
                store.read_all(["/local/domain/0/backend/pci/7/0/state"] * 20000)

        with pytest.raises(XenStoreGone):
            in_time(ask_much)


def test_a_daemon_that_falls_silent_within_a_packet_is_given_up_and_let_go(socket_path: Path) -> None:
    with listening(socket_path) as listener:

        def ask() -> None:
            with XenStore.open(SHORT) as store:
                peer, _address = listener.accept()
                peer.sendall(Packet(Op.READ, 1, 0, b"the rest of it never comes").encode()[:20])
                store.read("/a")

        with pytest.raises(XenStoreGone, match="not answered"):
            in_time(ask)


def test_a_connection_can_be_closed_at_the_moment_at_which_the_daemon_dies(socket_path: Path) -> None:
    """The thread that reads is on its way out by itself, with one of its two ends closed already."""
    with listening(socket_path) as listener:
        leaving, closing = threading.Event(), threading.Event()

        def close() -> None:
            with XenStore.open(AMPLE) as store:
                peer, _address = listener.accept()
                let_go = store._router.connection.close

                def dawdle() -> None:
                    store._router.w_terminator.close()
                    leaving.set()
                    closing.wait(AMPLE)
                    let_go()

                store._router.connection.close = dawdle
                peer.close()
                leaving.wait(AMPLE)
                threading.Timer(SHORT, closing.set).start()

        in_time(close)


def test_a_daemon_that_dies_with_a_request_in_flight_is_noticed(socket_path: Path) -> None:
    with scripted(socket_path, hang_up), XenStore.open(10 * AMPLE) as store:
        with pytest.raises(XenStoreGone, match="broke"):
            in_time(lambda: store.read("/a"))
        with pytest.raises(XenStoreGone):
            in_time(lambda: store.read("/a"))


def test_a_daemon_that_dies_while_we_wait_for_events_is_noticed(daemon: Daemon) -> None:
    with XenStore.open(10 * AMPLE) as store:
        store.watch(["/a"], "token")
        drained(store)
        daemon.stop()
        with pytest.raises(XenStoreGone, match="broke"):
            in_time(lambda: store.next_event(10 * AMPLE))


def test_a_daemon_that_dies_within_a_transaction_is_told_as_gone(daemon: Daemon) -> None:
    with XenStore.open(10 * AMPLE) as store:

        def body(transaction: Transaction) -> None:
            daemon.stop()
            transaction.write("/a", "1")

        with pytest.raises(XenStoreGone):
            in_time(lambda: store.transaction(body))


def test_an_answer_to_nothing_we_asked_ends_the_connection_and_not_the_program(socket_path: Path) -> None:
    def answer(packet: Packet) -> Iterable[Packet]:
        return [Packet(Op.READ, packet.request + 1000, 0, b"surprise")]

    with scripted(socket_path, answer), XenStore.open(10 * AMPLE) as store, pytest.raises(XenStoreGone):
        in_time(lambda: store.read("/a"))
