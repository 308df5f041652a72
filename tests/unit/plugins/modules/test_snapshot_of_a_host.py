# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshot that host_info takes of simulated hosts can be read anywhere, and says all that the facts say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkouts import ROOT
from fake_ip import FakeIp
from short_path import short_directory

from ansible_collections.xen.pci.plugins.module_utils.model.snapshot import from_json, to_json
from ansible_collections.xen.pci.plugins.module_utils.plan.device_facts import all_facts
from ansible_collections.xen.pci.plugins.module_utils.plan.host_facts import domain_facts, host_facts
from simulated_xen import daemon
from simulated_xen.host.machine import SHIPPED

MODULE = "ansible_collections.xen.pci.plugins.modules.host_info"
MACHINES = sorted([*SHIPPED.glob("*.json"), *(ROOT / "extensions/molecule/machines").glob("*.yml")])


@pytest.fixture(params=MACHINES, ids=lambda machine: machine.stem)
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    with short_directory() as directory:
        try:
            variables = daemon.start(str(request.param), directory / "h").environment()
            variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], *sys.path])
            FakeIp(directory / "h")
            yield {**os.environ, **variables}
        finally:
            daemon.stop(directory / "h")


def host_info(environment: dict[str, str], **options: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", MODULE],
        env=environment,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_snapshot_says_all_that_the_facts_say(environment: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "caf\N{LATIN SMALL LETTER E WITH ACUTE}.cfg"
    config.write_bytes(b'name = "caf\xe9"\n')
    answer = host_info(
        environment, gather=["devices", "domains", "snapshot"], config_files=[str(config), str(tmp_path / "none.cfg")]
    )
    host = from_json(answer["snapshot"])
    assert to_json(host) == answer["snapshot"]
    devices = [{name: value for name, value in one.items() if not name.startswith("held")} for one in answer["devices"]]
    assert all_facts(host) == devices
    assert [domain_facts(domain, host.xen) for domain in host.domains.values()] == answer["domains"]
    assert host_facts(host) == answer["host"]
    assert host.groups.keys() <= host.devices.keys() == host.boot.modules.keys()
    assert host.functions.keys() == {sbdf for sbdf, device in host.devices.items() if device.sriov_totalvfs}
    assert host.config_files == {str(config): 'name = "caf\udce9"\n'}
    assert list(host.unreadable_files) == [str(tmp_path / "none.cfg")]
