# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices stay with a pciback that is built into the kernel: by GRUB's configuration, over real reboots through GRUB.

The tests of this file are one story and run in order, on a host with all devices at dom0's drivers.
"""

from __future__ import annotations

import playbook
from independent_view import driver_in_dom0

from xenlab import Host, topology

# The driver of the first is built in too, that of the second is a module, the third has none.
NIC, NVME, EDU = topology.NICS[0], topology.NVMES[0], topology.EDUS[0]
KEPT = (NIC, NVME, EDU)
OTHERS = (topology.NICS[1], topology.NVMES[1], topology.EDUS[1])
OURS = "/etc/default/grub.d/zz-xen-pci.cfg"
OPTION = f"xen-pciback.hide=({EDU.bdf})({NVME.bdf})({NIC.bdf})"
TASK = {"devices": [part.bdf for part in KEPT], "persistent": True}


def held(host: Host) -> dict[str, str]:
    """When pciback holds each device, as host_info says."""
    facts = playbook.task(host, "xen.pci.host_info", {"gather": ["devices"]})
    return {device["address"]: device["held"] for device in facts["devices"]}


def modules_of_xen_entries(host: Host) -> list[str]:
    """The lines of grub.cfg that load a kernel for dom0."""
    return [line.strip() for line in host.run("grep -w module2 /boot/grub/grub.cfg").lines if "vmlinuz" in line]


def test_this_kernel_has_pciback_built_in(built_in_host: Host) -> None:
    host = built_in_host
    release = host.run("uname -r").stdout.strip()
    assert (
        "kernel/drivers/xen/xen-pciback/xen-pciback.ko"
        in host.run(f"cat /lib/modules/{release}/modules.builtin").stdout
    )
    assert driver_in_dom0(host, NIC.bdf) == NIC.driver
    assert driver_in_dom0(host, NVME.bdf) == NVME.driver


def test_check_mode_chooses_grub_and_writes_nothing(built_in_host: Host) -> None:
    host = built_in_host
    planned = playbook.task(host, "xen.pci.assignable_devices", TASK, options=["--check", "--diff"])
    assert planned["changed"]
    files = {one["after_header"]: one["after"] for one in planned["diff"] if "after_header" in one}
    assert [*files] == [OURS]
    assert OPTION in files[OURS]
    assert host.run(f"ls {OURS}", check=False).stdout == ""


def test_grubs_entries_for_xen_carry_the_option(built_in_host: Host) -> None:
    host = built_in_host
    done = playbook.task(host, "xen.pci.assignable_devices", TASK)
    assert done["changed"] and {one["held"] for one in done["devices"]} == {"both"}
    assert not playbook.task(host, "xen.pci.assignable_devices", TASK)["changed"]
    modules = modules_of_xen_entries(host)
    assert modules and all(line.count(OPTION) == 1 for line in modules if " single " not in line)


def test_after_a_reboot_pciback_has_them_before_their_drivers(built_in_host: Host) -> None:
    host = built_in_host
    host.reboot(timeout=1200)
    assert OPTION in host.run("cat /proc/cmdline").stdout
    for part in KEPT:
        assert driver_in_dom0(host, part.bdf) == "pciback"
    for part in OTHERS:
        assert driver_in_dom0(host, part.bdf) == part.driver
    log = host.run("dmesg").stdout
    for part in KEPT:
        assert f"pciback {part.bdf}: xen_pciback: seizing device" in log
    assert f"e1000e {NIC.bdf}" not in log and f"{NVME.bdf}: pci function" not in log, "their drivers never had them"
    seen = held(host)
    assert {seen[part.bdf] for part in KEPT} == {"both"}
    assert {seen[part.bdf] for part in OTHERS} == {"neither"}


def test_the_same_declaration_quarantines_them_and_then_changes_nothing(built_in_host: Host) -> None:
    host = built_in_host
    done = playbook.task(host, "xen.pci.assignable_devices", TASK)
    assert done["actions"] and all(action.startswith("quarantine ") for action in done["actions"]), done
    assert all(one["quarantined"] for one in done["devices"])
    assert not playbook.task(host, "xen.pci.assignable_devices", TASK)["changed"]


def test_release_takes_the_option_away(built_in_host: Host) -> None:
    host = built_in_host
    done = playbook.task(host, "xen.pci.assignable_devices", {"devices": TASK["devices"], "state": "absent"})
    assert done["changed"], done
    for part in KEPT:
        assert driver_in_dom0(host, part.bdf) == part.driver
    assert host.run(f"ls {OURS}", check=False).stdout == ""
    assert "hide=" not in "\n".join(modules_of_xen_entries(host))
    assert {held(host)[part.bdf] for part in KEPT} == {"neither"}


def test_after_another_reboot_they_are_the_hosts(built_in_host: Host) -> None:
    host = built_in_host
    host.reboot(timeout=1200)
    assert "hide=" not in host.run("cat /proc/cmdline").stdout
    for part in (*KEPT, *OTHERS):
        assert driver_in_dom0(host, part.bdf) == part.driver
