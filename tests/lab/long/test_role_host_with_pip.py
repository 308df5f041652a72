# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role xen.pci.host where the distribution has no pyxs: pip brings it, into an environment that the modules then use.

The tests of this file are one story and run in order, on a host with all devices at dom0's drivers.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import host_role
import playbook
import pytest
from host_role import DEVICES_TASK, NIC, NVME
from independent_view import driver_in_dom0

from xenlab import Host, topology

WHEELS = "/root/wheels"
# dom0 has no way to PyPI; what this machine's pip got from there is in a directory.
ENVIRONMENT = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS}
IN_INVENTORY = ("-e", "ansible_python_interpreter=/opt/xen-pci/bin/python")
NO_PACKAGE = "/etc/apt/preferences.d/no-pyxs"


@pytest.fixture(scope="module", autouse=True)
def _bare(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    _send_wheels(host, tmp_path_factory.mktemp("wheels"))
    host_role.make_bare(host)
    host.run(f"printf 'Package: python3-pyxs\\nPin: release *\\nPin-Priority: -1\\n' > {NO_PACKAGE}")
    yield
    host.run(f"rm {NO_PACKAGE}; apt-get install -qq python3-pyxs; rm -rf {WHEELS} /opt/xen-pci", timeout=600)
    host_role.rollback(host)


def _send_wheels(host: Host, directory: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", directory / "wheels", "pyxs"], check=True)
    with tarfile.open(directory / "wheels.tar.gz", "w:gz") as tar:
        tar.add(directory / "wheels", ".")
    host.run(["mkdir", WHEELS])
    host.unpack(directory / "wheels.tar.gz", WHEELS)


def test_one_run_makes_it_ready(host: Host) -> None:
    done = host_role.run(host, environment=ENVIRONMENT)
    assert done.status == 0, done.output
    assert host.run("python3 -c 'import pyxs'", check=False).status == 1, "the distribution's Python is as it was"
    assert driver_in_dom0(host, NIC.bdf) == driver_in_dom0(host, NVME.bdf) == "pciback"
    assert {one["held"] for one in done.tasks[DEVICES_TASK]["devices"]} == {"both"}


@pytest.mark.parametrize("options", [(), IN_INVENTORY], ids=["found by the role", "in the inventory"])
def test_the_second_run_changes_nothing(host: Host, options: tuple[str, ...]) -> None:
    for mode in ((), ("--check",)):
        again = host_role.run(host, *mode, *options, environment=ENVIRONMENT)
        assert again.status == 0, again.output
        assert not again.changed, again.output
        assert DEVICES_TASK in again.tasks, "the role went to its end"


def test_modules_work_with_that_interpreter(host: Host) -> None:
    facts = playbook.task(host, "xen.pci.host_info", {"gather": ["domains"]}, options=IN_INVENTORY)
    assert {domain["name"] for domain in facts["domains"]} == {guest.name for guest in topology.GUESTS}
