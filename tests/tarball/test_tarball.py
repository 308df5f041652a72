# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make build` has built: it holds what users need and nothing else, and a first look works from it alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import mirror
import pytest
from short_path import short_directory

BUILD = mirror.CLONE / ".build"
#: Of the collection: what Ansible runs, what people read, what they copy. Everything else is of the workshop.
DIRECTORIES = {"LICENSES", "docs", "extensions", "inventories", "meta", "playbooks", "plugins", "roles"}
FILES = {
    "changelogs/changelog.yaml",
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "COPYING",
    "README.md",
    "REUSE.toml",
    "SECURITY.md",
}
GENERATED = {"FILES.json", "MANIFEST.json"}

Run = Callable[..., str]


@pytest.fixture(scope="module")
def tarball() -> Path:
    """The only one, or the newest."""
    return max(BUILD.glob("xen-pci-*.tar.gz"), key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="module")
def run(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a command of Ansible that knows no collection but the one installed from the tarball; its output."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = kept | {"HOME": str(home), "ANSIBLE_COLLECTIONS_PATH": str(home / "collections"), "PATH": programs}

    def command(*words: str, **variables: str) -> str:
        done = subprocess.run(words, env=environment | variables, cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command("ansible-galaxy", "collection", "install", "--offline", str(tarball))
    return command


@pytest.fixture(scope="module")
def installed(run: Run) -> Path:
    """The directory of the installed collection."""
    listing: dict[str, dict[str, object]] = json.loads(run("ansible-galaxy", "collection", "list", "--format", "json"))
    [place] = [place for place, found in listing.items() if "xen.pci" in found]
    return Path(place) / "xen" / "pci"


def test_it_holds_the_collection_and_nothing_of_the_workshop(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        held = {member.name for member in archive.getmembers() if not member.isdir()}
    known = {str(name) for name in mirror.wanted_files()}
    assert held - GENERATED == {name for name in known if name in FILES or name.partition("/")[0] in DIRECTORIES}


def test_the_pages_in_it_link_to_nothing_outside(installed: Path) -> None:
    pages = [page for page in installed.rglob("*.md") if page.name != "CONTRIBUTING.md"]
    links = [
        (page.relative_to(installed), link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    ]
    assert links
    assert [(page, link) for page, link in links if not (installed / page.parent / link.strip()).exists()] == []


def test_ansible_finds_what_the_readme_names(run: Run, installed: Path) -> None:
    readme = (installed / "README.md").read_text()
    modules = {path.stem for path in (installed / "plugins" / "modules").glob("*.py")} - {"__init__"}
    assert {f"xen.pci.{name}" for name in modules} <= set(re.findall(r"`(xen\.pci\.\w+)`", readme))
    for kind, names in (("module", modules), ("role", ("host", "simulated_host")), ("filter", ("select",))):
        documented = json.loads(run("ansible-doc", "--json", "-t", kind, *(f"xen.pci.{name}" for name in names)))
        assert set(documented) == {f"xen.pci.{name}" for name in names}


@pytest.fixture
def play(run: Run, installed: Path) -> Iterator[Run]:
    """Runs a playbook on the example's first host, simulated as docs/test-your-inventory-without-hardware.md says."""
    molecule = installed / "extensions" / "molecule"
    with short_directory() as directory:

        def playbook(*words: str) -> str:
            return run(
                "ansible-playbook",
                *(
                    "-i",
                    str(installed / "inventories" / "example"),
                    "-i",
                    str(molecule / "inventory" / "simulated.yml"),
                ),
                *("--limit", "alder", "-e", json.dumps({"simulated_host_directory": f"{directory}/h"}), *words),
                MOLECULE_SCENARIO_DIRECTORY=str(molecule / "default"),
            )

        playbook(str(molecule / "default" / "create.yml"))
        try:
            yield playbook
        finally:
            playbook(str(molecule / "default" / "destroy.yml"))


def test_plan_run_and_a_second_run(play: Run) -> None:
    planned = play("xen.pci.apply", "--check", "--diff")
    assert re.search(r"changed=[1-9]", planned)
    done = play("xen.pci.apply")
    assert re.search(r"changed=[1-9]", done)
    again = play("xen.pci.apply")
    assert "changed=0" in again
