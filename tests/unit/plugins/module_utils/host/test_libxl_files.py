# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libxl's files: its locks against other processes that keep its protocol, and configurations replaced as it does."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host.toolstack import libxl_files as libxl
from ansible_collections.xen.pci.plugins.module_utils.host.toolstack.contract import ConfigError, LockError
from ansible_collections.xen.pci.plugins.module_utils.host.toolstack.libxl_files import CHANGE_LOCKS, LibxlFiles

DOMID, UUID = 7, "3c4ba7f4-7a9b-4d40-b8a9-3d3a1f0e6a11"
OUTER, INNER = (f"userdata-l.{DOMID}.{UUID}.{name}" for name in ("libxl-device-changes-lock", "domain-userdata-lock"))
CURRENT, NEW = (f"userdata-{kind}.{DOMID}.{UUID}.libxl-json" for kind in "dn")
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


def locked(directory: Path, timeout: float = SHORT, uuid: str = UUID) -> AbstractContextManager[None]:
    return LibxlFiles(directory).locked(CHANGE_LOCKS, DOMID, uuid, timeout)


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
    with locked(tmp_path, AMPLE):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([OUTER, INNER])
        assert not any(can_be_locked(path) for path in tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_the_locks_are_gone_after_an_exception_too(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path, AMPLE):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [OUTER, INNER])
def test_a_lock_that_another_toolstack_holds_is_waited_for_and_then_told(tmp_path: Path, name: str) -> None:
    with held_by_another_process(tmp_path / name):
        with pytest.raises(LockError, match=name), locked(tmp_path):
            pytest.fail("both hold the lock")
        # What we did get is given back, and what the other holds is still its own.
        assert [path.name for path in tmp_path.iterdir()] == [name]
        assert not can_be_locked(tmp_path / name)
    with locked(tmp_path):
        pass


def test_the_locks_are_taken_in_libxls_order(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path / OUTER):
        with pytest.raises(LockError), locked(tmp_path):
            pass
        assert not (tmp_path / INNER).exists()


def test_a_lock_whose_file_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / INNER).mkdir()  # as little of a lock as what a full disk has
    with pytest.raises(LockError, match=f"{INNER}, cannot be taken"), locked(tmp_path):
        pytest.fail("there is no lock")
    assert [path.name for path in tmp_path.iterdir()] == [INNER]


def test_a_lock_whose_file_cannot_be_removed_is_given_back_all_the_same(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / INNER).unlink()
        (tmp_path / INNER).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [INNER]


@pytest.mark.parametrize("recreated", [False, True])
def test_a_file_unlinked_by_its_last_holder_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recreated: bool
) -> None:
    descriptors: list[int] = []

    def flock(descriptor: int, operation: int) -> None:
        real(descriptor, operation)
        descriptors.append(descriptor)
        if len(descriptors) == 1:  # the last holder unlocks between our opening and our locking
            (tmp_path / OUTER).unlink()
            if recreated:  # and the next one is about to lock
                (tmp_path / OUTER).touch()

    real = fcntl.flock
    monkeypatch.setattr(libxl.fcntl, "flock", flock)
    with locked(tmp_path, AMPLE):
        monkeypatch.setattr(libxl.fcntl, "flock", real)
        assert len(descriptors) == 3
        assert not can_be_locked(tmp_path / OUTER)


def test_a_lock_is_given_back_while_nobody_can_be_waiting_for_the_wrong_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_at_close: list[list[str]] = []

    def close(descriptor: int) -> None:
        left_at_close.append(sorted(path.name for path in tmp_path.iterdir()))
        real(descriptor)

    real = os.close
    with locked(tmp_path, AMPLE):
        monkeypatch.setattr(libxl.os, "close", close)
    monkeypatch.setattr(libxl.os, "close", real)
    assert left_at_close == [[OUTER], []]


