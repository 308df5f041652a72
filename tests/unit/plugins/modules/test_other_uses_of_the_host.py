# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host may need though nothing is mounted or up: keyboards and others on USB, data, open device nodes."""

from __future__ import annotations

from typing import Any

import pytest
from own_machine import DescribedHost, described_host, refused

USB, SATA, NVME, GPU, SOUND, BLUETOOTH = (
    *("0000:00:14.0", "0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0", "0000:05:00.0"),
)
DEVICES = [
    {"at": "00:00.0", "model": "host-bridge"},
    {"at": "00:14.0", "model": "xhci"},
    {"at": "01:00.0", "model": "ahci", "name": "sdb"},
    {"at": "02:00.0", "model": "nvme", "serial": "S1"},
    {"at": "03:00.0", "model": "gpu"},
    {"at": "04:00.0", "model": "hd-audio"},
    {"at": "05:00.0", "model": "xhci"},
]
BUS = f"sys/devices/pci0000:00/{USB}/usb1/1-2"
HUB = f"{BUS}/1-2.4/1-2.4:1.0"
INPUT = f"{HUB}/0003:046D:C31C.0001/input/input5"
KEYBOARD = {f"{INPUT}/event5/": "", f"{INPUT}/capabilities/ev": "120013", f"{INPUT}/name": "A Keyboard"}
LISTED = "I: Bus=0003\nH: Handlers=sysrq kbd event5 leds \n\n"


def at(files: dict[str, str], links: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return {"devices": DEVICES, "files": files, "links": links or {}, **more}


def link(path: str) -> dict[str, str]:
    return {f"sys/class/input/{path.rpartition('/')[2]}": path}


def device_at(base: str, kind: str, name: str, number: str) -> dict[str, Any]:
    """A device node below a function: its place in sysfs and in its class."""
    place = f"sys/devices/pci0000:00/{base}/{kind}/{name}"
    return {"files": {f"{place}/dev": number}, "links": {f"sys/class/{kind}/{name}": place}}


def opened(target: str, pid: int = 812, command: str = "Xorg") -> dict[str, Any]:
    return {"files": {f"proc/{pid}/comm": f"{command}\n"}, "links": {f"proc/{pid}/fd/7": target}}


def together(*parts: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"devices": DEVICES, "files": {}, "links": {}}
    for part in parts:
        found["files"] |= part["files"]
        found["links"] |= part["links"]
    return found


def others(host: DescribedHost, address: str) -> set[str]:
    """The checks that refuse it, without what devices of this machine share."""
    return set(host.checks(address)) - {"shared-interrupt"}


def take(host: DescribedHost, address: str, **waive: str) -> dict[str, Any]:
    entry = {"address": address, "waive": {"shared-interrupt": "known", **waive}}
    return host.run("assignable_devices", devices=["it"], catalog={"it": entry})


@pytest.mark.parametrize(
    "files",
    [
        KEYBOARD,
        {f"{INPUT}/event5/": "", "proc/bus/input/devices": LISTED},
        {f"{INPUT}/name": "B", "proc/bus/input/devices": f"S: Sysfs=/{INPUT.partition('/')[2]}\n{LISTED}"},
        {f"{INPUT}/capabilities/ev": "3", f"{INPUT}/capabilities/key": "10000 7 ff9f207ac14057ff fffffffffffffffe"},
        {f"{INPUT}/name": "C", "run/udev/data/+input:input5": "E:ID_INPUT=1\nE:ID_INPUT_KEYBOARD=1\n"},
        {f"{INPUT}/mouse0/": "", f"{INPUT}/capabilities/ev": "17"},
    ],
)
def test_a_keyboard_behind_a_usb_controller_is_input_of_the_host(files: dict[str, str]) -> None:
    with described_host(at(files, link(INPUT))) as host:
        assert host.checks(USB)["input"] is True
        assert ("input", USB) in refused(take(host, USB))
        assert host.device(USB)["driver"] == "xhci_hcd" and not host.device(USB)["free"]
        assert others(host, BLUETOOTH) == set()
        assert take(host, USB, input="the host is managed by serial line")["changed"]


@pytest.mark.parametrize(
    "files",
    [
        {
            f"{INPUT}/capabilities/ev": "3",
            "proc/bus/input/devices": "H: Handlers=kbd event5 \n\n",
            f"{INPUT}/event5/": "",
        },
        {f"{INPUT}/capabilities/ev": "21", f"{INPUT}/capabilities/sw": "140"},
    ],
)
def test_buttons_and_jacks_are_no_keyboards(files: dict[str, str]) -> None:
    with described_host(at(files, link(INPUT))) as host:
        assert others(host, USB) == set()


def test_a_keyboard_that_a_program_connects_by_bluetooth_needs_the_adapter() -> None:
    keyboard = "sys/devices/virtual/misc/uhid/0005:046D:B342.0003/input/input9"
    files = {f"{keyboard}/capabilities/ev": "120013", f"{keyboard}/id/bustype": "0005"}
    adapter = f"sys/devices/pci0000:00/{BLUETOOTH}/usb2/2-1/2-1:1.0/bluetooth/hci0"
    links = {**link(keyboard), "sys/class/bluetooth/hci0": adapter}
    with described_host(at({**files, f"{adapter}/": ""}, links)) as host:
        assert others(host, BLUETOOTH) == {"input"}
        assert others(host, USB) == set()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (f"{HUB}/bInterfaceClass", "0b"),
        (f"{HUB}/0003:051D:0002.0001/report_descriptor", "\x05\udc84\x09\x04"),
        (f"{HUB}/0003:1050:0120.0001/report_descriptor", "\x06\udcd0\udcf1\x09"),
        (f"{HUB}/usbmisc/hiddev0/dev", "180:0"),
    ],
)
def test_what_else_on_usb_the_host_may_need_is_named(file: str, text: str) -> None:
    with described_host(at({file: text, f"{BUS}/1-2.4/product": "Reader 5\0"})) as host:
        assert host.checks(USB)["peripheral"] is True
        assert "Reader 5" in host.device(USB)["peripherals"][0]


