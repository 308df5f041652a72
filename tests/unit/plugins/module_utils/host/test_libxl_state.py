# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libxl's locks against other processes that keep its protocol."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host.toolstack import libxl_state as libxl
from ansible_collections.xen.pci.plugins.module_utils.host.toolstack.libxl_state import (
    LockError,
    domain_locks,
    driver_node,
    holder_node,
    parse_marker_key,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

DOMID, UUID = 7, "3c4ba7f4-7a9b-4d40-b8a9-3d3a1f0e6a11"
OUTER, INNER = (f"userdata-l.{DOMID}.{UUID}.{name}" for name in ("libxl-device-changes-lock", "domain-userdata-lock"))
SHORT, AMPLE = 0.2, 60.0

#: What libxl does (libxl_internal.c): lock, say so; at the end of the input unlink, then close.
HOLDER = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o666)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
os.unlink(sys.argv[1])
os.close(descriptor)
"""


@contextmanager
def held_by_another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.stdin.close()
            holder.wait(AMPLE)


def can_be_locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def test_both_locks_are_held_inside_and_gone_afterwards(tmp_path: Path) -> None:
    with domain_locks(DOMID, UUID, AMPLE, tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([OUTER, INNER])
        assert not any(can_be_locked(path) for path in tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_the_locks_are_gone_after_an_exception_too(tmp_path: Path) -> None:
    with pytest.raises(KeyError), domain_locks(DOMID, UUID, AMPLE, tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [OUTER, INNER])
def test_a_lock_that_another_toolstack_holds_is_waited_for_and_then_told(tmp_path: Path, name: str) -> None:
    with held_by_another_process(tmp_path / name):
        with pytest.raises(LockError, match=name), domain_locks(DOMID, UUID, SHORT, tmp_path):
            pytest.fail("both hold the lock")
        # What we did get is given back, and what the other holds is still its own.
        assert [path.name for path in tmp_path.iterdir()] == [name]
        assert not can_be_locked(tmp_path / name)
    with domain_locks(DOMID, UUID, SHORT, tmp_path):
        pass


def test_the_locks_are_taken_in_libxls_order(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path / OUTER):
        with pytest.raises(LockError), domain_locks(DOMID, UUID, SHORT, tmp_path):
            pass
        assert not (tmp_path / INNER).exists()


def test_a_lock_whose_file_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / INNER).mkdir()  # as little of a lock as what a full disk has
    with pytest.raises(LockError, match=f"{INNER}, cannot be taken"), domain_locks(DOMID, UUID, SHORT, tmp_path):
        pytest.fail("there is no lock")
    assert [path.name for path in tmp_path.iterdir()] == [INNER]


def test_a_lock_whose_file_cannot_be_removed_is_given_back_all_the_same(tmp_path: Path) -> None:
    with domain_locks(DOMID, UUID, SHORT, tmp_path):
        (tmp_path / INNER).unlink()
        (tmp_path / INNER).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [INNER]


@pytest.mark.parametrize("recreated", [False, True])
def test_a_file_unlinked_by_its_last_holder_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recreated: bool
) -> None:
    locked: list[int] = []

    def flock(descriptor: int, operation: int) -> None:
        real(descriptor, operation)
        locked.append(descriptor)
        if len(locked) == 1:  # the last holder unlocks between our opening and our locking
            (tmp_path / OUTER).unlink()
            if recreated:  # and the next one is about to lock
                (tmp_path / OUTER).touch()

    real = fcntl.flock
    monkeypatch.setattr(libxl.fcntl, "flock", flock)
    with domain_locks(DOMID, UUID, AMPLE, tmp_path):
        monkeypatch.setattr(libxl.fcntl, "flock", real)
        assert len(locked) == 3
        assert not can_be_locked(tmp_path / OUTER)


def test_a_lock_is_given_back_while_nobody_can_be_waiting_for_the_wrong_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_at_close: list[list[str]] = []

    def close(descriptor: int) -> None:
        left_at_close.append(sorted(path.name for path in tmp_path.iterdir()))
        real(descriptor)

    real = os.close
    with domain_locks(DOMID, UUID, AMPLE, tmp_path):
        monkeypatch.setattr(libxl.os, "close", close)
    monkeypatch.setattr(libxl.os, "close", real)
    assert left_at_close == [[OUTER], []]


COUNTER = """
import sys
sys.path[:] = {path!r}
from pathlib import Path
from ansible_collections.xen.pci.plugins.module_utils.host.toolstack.libxl_state import domain_locks
directory, file = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(20):
    with domain_locks({domid}, "{uuid}", {timeout}, directory):
        number = int(file.read_text())
        file.write_text("torn")
        file.write_text(str(number + 1))
"""


def test_processes_that_contend_lose_nothing(tmp_path: Path) -> None:
    locks, counter = tmp_path / "locks", tmp_path / "counter"
    locks.mkdir()
    counter.write_text("0")
    script = COUNTER.format(path=sys.path, domid=DOMID, uuid=UUID, timeout=3 * AMPLE)
    running = [subprocess.Popen([sys.executable, "-c", script, str(locks), str(counter)]) for _turn in range(3)]
    assert [process.wait(3 * AMPLE) for process in running] == [0, 0, 0]
    assert counter.read_text() == "60"
    assert list(locks.iterdir()) == []


@pytest.mark.parametrize(("uuid", "directory"), [(UUID, "missing"), ("", "")])
def test_without_libxl_or_a_uuid_there_is_nothing_to_lock(tmp_path: Path, uuid: str, directory: str) -> None:
    with domain_locks(DOMID, uuid, SHORT, tmp_path / directory):
        assert list(tmp_path.iterdir()) == []


def test_markers_are_where_libxl_looks_for_them() -> None:
    device = Sbdf(0, 3, 0x1F, 7)
    assert holder_node(device) == "/libxl/pci/0000-03-1f-7/domid"
    assert driver_node(device) == "/libxl/pci/0000-03-1f-7/driver_path"
    assert parse_marker_key("0000-03-1f-7") == device
    assert parse_marker_key("nonsense") is None