COUNTER = """
import sys
sys.path[:] = {path!r}
from pathlib import Path
from ansible_collections.xen.pci.plugins.module_utils.host.toolstack.libxl_files import CHANGE_LOCKS, LibxlFiles
directory, file = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(20):
    with LibxlFiles(directory).locked(CHANGE_LOCKS, {domid}, "{uuid}", {timeout}):
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
    with locked(tmp_path / directory, uuid=uuid):
        assert list(tmp_path.iterdir()) == []


# ---- the stored configuration


def stored(directory: Path, content: bytes) -> Path:
    file = directory / CURRENT
    file.write_bytes(content)
    return file


def test_the_text_ends_with_a_nul_before_and_after(tmp_path: Path) -> None:
    file = stored(tmp_path, b'{"a": 1}\n\0')
    assert LibxlFiles(tmp_path).read_config(DOMID, UUID) == {"a": 1}
    LibxlFiles(tmp_path).write_config(DOMID, UUID, {"a": 2, "b": [{}]})
    content = file.read_bytes()
    assert content.endswith(b"}\n\0") and content.count(b"\0") == 1
    assert LibxlFiles(tmp_path).read_config(DOMID, UUID) == {"a": 2, "b": [{}]}


def test_bytes_that_are_no_utf8_come_out_as_they_went_in(tmp_path: Path) -> None:
    file = stored(tmp_path, b'{"name": "\xff\xc3\xa9", "big": 18446744073709551615}\n\0')
    config = LibxlFiles(tmp_path).read_config(DOMID, UUID)
    assert config is not None
    LibxlFiles(tmp_path).write_config(DOMID, UUID, config)
    assert b'"\xff\xc3\xa9"' in file.read_bytes() and b"18446744073709551615" in file.read_bytes()


def test_a_new_file_takes_the_place_of_the_old_one_whole_and_readable_to_root_alone(tmp_path: Path) -> None:
    file = stored(tmp_path, b"{}\0")
    old = file.stat().st_ino
    (tmp_path / NEW).write_text("left by somebody who was killed")
    with file.open("rb") as reader:
        LibxlFiles(tmp_path).write_config(DOMID, UUID, {"a": 1})
        assert reader.read() == b"{}\0", "who reads meanwhile has the old one"
    assert file.stat().st_ino != old
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == [CURRENT]


def test_a_domain_of_another_toolstack_has_none(tmp_path: Path) -> None:
    assert LibxlFiles(tmp_path).read_config(DOMID, UUID) is None
    assert LibxlFiles(tmp_path / "missing").read_config(DOMID, "") is None


@pytest.mark.parametrize("content", [b"", b"\0", b"{", b"[]\0", b"null\0", b'{"a": 1}\0garbage'])
def test_one_that_cannot_be_read_is_told_with_its_name(tmp_path: Path, content: bytes) -> None:
    stored(tmp_path, content)
    with pytest.raises(ConfigError, match=CURRENT):
        LibxlFiles(tmp_path).read_config(DOMID, UUID)


def test_one_that_cannot_be_written_stays(tmp_path: Path) -> None:
    file = stored(tmp_path, b"{}\0")
    (tmp_path / NEW).mkdir()
    with pytest.raises(ConfigError, match=CURRENT):
        LibxlFiles(tmp_path).write_config(DOMID, UUID, {"a": 1})
    assert file.read_bytes() == b"{}\0"


def test_every_change_in_the_directory_shows(tmp_path: Path) -> None:
    files = LibxlFiles(tmp_path)
    seen = [files.last_change()]
    for change in (
        lambda: locked(tmp_path).__enter__(),
        lambda: files.write_config(DOMID, UUID, {"name": "web"}),
        (tmp_path / CURRENT).unlink,
    ):
        time.sleep(0.02)  # a tick of the kernel's clock, by which it dates what changes
        change()
        seen.append(files.last_change())
    assert "" not in seen
    assert len(set(seen)) == 4


def test_where_no_libxl_is_or_times_are_whole_seconds_nothing_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LibxlFiles(tmp_path / "absent").last_change() == ""
    status = os.stat(tmp_path)

    class WholeSeconds:
        st_dev, st_ino, st_ctime_ns = status.st_dev, status.st_ino, 1_700_000_000 * 10**9

    monkeypatch.setattr(os, "stat", lambda _path: WholeSeconds)
    assert LibxlFiles(tmp_path).last_change() == ""
