# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role xen.pci.host on a dom0 without pyxs and without pciback: ready after one run, unchanged by the second.

The tests of this file are one story and run in order, on a host with all devices at dom0's drivers.
"""

from __future__ import annotations

from collections.abc import Iterator

import host_role
import pytest
from host_role import DEVICES_TASK, NIC, NVME
from independent_view import driver_in_dom0

from xenlab import Host


@pytest.fixture(scope="module", autouse=True)
def _bare(host: Host) -> Iterator[None]:
    host_role.make_bare(host)
    yield
    host_role.rollback(host)


def test_check_mode_says_what_is_missing_and_touches_nothing(host: Host) -> None:
    planned = host_role.run(host, "--check")
    assert planned.status == 0, planned.output
    assert planned.changed
    assert "load xen-pciback" in planned.tasks[DEVICES_TASK]["actions"], "all is shown, though nothing is there yet"
    assert len(planned.tasks[DEVICES_TASK]["devices"]) == len(host_role.DECLARED["xen_pci_devices"])
    assert host.run("ls -d /tmp/xen-pci-check*", check=False).stdout == ""
    assert host.run("python3 -c 'import pyxs'", check=False).status == 1
    assert host.run("ls -d /sys/bus/pci/drivers/pciback", check=False).stdout == ""


def test_one_run_makes_it_ready(host: Host) -> None:
    done = host_role.run(host)
    assert done.status == 0, done.output
    assert driver_in_dom0(host, NIC.bdf) == driver_in_dom0(host, NVME.bdf) == "pciback"
    devices = done.tasks[DEVICES_TASK]["devices"]
    assert {one["name"] for one in devices} == {"uplink-a", "scratch", "vf"}
    assert {one["held"] for one in devices} == {"both"}
    assert host.run("grep -c hide= /etc/modprobe.d/xen-pci.conf").stdout.strip() == "1"


def test_the_second_run_changes_nothing(host: Host) -> None:
    for options in ((), ("--check",)):
        again = host_role.run(host, *options)
        assert again.status == 0, again.output
        assert not again.changed, again.output
