# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices stay with pciback over a real reboot of the host, and go back to their drivers.

That this is for good too takes one more reboot: see long/test_reboot_after_release.py.

The tests of this file are one story and run in order, on a host with all devices at dom0's drivers.
"""

from __future__ import annotations

from collections.abc import Iterator

import playbook
import pytest
from independent_view import driver_in_dom0

from xenlab import Host, topology

NIC, NVME, EDU = topology.NICS[0], topology.NVMES[0], topology.EDUS[0]
KEPT = (NIC, NVME, EDU)
OTHERS = (topology.NICS[1], topology.NVMES[1], topology.EDUS[1])
BROUGHT = topology.NICS[2]
OURS = "/etc/modprobe.d/xen-pci.conf /etc/modules-load.d/xen-pci.conf"


def names(*parts: topology.Device) -> list[str]:
    return [part.bdf for part in parts]


def held(host: Host) -> dict[str, str]:
    """When pciback holds each device, as host_info says."""
    facts = playbook.task(host, "xen.pci.host_info", {"gather": ["devices"]})
    return {device["address"]: device["held"] for device in facts["devices"]}


@pytest.fixture(scope="module", autouse=True)
def _clean(host: Host) -> Iterator[None]:
    yield
    playbook.task(host, "xen.pci.assignable_devices", {"devices": names(*KEPT, BROUGHT), "state": "absent"})


def test_check_mode_shows_the_files_and_writes_none(host: Host) -> None:
    task = {"devices": names(*KEPT), "persistent": True}
    planned = playbook.task(host, "xen.pci.assignable_devices", task, options=["--check", "--diff"])
    assert planned["changed"]
    assert {one["held"] for one in planned["devices"]} == {"both"}
    files = {one["after_header"]: one["after"] for one in planned["diff"] if "after_header" in one}
    assert f"hide=({EDU.bdf})({NVME.bdf})({NIC.bdf})\n" in files["/etc/modprobe.d/xen-pci.conf"]
    assert "softdep e1000e pre: xen-pciback" in files["/etc/modprobe.d/xen-pci.conf"]
    assert host.run(f"ls {OURS}", check=False).stdout == ""
    assert driver_in_dom0(host, NIC.bdf) == NIC.driver


def test_four_values_of_now_and_after_a_reboot(host: Host) -> None:
    task = {"devices": names(*KEPT), "persistent": True}
    done = playbook.task(host, "xen.pci.assignable_devices", task)
    assert done["changed"] and {one["held"] for one in done["devices"]} == {"both"}
    assert not playbook.task(host, "xen.pci.assignable_devices", task)["changed"]
    playbook.task(host, "xen.pci.assignable_devices", {"devices": names(BROUGHT)})
    host.run(f"xl pci-assignable-remove -r {EDU.bdf}")
    seen = held(host)
    assert [seen[part.bdf] for part in (NIC, BROUGHT, EDU, OTHERS[0])] == ["both", "now", "after_reboot", "neither"]


def test_after_a_reboot_pciback_has_them_before_their_drivers(host: Host) -> None:
    host.reboot()
    for part in KEPT:
        assert driver_in_dom0(host, part.bdf) == "pciback"
    for part in (*OTHERS, BROUGHT):
        assert driver_in_dom0(host, part.bdf) == part.driver
    log = host.run("dmesg").stdout
    assert f"{NIC.bdf}: xen_pciback: seizing device" in log
    assert f"e1000e {NIC.bdf}" not in log, "its driver never had it"
    assert {held(host)[part.bdf] for part in KEPT} == {"both"}


def test_what_they_told_before_the_reboot_is_remembered(host: Host) -> None:
    catalog = {"scratch": {"nvme_serial": NVME.serial}, "uplink": {"mac": NIC.mac}}
    found = playbook.task(
        host, "xen.pci.assignable_devices", {"devices": [*catalog], "catalog": catalog}, options=["--check"]
    )
    assert {one["name"]: one["address"] for one in found["devices"]} == {"scratch": NVME.bdf, "uplink": NIC.bdf}
    assert sum("an earlier boot read" in str(warning) for warning in found["warnings"]) == len(catalog)


def test_the_same_declaration_quarantines_them_again_and_then_changes_nothing(host: Host) -> None:
    task = {"devices": names(*KEPT), "persistent": True}
    done = playbook.task(host, "xen.pci.assignable_devices", task)
    assert all(action.startswith("quarantine ") for action in done["actions"]), done
    assert all(one["quarantined"] for one in done["devices"])
    assert not playbook.task(host, "xen.pci.assignable_devices", task)["changed"]


def test_a_guest_gets_such_a_device_and_a_reset_precedes_its_way_back_to_the_driver(host: Host) -> None:
    for devices in ([NIC.bdf], []):
        given = playbook.task(
            host, "xen.pci.domain_devices", {"domains": {"g1": {"devices": devices}}, "exclusive": True, "timeout": 300}
        )
        assert given["changed"], given
    done = playbook.task(host, "xen.pci.assignable_devices", {"devices": names(*KEPT), "state": "absent"})
    assert done["changed"], done
    assert any(action.startswith(f"reset {NIC.bdf}, which g1 had; release") for action in done["actions"])
    assert not any(action.startswith(f"reset {NVME.bdf}") for action in done["actions"])
    # Nobody recorded their drivers since the boot: the kernel finds them by what the devices are.
    for part in KEPT:
        assert driver_in_dom0(host, part.bdf) == part.driver
    assert {held(host)[part.bdf] for part in KEPT} == {"neither"}
    assert host.run(f"ls {OURS}", check=False).stdout == ""
