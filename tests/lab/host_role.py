# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs role xen.pci.host on a lab host with one declaration, and takes back what the role did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import playbook

from xenlab import Host, topology

NIC, NVME, PF = topology.NICS[0], topology.NVMES[0], topology.SRIOV_NVME
DECLARED: Mapping[str, Any] = {
    "xen_pci_devices": {
        "uplink-a": {"vendor": "8086", "serial": NIC.device_serial},
        "scratch": {"class": "0108", "nvme_serial": NVME.serial},
        "vf": {"pf": PF.bdf, "vf": 0},
    },
    "xen_pci_virtual_functions": [{"pf": PF.bdf, "count": topology.SOME_VFS, "drivers_autoprobe": False}],
}
DEVICES_TASK = "xen.pci.host : Create virtual functions and have pciback hold the devices"


def run(host: Host, *options: str, environment: Mapping[str, str] | None = None) -> playbook.Run:
    """Run the role, with more environment variables if given."""
    play = {"hosts": "xen", "gather_facts": False, "roles": ["xen.pci.host"], "environment": dict(environment or {})}
    file = host.directory / "role.json"
    file.write_text(json.dumps([play]))
    return playbook.run(host, str(file), DECLARED, options)


def make_bare(host: Host) -> None:
    """A host that no role has seen: no pyxs, no pciback, and packages can be installed."""
    host.run("apt-get update -qq", timeout=600)
    host.run("dpkg --remove python3-pyxs; modprobe -r xen-pciback")


def rollback(host: Host) -> None:
    """Give the devices back to dom0's drivers. Needs pyxs."""
    arguments: dict[str, Any] = {
        "devices": [*DECLARED["xen_pci_devices"]],
        "catalog": DECLARED["xen_pci_devices"],
        "state": "absent",
    }
    playbook.task(host, "xen.pci.assignable_devices", arguments)
    playbook.task(host, "xen.pci.virtual_functions", {"physical_functions": [{"pf": PF.bdf, "count": 0}]})
