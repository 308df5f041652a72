# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role xen.pci.host reads an inventory as the playbook xen.pci.apply does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def run_play(directory: Path, play: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """A play on the control node, which finds this collection."""
    (directory / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, **play}]))
    program = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [program, "-i", "localhost,", "-c", "local", str(directory / "play.yml")],
        env=os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build/collections")},
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_misspelled_variable_is_refused_before_anything_else(tmp_path: Path) -> None:
    variables = {"xen_pci_device": {"uplink": "01:00.0"}, "ansible_python_interpreter": sys.executable}
    done = run_play(tmp_path, {"vars": variables, "roles": ["xen.pci.host"]})
    assert done.returncode != 0
    assert "xen_pci_device is not a variable of xen.pci. Did you mean 'xen_pci_devices'?" in done.stdout
    assert "xl" not in done.stdout