def test_a_disk_and_an_interface_on_usb_are_the_hosts() -> None:
    disk, card = f"{BUS}/1-2:1.0/host9/target9:0:0/9:0:0:0/block/sdz", f"{BUS}/1-2:1.1/net/usb0"
    files = {f"{disk}/dev": "65:144", "proc/self/mountinfo": "30 1 65:144 / /srv rw shared:1 - ext4 /dev/sdz rw\n"}
    files |= {f"{card}/flags": "0x1003", f"{card}/address": "02:00:00:00:00:09"}
    route = "usb0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0"
    files["proc/net/route"] = f"Iface\tDestination\n{route}\n"
    links = {"sys/class/block/sdz": disk, "sys/class/net/usb0": card}
    with described_host(at(files, links)) as host:
        assert others(host, USB) == {"disk", "network"}
        # No address of this host is that of the connection: each card in use may carry it.
        assert host.checks(USB, "10.9.0.5 50000 10.9.0.30 22")["connection"] is False


def test_what_is_connected_over_thunderbolt_goes_with_its_controller() -> None:
    dock = f"sys/devices/pci0000:00/{BLUETOOTH}/domain0/0-0/0-1"
    files = {f"{dock}/vendor_name": "Dell", f"{dock}/device_name": "Dock", **KEYBOARD}
    files[f"sys/bus/pci/devices/{USB}/removable"] = "removable"
    links = {"sys/bus/thunderbolt/devices/0-1": dock, **link(INPUT)}
    links["sys/bus/thunderbolt/devices/0-0"] = dock.rpartition("/")[0]
    with described_host(at(files, links)) as host:
        assert others(host, BLUETOOTH) == {"peripheral", "input"}
        assert host.device(BLUETOOTH)["peripherals"] == ["Thunderbolt device Dell Dock"]


