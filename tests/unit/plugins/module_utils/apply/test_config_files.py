# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of domains follow their declaration: refused before, written after, and only where all went well."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins.module_utils.apply.config_files import plan_files, write_files
from ansible_collections.xen.pci.plugins.module_utils.apply.converge import Refused
from ansible_collections.xen.pci.plugins.module_utils.model.xl_file import devices_of
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import DesiredDomain
from ansible_collections.xen.pci.plugins.module_utils.plan.names import Moved
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B, C, D = (Sbdf.parse(f"0000:{bus:02x}:00.0") for bus in (1, 2, 3, 4))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "web01.cfg"
    path.write_text("name = 'web01'\npci = ['0000:01:00.0', '0000:02:00.0']\n")
    return path


def planned(file: Path, want: DesiredDomain, *moved: Moved) -> tuple[Sbdf, ...]:
    (change,) = plan_files([want], moved)
    return devices_of(change.after)


def test_the_file_gets_the_declaration_that_the_domain_gets(file: Path) -> None:
    def want(*devices: Sbdf, exclusive: bool = False, present: bool = True) -> DesiredDomain:
        return DesiredDomain("web01", devices, exclusive, present, str(file))

    assert planned(file, want(C)) == (A, B, C)
    assert planned(file, want(B, C, exclusive=True)) == (B, C)
    assert planned(file, want(exclusive=True)) == ()
    assert planned(file, want(A, D, present=False)) == (B,)
    assert planned(file, want(A, exclusive=True, present=False)) == (B,)


def test_the_old_address_of_a_device_that_moved_goes(file: Path) -> None:
    want = DesiredDomain("web01", (C,), config=str(file))
    assert planned(file, want, Moved("uplink", A, C)) == (B, C)
    assert planned(file, want, Moved("uplink", A, D)) == (A, B, C)


def test_an_old_address_that_was_listed_beside_the_new_one_is_another_device(file: Path) -> None:
    want = DesiredDomain("web01", (B,), config=str(file))
    assert planned(file, want, Moved("uplink", A, B)) == (A, B)


def test_a_domain_without_a_file_has_no_change() -> None:
    assert plan_files([DesiredDomain("web01", (A,))], []) == []


def test_all_files_that_are_not_understood_are_told_at_once(tmp_path: Path, file: Path) -> None:
    wants = [
        DesiredDomain("web01", (C,), config=str(file)),
        DesiredDomain("web02", (A,), config=str(file)),
        DesiredDomain("web03", (B,), config=str(tmp_path / "none.cfg")),
    ]
    with pytest.raises(Refused) as refused:
        plan_files(wants, [])
    assert list(refused.value.conflicts) == [
        f"web02: its configuration {file} cannot be changed: line 1: it is the configuration of 'web01', not of web02",
        f"web03: {tmp_path}/none.cfg cannot be read (No such file or directory)",
    ]


def test_the_file_of_a_domain_that_failed_is_not_written(file: Path) -> None:
    before = file.read_bytes()
    changes = plan_files([DesiredDomain("web01", (C,), config=str(file))], [])
    (written,) = write_files(changes, [], ["web01"], backup=True)
    assert (written.changed, written.backup_file, written.error) == (False, None, "")
    assert file.read_bytes() == before


def test_what_somebody_else_wrote_meanwhile_is_kept(file: Path) -> None:
    changes = plan_files([DesiredDomain("web01", (C,), config=str(file))], [])
    file.write_text(file.read_text() + "vcpus = 2\n")
    (written,) = write_files(changes, [], [], backup=False)
    assert written.changed
    assert "vcpus = 2\n" in file.read_text()
    assert devices_of(file.read_text()) == (A, B, C)


def test_a_second_run_writes_nothing(file: Path) -> None:
    want = DesiredDomain("web01", (C,), config=str(file))
    (first,) = write_files(plan_files([want], []), [], [], backup=True)
    stamp = file.stat().st_ino
    (second,) = write_files(plan_files([want], []), [], [], backup=True)
    assert first.backup_file is not None
    assert (second.changed, second.backup_file, file.stat().st_ino) == (False, None, stamp)


def test_a_file_that_cannot_be_written_any_more_is_told(file: Path) -> None:
    changes = plan_files([DesiredDomain("web01", (C,), config=str(file))], [])
    file.unlink()
    (written,) = write_files(changes, [], [], backup=False)
    assert not written.changed
    assert written.error == (
        f"web01: its devices are as declared, but {file} cannot be read (No such file or directory); run again"
    )
