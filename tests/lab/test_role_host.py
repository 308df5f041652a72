# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role xen.pci.host on a dom0 without pyxs and without pciback: ready after one run, unchanged by the second.

The tests of this file are one story and run in order, on a host with all devices at dom0's drivers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import playbook
import pytest
from looks import driver_in_dom0

from xenlab import Host, topology

NIC, NVME, PF = topology.NICS[0], topology.NVMES[0], topology.SRIOV_NVME
DECLARED: dict[str, Any] = {
    "xen_pci_devices": {
        "uplink-a": {"vendor": "8086", "serial": NIC.device_serial},
        "scratch": {"class": "0108", "nvme_serial": NVME.serial},
        "vf": {"pf": PF.bdf, "vf": 0},
    },
    "xen_pci_virtual_functions": [{"pf": PF.bdf, "count": PF.vfs, "drivers_autoprobe": False}],
}


def role(host: Host, *options: str) -> playbook.Run:
    play = [{"hosts": "xen", "gather_facts": False, "roles": [{"role": "xen.pci.host"}]}]
    file = host.directory / "role.json"
    file.write_text(json.dumps(play))
    return playbook.run(host, str(file), DECLARED, options)


@pytest.fixture(scope="module", autouse=True)
def _bare(host: Host) -> Iterator[None]:
    host.run("apt-get update -qq", timeout=600)
    host.run("dpkg --remove python3-pyxs; modprobe -r xen-pciback")
    yield
    names = [*DECLARED["xen_pci_devices"]]
    arguments = {"devices": names, "catalogue": DECLARED["xen_pci_devices"], "state": "absent"}
    playbook.task(host, "xen.pci.assignable_devices", arguments)
    arguments = {"physical_functions": [{"pf": PF.bdf, "count": 0}]}
    playbook.task(host, "xen.pci.virtual_functions", arguments)


def test_check_mode_says_what_is_missing_and_touches_nothing(host: Host) -> None:
    planned = role(host, "--check")
    assert planned.status == 0, planned.output
    assert planned.changed
    assert host.run("python3 -c 'import pyxs'", check=False).status == 1
    assert host.run("ls -d /sys/bus/pci/drivers/pciback", check=False).stdout == ""


def test_one_run_makes_it_ready(host: Host) -> None:
    done = role(host)
    assert done.status == 0, done.output
    assert driver_in_dom0(host, NIC.bdf) == driver_in_dom0(host, NVME.bdf) == "pciback"
    devices = done.tasks["xen.pci.host : Have pciback hold the devices"]["devices"]
    assert {one["name"] for one in devices} == {"uplink-a", "scratch", "vf"}
    assert {one["held"] for one in devices} == {"both"}
    assert host.run("grep -c hide= /etc/modprobe.d/xen-pci.conf").stdout.strip() == "1"


def test_the_second_run_changes_nothing(host: Host) -> None:
    for options in ((), ("--check",)):
        again = role(host, *options)
        assert again.status == 0, again.output
        assert not again.changed, again.output