SIGNATURES = {
    "LVM": "E:ID_FS_TYPE=LVM2_member\nE:ID_FS_USAGE=raid\n",
    "RAID": "E:ID_FS_TYPE=linux_raid_member\nE:ID_FS_USAGE=raid\nE:ID_FS_LABEL=host:0\n",
    "LUKS": "E:ID_FS_TYPE=crypto_LUKS\nE:ID_FS_USAGE=crypto\n",
    "ZFS": "E:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=tank\n",
    "btrfs": "E:ID_FS_TYPE=btrfs\nE:ID_FS_USAGE=filesystem\n",
    "Ceph": "E:ID_FS_TYPE=ceph_bluestore\nE:ID_FS_USAGE=other\n",
    "swap": "E:ID_FS_TYPE=swap\nE:ID_FS_USAGE=other\n",
    "DRBD": "E:ID_FS_TYPE=drbd\n",
    "VMFS": "E:ID_FS_TYPE=VMFS\n",
    "bcache": "E:ID_FS_TYPE=bcache\n",
    "several": "E:ID_FS_AMBIVALENT=filesystem:ext4:1.0 raid:linux_raid_member:1.2\n",
    "unknown": "E:ID_FS_USAGE=raid\n",
    "table": "E:ID_PART_TABLE_TYPE=gpt\n",
}


def test_data_on_a_disk_is_a_use_though_nothing_is_mounted() -> None:
    disks = {f"0000:06:{number:02x}.0": text for number, text in enumerate(SIGNATURES.values())}
    letters = dict(zip(disks, "cdefghijklmnopqrs", strict=False))
    more = [{"at": disk[5:], "model": "ahci", "name": f"sd{letters[disk]}"} for disk in disks]
    files = {f"run/udev/data/b8:{16 * (ord(letters[disk]) - ord('a'))}": text for disk, text in disks.items()}
    with described_host({**at(files), "devices": [*DEVICES, *more]}) as host:
        found = {one["address"]: one for one in host.run("host_info")["devices"]}
        for disk, kind in zip(disks, SIGNATURES, strict=True):
            checks = {one["check"]: one["waivable"] for one in found[disk]["refusals"]}
            assert checks.get("data") is True, kind
            assert "disk" not in checks and not found[disk]["free"]
        assert "data" not in {one["check"] for one in found[SATA]["refusals"]}
        disk = next(iter(disks))
        assert ("data", disk) in refused(take(host, disk))
        assert take(host, disk, data="old volumes, not needed", **{"shared-page": "known"})["changed"]


@pytest.mark.parametrize(
    ("on_partition", "refuses"), [("E:ID_FS_TYPE=LVM2_member\n", True), ("E:DEVTYPE=partition\n", True)]
)
def test_data_on_a_partition_and_a_table_count(on_partition: str, refuses: bool) -> None:
    disk = f"sys/bus/pci/devices/{SATA}/ata1/host0/target0:0:0/0:0:0:0/block/sdb"
    files = {f"{disk}/sdb1/partition": "1", f"{disk}/sdb1/dev": "8:17", "run/udev/data/b8:17": on_partition}
    links = {"sys/class/block/sdb1": f"sys/devices/pci0000:01/{SATA}/ata1/host0/target0:0:0/0:0:0:0/block/sdb/sdb1"}
    with described_host(at(files, links)) as host:
        assert ("data" in others(host, SATA)) == refuses
        assert len(host.device(SATA)["data"]) == 1


@pytest.mark.parametrize(
    ("content", "blkid", "refuses"),
    [
        ("\0" * 4096, "exit 4", False),
        ("\0" * 4000 + "x", "exit 4", True),
        (None, "exit 4", True),
        ("x", "exit 2", False),
        ("x", "echo ID_FS_TYPE=LVM2_member", True),
        ("x", "echo ID_PART_TABLE_TYPE=gpt", True),
        ("x", "exit 8", True),
    ],
)
def test_where_udev_has_not_looked_blkid_does_or_the_disk_is_read(
    content: str | None, blkid: str, refuses: bool
) -> None:
    number = f"sys/bus/pci/devices/{SATA}/ata1/host0/target0:0:0/0:0:0:0/block/sdb/dev"
    files = {number: "8:99", "bin/blkid": f"#!/bin/sh\n{blkid}\n"}
    with described_host(at(files | ({} if content is None else {"dev/sdb": content}))) as host:
        assert others(host, SATA) == ({"data"} if refuses else set())
        assert others(host, NVME) == set(), "udev has looked at this one"


