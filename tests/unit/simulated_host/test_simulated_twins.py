# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains of one name, dying ones, and what dead ones leave, as a machine's description and the command make them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from short_path import short_directory

from simulated_xen import cli, daemon

TWIN = "5f1c3a52-8d0e-4c1b-9a57-0d6f3b2e7c11"
MACHINE = {
    "domains": [
        {"name": "web01"},
        {"name": "web01", "twin": True, "uuid": TWIN},
        {"name": "db01", "manager": "libvirt"},
    ]
}
#: Asks the simulated Xen as the real binding is asked.
ASK = "from xen.lowlevel import xc; import json; print(json.dumps(xc.xc().domain_getinfo(0, 10)))"


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as parent:
        machine = parent / "machine.json"
        machine.write_text(json.dumps(MACHINE))
        daemon.start(str(machine), parent / "h")
        yield parent / "h"
        daemon.stop(parent / "h")


def xen_lists(directory: Path) -> list[dict[str, Any]]:
    environment = {**os.environ, **daemon.RunDirectory(directory).environment()}
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_xen_tells_them_apart(directory: Path) -> None:
    found = xen_lists(directory)
    assert [(one["domid"], one["dying"]) for one in found] == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert bytes(found[2]["handle"]).hex() == TWIN.replace("-", "") != bytes(found[1]["handle"]).hex()
    records = sorted(path.name.rpartition(".")[2] for path in (directory / "var/lib/xen").iterdir())
    assert records == ["libvirt-xml", "libxl-json", "libxl-json", "libxl-json"]


def test_a_domain_can_die_without_being_gone(directory: Path) -> None:
    assert cli.main(["domain", "--dir", str(directory), "destroy", "2", "zombie=true"]) == 0
    assert cli.main(["domain", "--dir", str(directory), "destroy", "1", "leave=true"]) == 0
    assert [(one["domid"], one["dying"]) for one in xen_lists(directory)] == [(0, 0), (2, 1), (3, 0)]
    left = sorted(path.name.split(".")[1] for path in (directory / "var/lib/xen").glob("*.libxl-json"))
    assert left == ["1", "3"]
