# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The groups for module_defaults: catalog and timeout are set once, for all modules that take them and no others."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkouts import ROOT
from declared_host import declared_host

from ansible_collections.xen.pci.plugins.doc_fragments.attributes import ModuleDocFragment

GROUPS: dict[str, list[str]] = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py") if path.stem != "__init__")
NIC = "0000:01:00.0"
PLAY = f"""
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/xen.pci.declare:
      catalog: {{uplink: "{NIC}"}}
      timeout: 90
  tasks:
    - xen.pci.assignable_devices: {{devices: [uplink]}}
    - xen.pci.domain_devices: {{domains: {{web01: {{devices: [uplink]}}}}}}
    - xen.pci.host_info:
    - xen.pci.repair:
"""


def documentation(module: str) -> Any:
    return yaml.safe_load(
        importlib.import_module(f"ansible_collections.xen.pci.plugins.modules.{module}").DOCUMENTATION
    )


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_in_the_groups_whose_options_it_takes(module: str) -> None:
    documented = documentation(module)
    fragments = documented["extends_documentation_fragment"]
    takes_both = "xen.pci.catalog" in fragments and "timeout" in documented.get("options", {})
    assert (module in GROUPS["declare"]) is takes_both
    assert module in GROUPS["pci"]
    (fragment,) = [one.rpartition(".")[2] for one in fragments if "actiongroup" in one]
    said = yaml.safe_load(getattr(ModuleDocFragment, fragment.upper()))["attributes"]["action_group"]["membership"]
    assert said == [f"xen.pci.{name}" for name, members in sorted(GROUPS.items()) if module in members]


def test_a_play_sets_the_catalog_once(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    with declared_host([{"at": NIC[5:], "model": "e1000e"}], domains=[{"name": "web01"}]) as host:
        done = subprocess.run(
            [
                *(Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "-c", "local"),
                *("-e", f"ansible_python_interpreter={host.directory}/bin/ansible-python", tmp_path / "play.yml"),
            ],
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build/collections")},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert [one["address"] for one in host.domain("web01")["devices"]] == [NIC]
