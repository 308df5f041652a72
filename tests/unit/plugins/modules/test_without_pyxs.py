# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module on a machine without pyxs: it says what is missing, as Ansible's modules do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

WITHOUT = (
    "import runpy, sys; sys.modules['pyxs'] = None; "
    "runpy.run_module('ansible_collections.xen.pci.plugins.modules.' + sys.argv.pop(1), run_name='__main__')"
)
MODULES: dict[str, dict[str, Any]] = {
    "assignable_devices": {"devices": ["0000:01:00.0"]},
    "domain_devices": {"domains": {"g1": {"devices": ["0000:01:00.0"]}}},
    "host_info": {},
    "repair": {},
    "host_state": {"catalog": {"nic": {"address": "0000:01:00.0"}}},
    "virtual_functions": {"physical_functions": [{"pf": "0000:01:00.0", "count": 1}]},
}


@pytest.mark.parametrize("module", MODULES)
def test_it_is_named(module: str) -> None:
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": MODULES[module]})
    command = [sys.executable, "-c", WITHOUT, module]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, env=variables, input=arguments, capture_output=True, text=True, check=False)
    result = json.loads(run.stdout)
    assert result["failed"] is True
    assert "Failed to import the required Python library (pyxs)" in result["msg"], run.stderr
