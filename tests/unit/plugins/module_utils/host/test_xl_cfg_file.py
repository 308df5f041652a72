# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's file is replaced as a whole or not at all, and keeps what it is to the file system."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host.xl_cfg_file import (
    DomainFileError,
    XlCfgFiles,
)

FILES = XlCfgFiles()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "web01.cfg"
    path.write_bytes(b"name = 'web01'\r\n# \xff\xfe\n")
    path.chmod(0o640)
    return path


def test_every_byte_comes_out_as_it_went_in(file: Path) -> None:
    before = file.read_bytes()
    FILES.replace(str(file), FILES.read(str(file)), backup=False)
    assert file.read_bytes() == before


def test_mode_stays_and_the_time_is_new(file: Path) -> None:
    os.utime(file, (1, 1))
    assert FILES.replace(str(file), "x = 1\n", backup=False) is None
    assert file.stat().st_mode & 0o7777 == 0o640
    assert file.stat().st_mtime > 1
    assert [one.name for one in file.parent.iterdir()] == ["web01.cfg"]


def test_a_backup_is_what_was_there_before(file: Path) -> None:
    before = file.read_bytes()
    copy = FILES.replace(str(file), "x = 1\n", backup=True)
    assert copy is not None
    assert re.fullmatch(rf"{re.escape(str(file))}\.\d+\.\d{{4}}-\d\d-\d\d@\d\d:\d\d:\d\d~", copy)
    assert Path(copy).read_bytes() == before
    assert Path(copy).stat().st_mode & 0o7777 == 0o640


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    (tmp_path / "auto").mkdir()
    link = tmp_path / "auto" / "web01.cfg"
    link.symlink_to("../web01.cfg")
    copy = FILES.replace(str(link), "x = 1\n", backup=True)
    assert link.is_symlink()
    assert file.read_text() == "x = 1\n"
    assert copy is not None and Path(copy).parent == file.parent, "what lies in auto is started"
    assert list(link.parent.iterdir()) == [link]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DomainFileError, match=r"web02\.cfg cannot be read \(No such file or directory\)"):
        FILES.read(str(tmp_path / "web02.cfg"))
    with pytest.raises(DomainFileError, match="cannot be read"):
        FILES.read(str(tmp_path))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DomainFileError, match="pipe cannot be read \\(it is no regular file\\)"):
        FILES.read(str(tmp_path / "pipe"))


def test_a_name_that_no_file_can_have_is_told() -> None:
    with pytest.raises(DomainFileError, match="no path of a file"):
        FILES.read("/etc/xen/web\0.cfg")


@pytest.mark.parametrize("backup", [False, True])
def test_a_write_that_fails_leaves_the_old_one_and_nothing_else(
    file: Path, monkeypatch: pytest.MonkeyPatch, backup: bool
) -> None:
    before = file.read_bytes()

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DomainFileError, match=r"web01\.cfg cannot be written \(No space left on device\)"):
        FILES.replace(str(file), "x = 1\n", backup)
    assert file.read_bytes() == before
    assert [one.name for one in file.parent.iterdir()] == ["web01.cfg"]
