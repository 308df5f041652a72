# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients of xenstored rely on, the same for the simulated store, the C and the OCaml daemon."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

READ, GET_PERMS, WATCH, START, END, WRITE = 2, 3, 4, 6, 7, 11
DIRECTORY, INTRODUCE, RELEASE, DOMAIN_PATH, INTRODUCED, DIRECTORY_PART = 1, 8, 9, 10, 17, 22
TESTER = Path("/usr/lib/xen-4.17/bin/test-xenstore")


def refused(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(OSError) as caught:
        call(*arguments)
    return errno.errorcode[caught.value.errno or 0]


# -- nodes -------------------------------------------------------------------------------------------


def test_values_are_bytes_as_they_are(wire: Any) -> None:
    for value in (b"1", b"", b"a\0b\0", "ü".encode(), b"\xff\n", b"x" * 2000):
        wire.write("/test/a", value)
        assert wire.read("/test/a") == value


def test_writing_creates_what_is_above(wire: Any) -> None:
    wire.write("/test/a/b/c", b"1")
    assert wire.read("/test/a") == b""
    assert wire.names("/test/a") == ["b"]


def test_what_is_not_there(wire: Any) -> None:
    assert refused(wire.read, "/test/none") == "ENOENT"
    assert refused(wire.names, "/test/none") == "ENOENT"
    assert refused(wire.perms, "/test/none") == "ENOENT"
    assert refused(wire.rm, "/test/none/deeper") == "ENOENT"
    wire.rm("/test/none")


def test_a_directory_can_be_made_twice_and_goes_with_all_below(wire: Any) -> None:
    wire.mkdir("/test/d")
    wire.write("/test/d/x/y", b"1")
    wire.mkdir("/test/d")
    assert wire.names("/test/d") == ["x"]
    wire.rm("/test/d")
    assert refused(wire.read, "/test/d/x/y") == "ENOENT"
    assert wire.names("/test") == []


@pytest.mark.parametrize("path", ["/test/", "/test//a", "/test/a b", "/test/a:b", "/test/a.b", "/" + "a" * 3072, ""])
def test_illegal_paths(wire: Any, path: str) -> None:
    assert refused(wire.write, path, b"1") == "EINVAL"


def test_the_root_cannot_be_removed(wire: Any, name: str) -> None:
    if name == "oxenstored":
        pytest.skip("oxenstored says yes and forgets everything")
    assert refused(wire.rm, "/") == "EINVAL"


def test_relative_paths_are_those_of_dom0(wire: Any) -> None:
    wire.write("/local/domain/0/test", b"1")
    assert wire.read("test") == b"1"
    wire.rm("test")


def test_a_payload_without_its_nul(wire: Any) -> None:
    # The C daemon answers with whatever errno was left over.
    for kind in (READ, DIRECTORY, WRITE):
        assert refused(wire.ask, kind, b"/test")


def test_the_largest_payload(wire: Any, name: str) -> None:
    value = b"x" * (4096 - len("/test/a") - 1)
    if name == "oxenstored":
        # quota-maxsize holds for dom0, too, there.
        assert refused(wire.write, "/test/a", value) == "E2BIG"
    else:
        wire.write("/test/a", value)
        assert wire.read("/test/a") == value


def test_a_directory_that_does_not_fit_into_a_reply(wire: Any, name: str) -> None:
    names = [f"{'n' * 200}{number}" for number in range(30)]
    for each in names:
        wire.write(f"/test/big/{each}", b"")
    if name == "oxenstored":
        # Sent whole, beyond the protocol's limit.
        assert sorted(wire.names("/test/big")) == sorted(names)
        assert refused(in_parts, wire, "/test/big") == "ENOSYS"
    else:
        assert refused(wire.names, "/test/big") == "E2BIG"
        assert sorted(in_parts(wire, "/test/big")) == sorted(names)


def in_parts(wire: Any, path: str) -> list[str]:
    """Read a directory by DIRECTORY_PART: a generation, then names up to an empty one at the end."""
    data, generation = b"", b""
    while True:
        reply = wire.ask(DIRECTORY_PART, f"{path}\0{len(data)}\0".encode())
        current, _nul, part = reply.partition(b"\0")
        assert generation in (b"", current), "nobody else writes here"
        generation = current
        if part.endswith(b"\0\0") or part == b"\0":
            data += part[:-1]
            return [each.decode() for each in data.split(b"\0") if each]
        data += part


# -- permissions -------------------------------------------------------------------------------------


def test_permissions_are_kept_and_inherited_at_creation_only(wire: Any) -> None:
    wire.mkdir("/test/p")
    assert wire.perms("/test/p") == ["n0"]
    wire.write("/test/p/before", b"")
    wire.set_perms("/test/p", "n0", "r5", "b7", "w8")
    wire.write("/test/p/after", b"")
    assert wire.perms("/test/p") == ["n0", "r5", "b7", "w8"]
    assert wire.perms("/test/p/after") == ["n0", "r5", "b7", "w8"]
    assert wire.perms("/test/p/before") == ["n0"]
    wire.set_perms("/test/p/after", "n5", "r0")
    wire.write("/test/p/after/below", b"")
    assert wire.perms("/test/p/after/below") == ["n5", "r0"]


@pytest.mark.parametrize("entry", ["x0", "n", "5", ""])
def test_illegal_permissions(wire: Any, entry: str) -> None:
    wire.mkdir("/test/p")
    assert refused(wire.set_perms, "/test/p", entry) == "EINVAL"
    assert wire.perms("/test/p") == ["n0"]


# -- transactions ------------------------------------------------------------------------------------


def test_a_transaction_is_seen_when_committed(wire: Any, connect: Any) -> None:
    other = connect()
    number = wire.start()
    wire.write("/test/t", b"1", number)
    assert wire.read("/test/t", number) == b"1"
    assert refused(other.read, "/test/t") == "ENOENT"
    wire.end(number)
    assert other.read("/test/t") == b"1"


def test_a_transaction_can_be_forgotten(wire: Any, name: str) -> None:
    number = wire.start()
    wire.write("/test/t", b"1", number)
    wire.end(number, commit=False)
    assert refused(wire.read, "/test/t") == "ENOENT"
    assert refused(wire.end, number) == ("EIO" if name == "oxenstored" else "ENOENT")


def test_what_was_read_and_has_changed_is_a_conflict(wire: Any, connect: Any) -> None:
    wire.write("/test/state", b"4")
    number = wire.start()
    assert wire.read("/test/state", number) == b"4"
    wire.write("/test/mine", b"1", number)
    connect().write("/test/state", b"7")
    assert wire.read("/test/state", number) == b"4", "a transaction sees what it saw"
    assert refused(wire.end, number) == "EAGAIN"
    assert refused(wire.read, "/test/mine") == "ENOENT"


def test_both_wrote_the_same_node(wire: Any, connect: Any, name: str) -> None:
    wire.write("/test/x", b"0")
    number = wire.start()
    wire.write("/test/x", b"1", number)
    connect().write("/test/x", b"2")
    if name == "oxenstored":
        # A node that was written and not read is no conflict there: the last commit wins.
        wire.end(number)
        assert wire.read("/test/x") == b"1"
    else:
        assert refused(wire.end, number) == "EAGAIN"
        assert wire.read("/test/x") == b"2"


def test_what_was_looked_for_and_has_appeared_is_a_conflict(wire: Any, connect: Any) -> None:
    number = wire.start()
    assert refused(wire.read, "/test/new", number) == "ENOENT"
    wire.write("/test/mine", b"1", number)
    connect().write("/test/new", b"1")
    assert refused(wire.end, number) == "EAGAIN"


def test_a_list_that_has_grown_is_a_conflict(wire: Any, connect: Any) -> None:
    wire.write("/test/l/1", b"")
    number = wire.start()
    assert wire.names("/test/l", number) == ["1"]
    wire.write("/test/mine", b"1", number)
    connect().write("/test/l/2", b"")
    assert refused(wire.end, number) == "EAGAIN"


def test_who_writes_elsewhere_is_no_conflict(wire: Any, connect: Any) -> None:
    wire.write("/test/a/x", b"0")
    wire.write("/test/b/x", b"0")
    number = wire.start()
    wire.write("/test/a/x", b"1", number)
    connect().write("/test/b/x", b"1")
    wire.end(number)
    assert wire.read("/test/a/x") == b"1"


def test_transactions_side_by_side_on_one_connection(wire: Any) -> None:
    for each in "abc":
        wire.write(f"/test/{each}", b"0")
    numbers = {each: wire.start() for each in "abc"}
    for each, number in numbers.items():
        wire.write(f"/test/{each}", b"1", number)
    for number in numbers.values():
        wire.end(number)
    assert [wire.read(f"/test/{each}") for each in "abc"] == [b"1"] * 3


def test_an_unknown_transaction(wire: Any, name: str) -> None:
    assert refused(wire.read, "/test", 4711) == ("EIO" if name == "oxenstored" else "ENOENT")


def test_a_connection_takes_its_transactions_along(wire: Any, connect: Any) -> None:
    other = connect()
    other.write("/test/lost", b"1", other.start())
    other.close()
    wire.write("/test/kept", b"1")
    assert wire.names("/test") == ["kept"]


# -- watches -----------------------------------------------------------------------------------------


def test_a_watch_fires_at_once_then_for_all_below(wire: Any, connect: Any) -> None:
    wire.watch("/test", "t")
    assert wire.next_events(1) == [("/test", "t")]
    other = connect()
    other.write("/test/a/b", b"1")
    assert wire.next_events(1) == [("/test/a/b", "t")]
    other.write("/test/a/b", b"1")
    assert wire.next_events(1) == [("/test/a/b", "t")], "also when the value is the same"
    other.set_perms("/test/a/b", "n0", "r1")
    assert wire.next_events(1) == [("/test/a/b", "t")]
    other.rm("/test/a")
    assert ("/test/a", "t") in wire.next_events(1)
    other.write("/elsewhere", b"1")
    other.rm("/elsewhere")
    assert wire.no_more_events()


def test_a_watch_on_what_is_not_there_yet(wire: Any, connect: Any) -> None:
    wire.watch("/test/later", "t")
    assert wire.next_events(1) == [("/test/later", "t")]
    connect().write("/test/later", b"1")
    assert wire.next_events(1) == [("/test/later", "t")]


def test_removing_a_directory_fires_watches_below_it(wire: Any, connect: Any) -> None:
    wire.write("/test/a/b/state", b"4")
    wire.watch("/test/a/b/state", "t")
    wire.next_events(1)
    connect().rm("/test/a")
    assert wire.next_events(1) == [("/test/a/b/state", "t")]


def test_tokens_are_told_apart_and_given_once(wire: Any) -> None:
    wire.watch("/test/x", "1")
    wire.watch("/test/x", "2")
    assert refused(wire.watch, "/test/x", "1") == "EEXIST"
    wire.next_events(2)
    wire.write("/test/x", b"")
    assert sorted(wire.next_events(2)) == [("/test/x", "1"), ("/test/x", "2")]
    wire.unwatch("/test/x", "1")
    assert refused(wire.unwatch, "/test/x", "1") == "ENOENT"
    wire.write("/test/x", b"")
    assert wire.next_events(1) == [("/test/x", "2")]
    assert wire.no_more_events()


def test_a_relative_watch_is_told_relative_paths(wire: Any) -> None:
    wire.watch("test", "t")
    wire.next_events(1)
    wire.write("/local/domain/0/test/x", b"1")
    assert wire.next_events(1) == [("test/x", "t")]
    wire.rm("test")


def test_a_transaction_fires_when_it_commits_and_in_order(wire: Any, connect: Any) -> None:
    wire.watch("/test", "t")
    wire.next_events(1)
    other = connect()
    number = other.start()
    other.write("/test/1", b"", number)
    other.write("/test/2", b"", number)
    assert wire.no_more_events()
    other.end(number)
    assert [path for path, _token in wire.next_events(2)] == ["/test/1", "/test/2"]
    number = other.start()
    other.write("/test/3", b"", number)
    other.end(number, commit=False)
    assert wire.no_more_events()


def test_the_last_of_many_changes_is_told(wire: Any, connect: Any) -> None:
    """Equal events that wait for a slow reader may be merged into one (the C daemon, since XSA-326)."""
    wire.watch("/test/x", "t")
    wire.next_events(1)
    other = connect()
    for number in range(50):
        other.write("/test/x", str(number).encode())
    seen = 0
    value = b""
    while value != b"49":
        assert wire.next_events(1) == [("/test/x", "t")]
        seen += 1
        value = wire.read("/test/x")
    assert 1 <= seen <= 50


# -- domains -----------------------------------------------------------------------------------------


def test_domains_come_and_go(wire: Any) -> None:
    wire.watch("@introduceDomain", "in")
    wire.watch("@releaseDomain", "out")
    assert sorted(wire.next_events(2)) == [("@introduceDomain", "in"), ("@releaseDomain", "out")]
    assert wire.ask(INTRODUCED, b"77\0") == b"F\0"
    assert wire.ask(INTRODUCE, b"77\x001\x001\0") == b"OK\0"
    assert wire.next_events(1) == [("@introduceDomain", "in")]
    assert wire.ask(INTRODUCED, b"77\0") == b"T\0"
    assert wire.ask(DOMAIN_PATH, b"77\0").rstrip(b"\0") == b"/local/domain/77"
    assert wire.ask(RELEASE, b"77\0") == b"OK\0"
    assert wire.next_events(1) == [("@releaseDomain", "out")]
    assert wire.ask(INTRODUCED, b"77\0") == b"F\0"


# -- other clients -----------------------------------------------------------------------------------


@pytest.mark.skipif(not TESTER.exists(), reason=f"no {TESTER}: install xen-utils-4.17")
def test_xens_own_tester(store: str) -> None:
    words = [str(TESTER), "-i", "50"]
    answer = subprocess.run(
        words, env={**os.environ, "XENSTORED_PATH": store}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout


def test_the_command_line_tools(store: str) -> None:
    def tool(program: str, *words: str, check: bool = True) -> str:
        variables = {**os.environ, "XENSTORED_PATH": store}
        try:
            answer = subprocess.run(
                [program, *words], env=variables, capture_output=True, text=True, check=check, timeout=60
            )
        except FileNotFoundError:
            pytest.skip(f"no {program}: install xenstore-utils")
        return answer.stdout

    tool("xenstore-write", "/tools/a", "1", "/tools/b/c", "2")
    assert tool("xenstore-read", "/tools/a", "/tools/b/c").split() == ["1", "2"]
    assert tool("xenstore-list", "/tools").split() == ["a", "b"]
    tool("xenstore-chmod", "/tools/a", "n0", "r3")
    lines = tool("xenstore-ls", "-fp", "/tools").splitlines()
    assert '/tools/a = "1"   (n0,r3)' in lines
    assert tool("xenstore-watch", "-n", "1", "/tools/a").strip() == "/tools/a"
    tool("xenstore-rm", "/tools")
    assert tool("xenstore-ls", "/tools", check=False) == ""
