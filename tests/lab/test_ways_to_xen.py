# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rights given and taken through Xen's own Python binding; all other tests go through libxenctrl."""

from __future__ import annotations

import playbook
from independent_view import attached_by_xl, driver_in_dom0, drivers, read_block, traces_of

from xenlab import Host, disks, topology

NVME = topology.NVMES[0]
NIC = topology.NICS[3]


def test_the_binding_does_it_too(host: Host) -> None:
    where = host.run("ls -d /usr/lib/xen-*/lib/python").stdout.strip()
    binding = {"PYTHONPATH": where}
    devices = [NVME.bdf, NIC.bdf]
    assert host.run(f"PYTHONPATH={where} python3 -c 'import xen.lowlevel.xc'").status == 0

    for environment in (binding, {}):
        said = playbook.task(host, "xen.pci.host_info", {"gather": ["domains"]}, environment)["host"]["xen"]
        assert (said["iommu"], said["interrupt_remapping"]) == (True, True)
        assert said["dom0_iommu"] in ("relaxed", "")  # other tests clear Xen's log

    taken = playbook.task(host, "xen.pci.assignable_devices", {"devices": devices}, binding)
    assert not taken["failed"], taken["msg"]
    assert taken["changed"], taken["actions"]
    given = playbook.task(
        host,
        "xen.pci.domain_devices",
        {"domains": {"g1": {"devices": devices}}, "converge": "active", "timeout": 300},
        binding,
    )
    assert not given["failed"], given["msg"]
    assert drivers(host.guest("g1")) == ["e1000e", "nvme"]
    assert read_block(host.guest("g1"), NVME, 8) == disks.block(NVME.serial, 8)

    gone = {"domains": {"g1": {"devices": [], "exclusive": True}}}
    assert playbook.task(host, "xen.pci.domain_devices", gone, binding)["changed"]
    assert attached_by_xl(host, "g1") == set()
    assert traces_of(host, (NVME, NIC)) == []
    back = playbook.task(host, "xen.pci.assignable_devices", {"devices": devices, "state": "absent"}, binding)
    assert not back["failed"], back["msg"]
    assert [driver_in_dom0(host, bdf) for bdf in devices] == ["nvme", "e1000e"]
