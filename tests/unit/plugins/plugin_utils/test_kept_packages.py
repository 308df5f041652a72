# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of modules are kept for the next run, and used only if they are what Ansible would pack, and safe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible import constants

from ansible_collections.xen.pci.plugins.plugin_utils import kept_packages
from ansible_collections.xen.pci.plugins.plugin_utils.kept_packages import KeptPackages

ROOT = Path(__file__).resolve().parents[4]
FILE = "ansible_collections.xen.pci.plugins.modules.repair-ZIP_DEFLATED-none"


class Runs:
    """Runs of Ansible, one after the other, with a temporary directory each."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept = home / "xen-pci-packed"
        self._home, self._monkeypatch, self._number = home, monkeypatch, 0

    def start(self, module: str = "repair") -> tuple[KeptPackages, Path]:
        """The packages at the start of a run, and the directory that Ansible keeps its own in."""
        self._number += 1
        directory = self._home / f"ansible-local-{self._number}"
        self._monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(directory))
        packages = KeptPackages(module)
        packages.bring()
        return packages, directory / "ansiballz_cache"

    def pack(self, text: str = "packed") -> None:
        """One run in which Ansible packs the module."""
        packages, directory = self.start()
        directory.mkdir(parents=True, exist_ok=True)
        (directory / FILE).write_text(text)
        (directory / f"{FILE}-part").write_text("a part")
        packages.keep()


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(tmp_path, monkeypatch)


def test_the_next_run_finds_what_was_packed(runs: Runs) -> None:
    _packages, empty = runs.start()
    assert not empty.exists()
    runs.pack()
    _packages, directory = runs.start()
    assert {file.name: file.read_text() for file in directory.iterdir()} == {FILE: "packed"}
    _packages, directory = runs.start("host_info")
    assert not directory.exists(), "another module"
    assert {path.stat().st_mode & 0o077 for path in (runs.kept, *runs.kept.rglob("*"))} == {0}


def test_the_other_hosts_of_a_run_look_at_no_file(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.pack()
    runs.start()
    looked: list[Path] = []
    monkeypatch.setattr(kept_packages, "_seen", looked.append)
    other = KeptPackages("repair")
    other.bring()
    other.keep()
    assert looked == []


@pytest.mark.parametrize("what", ["_COLLECTION", "ansible_version"])
def test_another_collection_or_ansible_packs_again(runs: Runs, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    runs.pack()
    if what == "_COLLECTION":
        module = runs.kept.parent / "plugins/modules/repair.py"
        module.parent.mkdir(parents=True)
        module.write_text("")
        (runs.kept.parent / "plugins/module_utils").mkdir()
    monkeypatch.setattr(kept_packages, what, runs.kept.parent if what == "_COLLECTION" else "3.0")
    _packages, directory = runs.start()
    assert not directory.exists()


def test_a_changed_file_packs_again(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    root = runs.kept.parent
    for name in ("modules/repair.py", "module_utils/values/words.py"):
        (root / "plugins" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "plugins" / name).write_text("old")
    monkeypatch.setattr(kept_packages, "_COLLECTION", root)
    runs.pack()
    for name in ("modules/repair.py", "module_utils/values/words.py"):
        file = root / "plugins" / name
        before = file.stat()
        file.write_text("new")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        _packages, directory = runs.start()
        assert not directory.exists(), name
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("where", ["", "repair", "repair/*", "repair/*/*"])
def test_what_others_can_write_is_not_used(runs: Runs, where: str) -> None:
    runs.pack()
    (path,) = runs.kept.glob(where) if where else (runs.kept,)
    path.chmod(0o770)
    _packages, directory = runs.start()
    assert not directory.exists()


def test_a_link_is_not_followed(runs: Runs) -> None:
    runs.pack()
    (file,) = runs.kept.glob("repair/*/*")
    elsewhere = file.rename(runs.kept.parent / "elsewhere")
    file.symlink_to(elsewhere)
    _packages, directory = runs.start()
    assert not directory.exists()


def test_where_nothing_can_be_kept_the_run_goes_on(runs: Runs) -> None:
    runs.kept.write_text("a file is in the way")
    runs.pack()
    _packages, directory = runs.start()
    assert not directory.exists()


def test_ansible_packs_a_module_once(tmp_path: Path) -> None:
    words = ["localhost", "-c", "local", "-m", "xen.pci.repair", "-e", f"ansible_python_interpreter={sys.executable}"]
    variables = {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build/collections"),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"),
        "ANSIBLE_DEBUG": "1",
    }
    program = Path(sys.executable).with_name("ansible")
    packed = []
    for _run in range(2):
        done = subprocess.run(
            [program, *words], env=os.environ | variables, check=False, capture_output=True, text=True
        )
        answer = done.stdout[done.stdout.index("{") :] if "{" in done.stdout else done.stdout
        assert "msg" in answer, json.dumps([done.stdout[-2000:], done.stderr[-2000:]])
        packed.append("ANSIBALLZ: Creating module" in done.stdout + done.stderr)
    assert packed == [True, False]
