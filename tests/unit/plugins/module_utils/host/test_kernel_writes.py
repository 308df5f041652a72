# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes that return, are refused, or are given up: a FIFO without a reader makes a writer wait as a driver would."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host import command, kernel_writes
from ansible_collections.xen.pci.plugins.module_utils.host.kernel_writes import KernelWrites, WriteHangs
from ansible_collections.xen.pci.plugins.module_utils.host.sriov import Sriov, SriovError
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B = Sbdf.parse("0000:01:00.0"), Sbdf.parse("0000:02:00.0")


@pytest.fixture
def writes(tmp_path: Path) -> KernelWrites:
    made = KernelWrites(tmp_path / "sys")
    made.seconds = 0.2
    return made


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "unbind"
    os.mkfifo(path)
    return path


@pytest.fixture
def unkillable(monkeypatch: pytest.MonkeyPatch) -> None:
    """No signal ends what waits in the kernel."""
    monkeypatch.setattr(kernel_writes.os, "kill", lambda _process, _signal: None)


def left(tmp_path: Path) -> list[str]:
    return os.listdir(tmp_path / "run" / "xen.pci")


def test_what_is_written_arrives_and_nothing_is_left(writes: KernelWrites, tmp_path: Path) -> None:
    file = tmp_path / "bind"
    file.touch()
    writes.write(file, "0000:01:00.0", A)
    assert file.read_text() == "0000:01:00.0"
    assert left(tmp_path) == [] and writes.hanging() == {}


@pytest.mark.parametrize(("file", "number"), [("/dev/full", errno.ENOSPC), ("/nowhere/bind", errno.ENOENT)])
def test_a_refusal_has_the_errno_of_the_kernel(writes: KernelWrites, tmp_path: Path, file: str, number: int) -> None:
    with pytest.raises(OSError) as caught:
        writes.write(Path(file), "1", A)
    assert caught.value.errno == number and not isinstance(caught.value, WriteHangs)
    assert left(tmp_path) == []


def test_a_write_that_a_signal_ends_is_ended(writes: KernelWrites, fifo: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(WriteHangs, match="was ended") as caught:
        writes.write(fifo, "1", A)
    assert time.monotonic() - began < 20
    assert not caught.value.goes_on
    assert left(tmp_path) == [] and writes.hanging() == {}


@pytest.mark.usefixtures("unkillable")
def test_a_write_that_goes_on_is_seen_until_it_ends(writes: KernelWrites, fifo: Path, tmp_path: Path) -> None:
    with pytest.raises(WriteHangs, match="goes on in the kernel") as caught:
        writes.write(fifo, "0000:01:00.0", A)
    assert caught.value.goes_on
    later = KernelWrites(tmp_path / "sys")
    hanging = later.hanging()
    text = hanging[A]
    assert list(hanging) == [A]
    assert str(fifo) in text and "0000:01:00.0" in text
    other = tmp_path / "other"
    other.touch()
    with pytest.raises(WriteHangs, match=f"earlier write .*{fifo}"):
        later.write(other, "1", A)
    assert other.read_text() == "", "a second write was made on top of one that hangs"
    later.write(other, "1", B)
    assert other.read_text() == "1"
    with fifo.open() as reader:
        assert reader.read() == "0000:01:00.0"
    deadline = time.monotonic() + 20
    while later.hanging():
        assert time.monotonic() < deadline
    later.write(other, "2", A)
    assert left(tmp_path) == []


@pytest.mark.usefixtures("unkillable")
def test_what_is_left_behind_holds_nothing_of_the_run(writes: KernelWrites, fifo: Path) -> None:
    """Neither the run lock nor the module's standard output: Ansible waits for the end of that."""
    reading, writing = os.pipe()
    with pytest.raises(WriteHangs):
        writes.write(fifo, "1", A)
    os.close(writing)
    assert kernel_writes.wait_readable(reading, 20)
    assert os.read(reading, 1) == b""
    os.close(reading)
    with fifo.open() as reader:
        reader.read()


def test_many_at_once_do_not_wait_for_each_other(writes: KernelWrites, fifo: Path, tmp_path: Path) -> None:
    writes.seconds = 20
    fast = [tmp_path / f"reset{number}" for number in range(8)]
    for file in fast:
        file.touch()
    slow = threading.Thread(target=lambda: writes.write(fifo, "1", A))
    slow.start()
    threads = [
        threading.Thread(target=writes.write, args=(file, "1", Sbdf(0, 3, 0, number)))
        for number, file in enumerate(fast)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [file.read_text() for file in fast] == ["1"] * 8
    with fifo.open() as reader:
        assert reader.read() == "1"
    slow.join()
    assert left(tmp_path) == []


def test_a_kernel_without_room_for_functions_has_a_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sriov = Sriov(tmp_path / "sys", KernelWrites(tmp_path / "sys"))

    def refuse(number: int) -> None:
        def write(_self: KernelWrites, _file: Path, _text: str, _subject: Sbdf) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(KernelWrites, "write", write)

    for number, words in ((errno.ENOMEM, "above 4 GB"), (errno.ENOENT, "driver"), (errno.EPERM, "release them")):
        refuse(number)
        with pytest.raises(SriovError, match=words):
            sriov.set_count(A, 4)


def test_a_program_that_cannot_be_killed_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.subprocess.Popen, "kill", lambda _self: None)
    monkeypatch.setattr(command, "_ENDS_WITHIN", 0.1)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="sleep did not end"):
        command.run(["sleep", "30"], 0.1)
    assert time.monotonic() - began < 20
