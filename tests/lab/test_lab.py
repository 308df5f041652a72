# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: what it promises to every other test."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from independent_view import driver_in_dom0

from xenlab import CommandFailed, Host, LabError, disks, machine, places, topology


def has_ended(process: int) -> bool:
    """Whether the process has given up all that it held; whether its parent has taken note is not ours to tell."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.mark.parametrize("device", topology.DEVICES, ids=lambda device: device.name)
def test_every_device_is_with_its_driver_in_dom0(host: Host, device: topology.Device) -> None:
    assert driver_in_dom0(host, device.bdf) == device.driver


@pytest.mark.parametrize("nic", (*topology.NICS, *topology.DUAL_NIC), ids=lambda nic: nic.name)
def test_nics_have_their_documented_addresses(host: Host, nic: topology.Nic) -> None:
    macs = host.run(f"cat /sys/bus/pci/devices/{nic.bdf}/net/*/address").stdout.split()
    assert macs == [nic.mac]
    serial = re.search(r"Device Serial Number (\S+)", host.run(["lspci", "-vv", "-s", nic.bdf]).stdout)
    assert serial and serial[1] == nic.device_serial


@pytest.mark.parametrize("nvme", (*topology.NVMES, topology.SRIOV_NVME), ids=lambda nvme: nvme.name)
def test_nvme_disks_hold_what_disks_py_says(host: Host, nvme: topology.Nvme) -> None:
    where = f"/sys/bus/pci/devices/{nvme.bdf}/nvme"
    serial = host.run(f"cat {where}/*/serial").stdout.strip()
    assert serial == nvme.serial
    path = host.run(f"ls -d {where}/nvme*/nvme*n1").stdout.strip().rpartition("/")[2]
    disk = re.sub(r"c\d+", "", path)  # in a subsystem a namespace has a path's name here, and its own in /dev
    read = host.run(f"dd if=/dev/{disk} bs={disks.BLOCK_SIZE} skip=77 count=1 status=none")
    assert read.stdout.encode() == disks.block(nvme.serial, 77)


def test_the_sriov_nvme_makes_virtual_functions(host: Host) -> None:
    directory = f"/sys/bus/pci/devices/{topology.SRIOV_NVME.bdf}"
    assert host.run(f"cat {directory}/sriov_totalvfs").stdout.strip() == str(topology.SRIOV_NVME.vfs)
    try:
        host.run(f"echo {topology.SOME_VFS} > {directory}/sriov_numvfs")
        found = host.run(f"ls -d {directory}/virtfn*").lines
    finally:
        host.run(f"echo 0 > {directory}/sriov_numvfs")
    assert len(found) == topology.SOME_VFS


def test_xen_has_an_iommu_and_gives_devices_away(host: Host) -> None:
    info = host.run("xl info").stdout
    assert re.search(r"xen_version +: 4\.17\.", info)
    assert "hvm_directio" in info or "pv_directio" in info
    host.run(["xl", "pci-assignable-add", topology.EDUS[0].bdf])
    try:
        assert topology.EDUS[0].bdf in host.run("xl pci-assignable-list").stdout
    finally:
        host.run(["xl", "pci-assignable-remove", "-r", topology.EDUS[0].bdf])


@pytest.mark.parametrize("plan", topology.GUESTS, ids=lambda plan: plan.name)
def test_every_guest_reports(host: Host, plan: topology.GuestPlan) -> None:
    guest = host.guest(plan.name)
    assert guest.domid > 0
    assert guest.pci() == {}
    has_pcifront = guest.run("grep -q ^xen_pcifront /proc/modules", check=False).status == 0
    assert has_pcifront == plan.pcifront
    assert guest.kernel_log().matching("Linux version")


def test_a_guest_s_exit_status_and_long_output_come_through(host: Host) -> None:
    guest = host.guest("g1")
    assert guest.run("exit 7", check=False).status == 7
    # Does not compress, so it takes many of xenstore's 2048 bytes.
    result = guest.run("dd if=/dev/urandom bs=1k count=40 2>/dev/null | od -An -tx1 | tee /tmp/random; sync")
    assert len(result.stdout) > 100_000
    checksum = guest.run("md5sum < /tmp/random").stdout.split()[0]
    assert hashlib.md5(result.stdout.encode(), usedforsecurity=False).hexdigest() == checksum
    # A long command as well, with every kind of quote.
    text = "'\"$`\\" + "x" * 5000
    assert guest.run(["printf", "%s", text]).stdout == text
    with pytest.raises(CommandFailed, match="ended with 1"):
        guest.run("false")


def test_a_silent_guest_is_named(host: Host) -> None:
    host.run(["xl", "pause", "g2"])
    try:
        result = host.guest("g2").run("true", timeout=5, check=False)
    finally:
        host.run(["xl", "unpause", "g2"])
    assert result.status == 124
    assert "g2 did not answer" in result.stderr
    assert host.guest("g2").run("echo back").stdout == "back\n"


def test_a_guest_uses_a_nic_and_an_nvme(host: Host) -> None:
    """What every play rests on: with xl alone, both devices really work in a guest."""
    nic, nvme = topology.NICS[0], topology.NVMES[0]
    guest = host.guest("g1")
    for device in (nic, nvme):
        host.run(["xl", "pci-assignable-add", device.bdf])
        host.run(["xl", "pci-attach", "g1", device.bdf])
    try:
        assert sorted(map(str, guest.pci().values())) == ["e1000e", "nvme"]
        guest.run("ip link set eth0 up; udhcpc -q -n -i eth0", timeout=120)
        before = guest.interrupts("eth0")
        guest.run(f"ping -c 3 {nic.gateway}")
        assert guest.interrupts("eth0") > before
        read = guest.run(f"dd if=/dev/nvme0n1 bs={disks.BLOCK_SIZE} skip=5 count=1 2>/dev/null")
        assert read.stdout.encode() == disks.block(nvme.serial, 5)
    finally:
        for device in (nvme, nic):
            host.run(["xl", "pci-detach", "g1", device.bdf])
            host.run(["xl", "pci-assignable-remove", "-r", device.bdf])
    assert guest.pci() == {}
    assert driver_in_dom0(host, nic.bdf) == "e1000e"


def test_logs_can_be_marked(host: Host) -> None:
    mark = host.kernel_log().mark
    host.run("echo '<4>lab: a warning' > /dev/kmsg; echo '<6>lab: a remark' > /dev/kmsg")
    news = host.kernel_log().since(mark)
    assert [line.text for line in news.warnings()] == ["lab: a warning"]
    assert news.matching("a remark")

    guest = host.guest("g3")
    mark = guest.kernel_log().mark
    guest.run("echo '<3>lab: an error' > /dev/kmsg")
    assert [line.text for line in guest.kernel_log().since(mark).warnings()] == ["lab: an error"]

    mark = host.xen_log().mark
    host.run(["xl", "debug-keys", "h"])
    assert host.xen_log().since(mark).matching("pressed -> showing installed handlers")


def test_xenstore_operations_are_recorded(host: Host) -> None:
    host.run("xenstore-write /local/domain/0/data/lab-trace here; xenstore-rm /local/domain/0/data/lab-trace")
    trace = host.run("grep lab-trace /var/log/xen/xenstored-access.log").stdout
    assert re.search(r" write +/local/domain/0/data/lab-trace here", trace)
    assert " rm " in trace


def test_ansible_reaches_dom0_by_the_inventory(host: Host) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "adhoc", "-i", host.inventory(), "-m", "ansible.builtin.ping", host.name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"pong"' in done.stdout


def test_a_stopped_host_leaves_nothing() -> None:
    """Also a second host beside the first."""
    name = f"pytest-stop-{os.getpid()}"
    host = Host.boot(name)
    process = machine.pid(host.directory)
    assert process
    with pytest.raises(LabError, match="runs already"):
        Host.boot(name)
    inventory = json.loads(host.inventory().read_text())
    assert inventory["xen"]["hosts"][name]["ansible_port"] == host.port
    host.stop()
    assert has_ended(process)
    assert not places.host(name).exists()
    remaining = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(places.host(name)) not in remaining
    with pytest.raises(LabError, match="does not run"):
        Host.get(name)
