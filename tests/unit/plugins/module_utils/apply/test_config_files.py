# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of domains are written after their domains, and only where all went well."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins.module_utils.apply.config_files import write_files
from ansible_collections.xen.pci.plugins.module_utils.host.xl_cfg_file import XlCfgFiles
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.xl_file import devices_of
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import DesiredDomain
from ansible_collections.xen.pci.plugins.module_utils.plan.file_plan import FileChange, plan_files
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B, C = (Sbdf.parse(f"0000:{bus:02x}:00.0") for bus in (1, 2, 3))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "web01.cfg"
    path.write_text("name = 'web01'\npci = ['0000:01:00.0', '0000:02:00.0']\n")
    return path


def planned(file: Path, *devices: Sbdf) -> tuple[FileChange, ...]:
    """The change that gives web01 these devices in its file."""
    host = Host({}, {}, config_files={str(file): file.read_text()})
    changes, refusals = plan_files(host, [DesiredDomain("web01", devices, config=str(file))], [])
    assert refusals == ()
    return changes


def test_the_file_of_a_domain_that_failed_is_not_written(file: Path) -> None:
    before = file.read_bytes()
    changes = planned(file, C)
    (written,) = write_files(XlCfgFiles(), changes, [], ["web01"], backup=True)
    assert (written.changed, written.backup_file, written.error) == (False, None, "")
    assert file.read_bytes() == before


def test_what_another_program_wrote_meanwhile_is_kept(file: Path) -> None:
    changes = planned(file, C)
    file.write_text(file.read_text() + "vcpus = 2\n")
    (written,) = write_files(XlCfgFiles(), changes, [], [], backup=False)
    assert written.changed
    assert "vcpus = 2\n" in file.read_text()
    assert devices_of(file.read_text()) == (A, B, C)


def test_a_second_run_writes_nothing(file: Path) -> None:
    (first,) = write_files(XlCfgFiles(), planned(file, C), [], [], backup=True)
    stamp = file.stat().st_ino
    (second,) = write_files(XlCfgFiles(), planned(file, C), [], [], backup=True)
    assert first.backup_file is not None
    assert (second.changed, second.backup_file, file.stat().st_ino) == (False, None, stamp)


def test_a_file_that_cannot_be_written_any_more_is_an_error_of_its_domain(file: Path) -> None:
    changes = planned(file, C)
    file.unlink()
    (written,) = write_files(XlCfgFiles(), changes, [], [], backup=False)
    assert not written.changed
    assert written.error.startswith("web01: ")
    assert f"{file} cannot be read (No such file or directory)" in written.error
