# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that were kept for pciback and released again are the host's after a reboot, from the start."""

from __future__ import annotations

import playbook
from independent_view import driver_in_dom0

from xenlab import Host, topology

KEPT = (topology.NICS[0], topology.NVMES[0], topology.EDUS[0])


def test_what_was_released_is_the_hosts_after_a_reboot(host: Host) -> None:
    devices = [part.bdf for part in KEPT]
    for how in ({"persistent": True}, {"state": "absent"}):
        done = playbook.task(host, "xen.pci.assignable_devices", {"devices": devices, **how})
        assert done["changed"], done
    host.reboot()
    log = host.run("dmesg").stdout
    for part in KEPT:
        assert driver_in_dom0(host, part.bdf) == part.driver
        assert f"{part.bdf}: xen_pciback: seizing device" not in log
