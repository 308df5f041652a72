# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules return is what their RETURN blocks say, whether they succeed, only look, or refuse."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from short_path import short_directory

from simulated_xen import daemon

MODULES = "ansible_collections.xen.pci.plugins.modules"
NIC, DISK, SRIOV = "0000:01:00.0", "0000:00:1f.2", "0000:05:00.0"
#: What every module may return, documented by Ansible.
COMMON = {"changed", "failed", "msg", "diff", "warnings", "invocation", "exception"}
TYPES = {"list": list, "str": str, "int": int, "bool": bool, "dict": dict, "float": float}
ABSENT = {"gone": {"serial": "00-00-00-00-00-00-00-01", "required": False}}
RUNS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("host_info", {}),
    ("host_info", {"gather": ["snapshot"], "config_files": ["/no/such.cfg"]}),
    ("assignable_devices", {"devices": [DISK]}),
    ("assignable_devices", {"devices": [NIC, "gone"], "catalog": ABSENT}),
    ("domain_devices", {"domains": {"nobody": {"devices": [NIC]}}}),
    ("domain_devices", {"domains": {"g1": {"devices": ["gone"]}}, "catalog": ABSENT}),
    ("domain_devices", {"domains": {"g3": {"devices": [NIC]}}, "timeout": 1}),
    ("domain_devices", {"domains": {"g1": {"devices": [NIC]}}}),
    ("virtual_functions", {"physical_functions": [{"pf": NIC, "count": 1}]}),
    ("virtual_functions", {"physical_functions": [{"pf": SRIOV, "count": 1}]}),
    ("host_state", {"domains": {"g1": {"devices": ["00:00.0"]}}}),
    ("host_state", {"catalog": {"nic": {"address": NIC}}, "domains": {"g1": {"devices": ["nic"]}}}),
    ("host_state", {"virtual_functions": [{"pf": SRIOV, "count": 1}], "release_undeclared": True}),
    ("repair", {"domains": ["nobody"]}),
    ("repair", {}),
)
#: What stands in a block under these words is in every answer but those that say no more than why nothing was done.
ALWAYS = ("success", "unless ", "when the declaration was not refused")


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with short_directory() as directory:
        try:
            variables = daemon.start("small-server", directory / "h").environment()
            variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], *sys.path])
            yield {**os.environ, **variables}
        finally:
            daemon.stop(directory / "h")


def strange(answer: Mapping[str, Any], block: Mapping[str, Any], where: str = "") -> list[str]:
    """What an answer has that the block does not say, or not of this type."""
    found = []
    for key, value in answer.items():
        said = block.get(key)
        if said is None:
            found += [] if not where and key in COMMON else [f"{where}{key} is not documented"]
            continue
        if value is not None and not isinstance(value, TYPES[said["type"]]):
            found.append(f"{where}{key} is {value!r}, no {said['type']}")
        if "choices" in said and value is not None and value not in said["choices"]:
            found.append(f"{where}{key} is {value!r}")
        if "contains" in said:
            for one in value if isinstance(value, list) else [value]:
                found += strange(one, said["contains"], f"{where}{key}.")
    return found


@pytest.mark.parametrize("run", RUNS, ids=[f"{name} {number}" for number, (name, _given) in enumerate(RUNS)])
def test_what_is_returned_is_what_is_documented(environment: dict[str, str], run: tuple[str, dict[str, Any]]) -> None:
    name, given = run
    block = yaml.safe_load(importlib.import_module(f"{MODULES}.{name}").RETURN)
    for check in (True, False):
        done = subprocess.run(
            [sys.executable, "-m", f"{MODULES}.{name}"],
            env=environment,
            input=json.dumps({"ANSIBLE_MODULE_ARGS": {**given, "_ansible_check_mode": check, "_ansible_diff": True}}),
            capture_output=True,
            text=True,
            check=False,
        )
        answer = json.loads(done.stdout)
        assert strange(answer, block) == []
        if not answer.get("failed"):
            due = {key for key, said in block.items() if said["returned"].startswith(ALWAYS)}
            assert due <= set(answer), answer
