# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role xen.pci.host reads an inventory as the playbook xen.pci.apply does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DEFAULTS = Path(__file__).resolve().parents[2] / "roles/host/defaults/main.yml"


@pytest.mark.parametrize(
    ("devices", "held"),
    [
        ({"uplink": {"mac": "02:00:5e:3b:00:00"}, "pool": {"pf": "uplink", "count": 2}, "nic": "01:00.0"}, "nic pool"),
        (None, ""),
    ],
    ids=["a physical function stays", "all entries are commented out"],
)
def test_what_pciback_is_to_hold(tmp_path: Path, devices: Any, held: str) -> None:
    shown = tmp_path / "shown.json"
    task = {"ansible.builtin.copy": {"content": "{{ host_devices | sort | to_json }}", "dest": str(shown)}}
    variables = {"xen_pci_devices": devices, "ansible_python_interpreter": sys.executable}
    play = {"hosts": "localhost", "gather_facts": False, "vars_files": [str(DEFAULTS)], "vars": variables}
    (tmp_path / "play.yml").write_text(json.dumps([{**play, "tasks": [task]}]))
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(shown.read_text()) == held.split()