def test_a_pool_does_not_choose_a_disk_with_data() -> None:
    pool = {"select": "[?starts_with(class, '01')]", "count": 1}
    with described_host(at({"run/udev/data/b8:16": SIGNATURES["LVM"]})) as host:
        result = host.run("assignable_devices", devices=["any"], catalog={"any": pool})
        assert [one["address"] for one in result["devices"]] == [NVME]


NODES = [
    (GPU, "drm", "card0", "226:0", "/dev/dri/card0"),
    (GPU, "drm", "renderD128", "226:128", "/dev/dri/renderD128 (deleted)"),
    (SOUND, "sound", "pcmC0D0p", "116:3", "/dev/snd/pcmC0D0p"),
    (NVME, "nvme-generic", "ng0n1", "240:0", "/dev/ng0n1"),
    (NVME, "nvme", "nvme5", "241:0", "/dev/nvme5"),
    (SATA, "scsi_tape", "st0", "9:0", "/dev/nst0"),
    (SATA, "scsi_generic", "sg1", "21:1", "/dev/sg1"),
    (USB, "hidraw", "hidraw0", "242:0", "/dev/hidraw0"),
    (USB, "tty", "ttyUSB0", "188:0", "/dev/ttyUSB0"),
    (USB, "video4linux", "video0", "81:0", "/dev/video0"),
    (SATA, "infiniband_verbs", "uverbs0", "231:192", "/dev/infiniband/uverbs0"),
    (GPU, "vfio-dev", "vfio0", "511:0", "/dev/vfio/devices/vfio0"),
    (SATA, "block", "sdy", "8:16", "/dev/sdy"),
]


def test_open_device_nodes_name_the_processes() -> None:
    places = [device_at(address, kind, name, number) for address, kind, name, number, _node in NODES]
    programs = [opened(node[4], 800 + at) for at, node in enumerate(NODES)]
    with described_host(together(*places, *programs)) as host:
        found = {one["address"]: one for one in host.run("host_info")["devices"]}
        for pid, (address, _kind, _name, _number, node) in enumerate(NODES, 800):
            assert f"{node.partition(' ')[0]} in Xorg ({pid})" in found[address]["processes"]
            assert "processes" in {one["check"] for one in found[address]["refusals"]}
        assert found[BLUETOOTH]["processes"] == []
        assert ("processes", GPU) in refused(take(host, GPU))
        assert take(host, GPU, processes="they end by themselves")["changed"]


@pytest.mark.parametrize(
    ("target", "more", "address"),
    [
        ("/dev/nvidia0", {f"proc/driver/nvidia/gpus/{GPU}/information": "Model: X\nDevice Minor: \t 0\n"}, GPU),
        ("/dev/nvidiactl", {f"proc/driver/nvidia/gpus/{GPU}/information": "Device Minor: 0\n"}, GPU),
        ("/dev/vfio/12", {f"sys/kernel/iommu_groups/12/devices/{GPU}/": ""}, GPU),
        (f"/sys/devices/pci0000:00/{GPU}/resource0", {}, GPU),
        (
            "/dev/bus/usb/001/004",
            {"sys/bus/usb/devices/1-2/busnum": "1", "sys/bus/usb/devices/1-2/devnum": "4", f"{BUS}/busnum": "1"},
            USB,
        ),
    ],
)
def test_nodes_without_a_class_are_followed_too(target: str, more: dict[str, str], address: str) -> None:
    links = {"sys/bus/usb/devices/1-2": BUS} if "usb" in target else {}
    if links:
        more = {f"{BUS}/busnum": "1", f"{BUS}/devnum": "4"}
    with described_host(together(opened(target), {"files": more, "links": links})) as host:
        assert others(host, address) == {"processes"}


def test_other_nodes_are_no_use_of_a_card() -> None:
    mei = device_at(GPU, "mei", "mei0", "243:0")
    rtc = device_at(SATA, "rtc", "rtc0", "252:0")
    targets = ["/dev/null", "/dev/pts/0", "/dev/kvm", "/dev/rtc0", "/dev/mei0", "/home/u/dev/sdb", "socket:[1]"]
    programs = [opened(target, 800 + at) for at, target in enumerate(targets)]
    with described_host(together(mei, rtc, *programs)) as host:
        assert [one["processes"] for one in host.run("host_info")["devices"]] == [[]] * len(DEVICES)
