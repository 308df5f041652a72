# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of libxl's stored configuration: read, and replaced as libxl replaces it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host.toolstack.stored_config_file import (
    ConfigError,
    read_config,
    write_config,
)

DOMID, UUID = 7, "3c4ba7f4-7a9b-4d40-b8a9-3d3a1f0e6a11"
CURRENT, NEW = (f"userdata-{kind}.{DOMID}.{UUID}.libxl-json" for kind in "dn")


def stored(directory: Path, content: bytes) -> Path:
    file = directory / CURRENT
    file.write_bytes(content)
    return file


def test_the_text_ends_with_a_nul_before_and_after(tmp_path: Path) -> None:
    file = stored(tmp_path, b'{"a": 1}\n\0')
    assert read_config(DOMID, UUID, tmp_path) == {"a": 1}
    write_config(DOMID, UUID, {"a": 2, "b": [{}]}, tmp_path)
    content = file.read_bytes()
    assert content.endswith(b"}\n\0") and content.count(b"\0") == 1
    assert read_config(DOMID, UUID, tmp_path) == {"a": 2, "b": [{}]}


def test_bytes_that_are_no_utf8_come_out_as_they_went_in(tmp_path: Path) -> None:
    file = stored(tmp_path, b'{"name": "\xff\xc3\xa9", "big": 18446744073709551615}\n\0')
    config = read_config(DOMID, UUID, tmp_path)
    assert config is not None
    write_config(DOMID, UUID, config, tmp_path)
    assert b'"\xff\xc3\xa9"' in file.read_bytes() and b"18446744073709551615" in file.read_bytes()


def test_a_new_file_takes_the_place_of_the_old_one_whole_and_readable_to_root_alone(tmp_path: Path) -> None:
    file = stored(tmp_path, b"{}\0")
    old = file.stat().st_ino
    (tmp_path / NEW).write_text("left by somebody who was killed")
    with file.open("rb") as reader:
        write_config(DOMID, UUID, {"a": 1}, tmp_path)
        assert reader.read() == b"{}\0", "who reads meanwhile has the old one"
    assert file.stat().st_ino != old
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == [CURRENT]


def test_a_domain_of_another_toolstack_has_none(tmp_path: Path) -> None:
    assert read_config(DOMID, UUID, tmp_path) is None
    assert read_config(DOMID, "", tmp_path / "missing") is None


@pytest.mark.parametrize("content", [b"", b"\0", b"{", b"[]\0", b"null\0", b'{"a": 1}\0garbage'])
def test_one_that_cannot_be_read_is_told_with_its_name(tmp_path: Path, content: bytes) -> None:
    stored(tmp_path, content)
    with pytest.raises(ConfigError, match=CURRENT):
        read_config(DOMID, UUID, tmp_path)


def test_one_that_cannot_be_written_stays(tmp_path: Path) -> None:
    file = stored(tmp_path, b"{}\0")
    (tmp_path / NEW).mkdir()
    with pytest.raises(ConfigError, match=CURRENT):
        write_config(DOMID, UUID, {"a": 1}, tmp_path)
    assert file.read_bytes() == b"{}\0"
