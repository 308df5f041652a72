# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Molecule scenarios that users copy: found in any project, red where they test nothing, right about pools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from checkouts import ROOT

SCENARIOS = ROOT / "extensions/molecule"
PLAYBOOKS = sorted(SCENARIOS.glob("*/*.yml"))
TESTING = [path for path in PLAYBOOKS if path.stem in ("create", "converge", "verify")]


def run(program: str, *words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name(program), *words],
        cwd=cwd,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build/collections"),
            "ANSIBLE_HOME": str(cwd / ".ansible"),
            "NO_COLOR": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def settings(directory: Path) -> dict[str, str]:
    """The settings of Ansible in config.yml, as Molecule hands them on."""
    config = yaml.safe_load((SCENARIOS / "config.yml").read_text())["ansible"]["cfg"]
    file = directory / "ansible.cfg"
    lines = [
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for section, keys in config.items()
    ]
    file.write_text("".join(lines))
    return {"ANSIBLE_CONFIG": str(file)}


@pytest.mark.parametrize("playbook", TESTING, ids=lambda path: f"{path.parent.name} {path.stem}")
def test_a_playbook_that_would_test_no_host_fails(playbook: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("hypervisors: {hosts: {alder: {}}}\nxen: {vars: {x: 1}}\n")
    done = run("ansible-playbook", "-i", inventory, playbook, cwd=tmp_path)
    assert done.returncode == 2 and "No host is in the group xen" in done.stdout


def test_a_play_for_a_host_that_is_not_there_and_an_inventory_that_is_none_are_errors(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("xen: {hosts: {alder: {}}}\n")
    (tmp_path / "play.yml").write_text("- {hosts: cedar, gather_facts: false}\n")
    environment = settings(tmp_path)
    missing = run("ansible-playbook", "-i", "hosts.yml", "play.yml", cwd=tmp_path, **environment)
    assert missing.returncode and "cedar" in missing.stderr + missing.stdout
    nowhere = run("ansible-playbook", "-i", "hosts.yml", "-i", "nowhere/", "play.yml", cwd=tmp_path, **environment)
    assert nowhere.returncode and "nowhere" in nowhere.stderr + nowhere.stdout


def test_molecule_finds_the_scenarios_in_a_project_that_is_no_collection(tmp_path: Path) -> None:
    shutil.copytree(SCENARIOS, tmp_path / "molecule")
    words = ("--base-config", "molecule/config.yml", "matrix", "--scenario-name", "example_inventory", "test")
    done = run("molecule", *words, cwd=tmp_path, HOME=str(tmp_path))
    said = done.stdout + done.stderr
    assert not done.returncode, said
    assert [step for step in ("converge", "idempotence", "verify", "prepare") if step in said.split()] == [
        "converge",
        "idempotence",
        "verify",
    ]


def wanted(devices: list[Any]) -> int:
    """How many devices verify.yml expects for a domain."""
    (play,) = (
        play for play in yaml.safe_load((SCENARIOS / "example_inventory/verify.yml").read_text()) if "hosts" in play
    )
    (task,) = (task for task in play["tasks"] if "loop" in task)
    texts = {name: trust_as_template(text) for name, text in task["vars"].items()}
    catalog = {"a": "0000:01:00.0", "b": {"serial": "x"}, "pool": {"class": "0108", "count": 3}}
    variables = {**texts, "item": {"value": {"devices": devices}}, "xen_pci_devices": catalog}
    return int(Templar(loader=DataLoader(), variables=variables).template(trust_as_template("{{ wanted }}")))


@pytest.mark.parametrize(
    ("devices", "count"),
    [
        ([], 0),
        (["a", "0000:02:00.0"], 2),
        ([{"from": "pool"}], 1),
        (["b", {"from": "pool", "count": 2}], 3),
        (["pool"], 3),
        (["a", "pool", {"from": "other", "count": 2}], 6),
    ],
)
def test_verify_counts_the_devices_of_pools(devices: list[Any], count: int) -> None:
    assert wanted(devices) == count
