# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains from disks and network interfaces up to what uses them, on a small tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host.disk_usage import BlockGraph
from ansible_collections.xen.pci.plugins.module_utils.host.network_usage import NetGraph, connection_addresses
from ansible_collections.xen.pci.plugins.module_utils.model.device import BlockUse
from ansible_collections.xen.pci.plugins.module_utils.model.usage import GuestDisk, NetworkUse
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

NVME = Sbdf.parse("0000:04:00.0")
OTHER = Sbdf.parse("0000:05:00.0")
NIC = Sbdf.parse("0000:03:00.0")
DISK = f"pci0000:00/{NVME}/nvme/nvme0/nvme0n1"


class Tree:
    """Builds sysfs and procfs side by side below a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.sys, self.proc = root / "sys", root / "proc"
        for path in (self.sys / "class/block", self.sys / "class/net", self.proc / "self", self.proc / "net"):
            path.mkdir(parents=True)

    def block(self, path: str, number: str, holders: tuple[str, ...] = (), **files: str) -> None:
        directory = self.sys / "devices" / path
        (directory / "holders").mkdir(parents=True)
        for name, text in {"dev": number, **files}.items():
            file = directory / name.replace("__", "/")
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{text}\n")
        for holder in holders:
            (directory / "holders" / holder).mkdir()
        (self.sys / "class/block" / directory.name).symlink_to(directory)

    def net(
        self,
        path: str,
        flags: str = "0x1003",
        upper: tuple[str, ...] = (),
        lower: tuple[str, ...] = (),
        **files: str,
    ) -> None:
        directory = self.sys / "devices" / path
        directory.mkdir(parents=True)
        (directory / "address").write_text("52:54:00:00:01:01\n")
        (directory / "flags").write_text(f"{flags}\n")
        (directory / "ifindex").write_text("4\n")
        for name in upper:
            (directory / f"upper_{name}").mkdir()
        for name in lower:
            (directory / f"lower_{name}").mkdir()
        for name, text in files.items():
            (directory / name).write_text(f"{text}\n")
        (self.sys / "class/net" / directory.name).symlink_to(directory)

    def disk(self) -> None:
        self.block(DISK, "259:0")

    def write(self, path: str, text: str) -> None:
        """A file of the host by its path from the root."""
        file = self.sys.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def uses(self, *guests: GuestDisk) -> dict[Sbdf, list[BlockUse]]:
        return BlockGraph(self.sys, guests).by_device()

    def used_by(self, *guests: GuestDisk) -> tuple[str, ...]:
        return self.uses(*guests)[NVME][0].used_by


def put_program(tree: Tree, monkeypatch: pytest.MonkeyPatch, name: str, output: str) -> None:
    """A stand-in for a program of the host that prints this."""
    tree.write("output", output)
    tree.write(f"bin/{name}", f"#!/bin/sh\ncat {tree.sys.parent}/output\n")
    (tree.sys.parent / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tree.sys.parent}/bin:/usr/bin:/bin")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_mount_of_a_partition_is_found_and_its_spaces_decoded(tree: Tree) -> None:
    tree.block(f"pci0000:00/{NVME}/nvme/nvme0/nvme0n1", "259:0")
    tree.block(f"pci0000:00/{NVME}/nvme/nvme0/nvme0n1/nvme0n1p1", "259:1", partition="1")
    (tree.proc / "self/mountinfo").write_text(
        "28 1 253:0 / / rw shared:1 - ext4 /dev/vda rw\n"
        "90 28 259:1 / /srv/my\\040data rw,relatime shared:5 - ext4 /dev/nvme0n1p1 rw\n"
    )
    assert tree.uses() == {NVME: [BlockUse("nvme0n1", ("nvme0n1p1 is mounted on /srv/my data",))]}


def test_a_mount_with_an_anonymous_number_is_found_by_its_source(tree: Tree) -> None:
    tree.block(f"pci0000:00/{NVME}/nvme/nvme0/nvme0n1", "259:0")
    (tree.proc / "self/mountinfo").write_text("90 28 0:45 / /data rw - btrfs /dev/nvme0n1 rw\n")
    assert tree.uses()[NVME][0].used_by == ("nvme0n1 is mounted on /data",)


def test_the_chain_through_raid_and_lvm_ends_at_swap(tree: Tree) -> None:
    tree.block(f"pci0000:00/{NVME}/nvme/nvme0/nvme0n1", "259:0", holders=("md0",))
    tree.block("virtual/block/md0", "9:0", holders=("dm-0",), md__level="raid1")
    tree.block("virtual/block/dm-0", "254:0", dm__name="vg-swap", dm__uuid="LVM-abc")
    (tree.proc / "swaps").write_text("Filename Type Size Used Priority\n/dev/mapper/vg-swap partition 1 0 -2\n")
    assert tree.uses()[NVME][0].used_by == (
        "nvme0n1 is held by md0 (RAID array), which is held by dm-0 (LVM volume vg-swap), which is in use as swap",
    )


def test_a_holder_counts_even_if_nothing_is_mounted(tree: Tree) -> None:
    tree.block(f"pci0000:00/{NVME}/nvme/nvme0/nvme0n1", "259:0", holders=("dm-0",))
    tree.block("virtual/block/dm-0", "254:0", dm__name="secret", dm__uuid="CRYPT-LUKS2-1")
    assert tree.uses()[NVME][0].used_by == ("nvme0n1 is held by dm-0 (encrypted volume secret)",)


def test_holders_in_a_circle_end(tree: Tree) -> None:
    tree.block(f"pci0000:00/{NVME}/nvme/nvme0/nvme0n1", "259:0", holders=("dm-0",))
    tree.block("virtual/block/dm-0", "254:0", holders=("nvme0n1",))
    assert tree.uses()[NVME][0].used_by == ("nvme0n1 is held by dm-0",)


def test_a_disk_nobody_uses_has_no_uses(tree: Tree) -> None:
    tree.block(f"pci0000:00/{NVME}/nvme/nvme0/nvme0n1", "259:0")
    assert tree.uses() == {NVME: [BlockUse("nvme0n1")]}


def test_a_disk_that_a_guest_has_is_in_use(tree: Tree) -> None:
    tree.block(f"pci0000:00/{NVME}/nvme/nvme0/nvme0n1", "259:16")
    backend = tree.sys / "bus/xen-backend/devices/vbd-7-51712"
    backend.mkdir(parents=True)
    (backend / "physical_device").write_text("103:10\n")
    assert tree.uses()[NVME][0].used_by == ("nvme0n1 is a disk of domain 7",)


@pytest.mark.parametrize(
    "disk",
    [
        GuestDisk(7, "xvda of domain g1 (7), served by QEMU", "raw:/dev/disk/by-id/nvme-x"),
        GuestDisk(7, "xvda of domain g1 (7), served by QEMU", "/dev/nvme0n1"),
        GuestDisk(7, "xvda of domain g1 (7), served by the kernel", "/dev/mapper/none", "103:0"),
    ],
)
def test_a_disk_that_the_toolstack_has_served_is_in_use(tree: Tree, disk: GuestDisk) -> None:
    tree.disk()
    link = tree.sys.parent / "dev/disk/by-id/nvme-x"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../nvme0n1")
    tree.write("sys/bus/xen-backend/devices/vbd-7-51712/physical_device", "103:0\n" if disk.number else "")
    assert tree.used_by(disk) == (f"nvme0n1 is {disk.words}",)
    assert tree.used_by(GuestDisk(8, "xvda of domain g2 (8), served by QEMU", "qcow2:/srv/image"))[1:] == ()


def test_a_volume_that_qemu_serves_is_followed_down(tree: Tree) -> None:
    tree.block(DISK, "259:0", holders=("dm-0",))
    tree.block("virtual/block/dm-0", "254:0", dm__name="vg-root", dm__uuid="LVM-abc")
    assert tree.used_by(GuestDisk(7, "xvda of domain g1 (7), served by QEMU", "aio:/dev/mapper/vg-root")) == (
        "nvme0n1 is held by dm-0 (LVM volume vg-root), which is xvda of domain g1 (7), served by QEMU",
    )


def test_a_member_of_an_imported_zfs_pool_is_in_use(tree: Tree) -> None:
    tree.disk()
    tree.write("run/udev/data/b259:0", "S:disk/by-label/tank\nE:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=tank\n")
    assert tree.used_by() == ()
    (tree.proc / "spl/kstat/zfs/tank").mkdir(parents=True)
    assert tree.used_by() == ("nvme0n1 is a member of ZFS pool tank, which is imported",)
    tree.write("run/udev/data/b259:0", "E:ID_FS_TYPE=ext4\nE:ID_FS_LABEL=tank\n")
    assert tree.used_by() == ()


def test_zfs_itself_tells_of_all_members_caches_included(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.block(DISK, "259:0")
    tree.block(f"{DISK}/nvme0n1p1", "259:1", partition="1")
    (tree.proc / "spl/kstat/zfs/tank").mkdir(parents=True)
    put_program(tree, monkeypatch, "zpool", ZPOOL)
    assert tree.used_by() == ("nvme0n1p1 is a member of ZFS pool tank, which is imported",)


def test_all_members_of_a_mounted_btrfs_are_in_use(tree: Tree) -> None:
    tree.disk()
    tree.block(f"pci0000:00/{OTHER}/nvme/nvme1/nvme1n1", "259:5")
    for name in "nvme0n1", "nvme1n1":
        (tree.sys / "fs/btrfs/6e6c/devices" / name).mkdir(parents=True)
    tree.write("sys/fs/btrfs/6e6c/label", "pool\n")
    tree.write("proc/self/mountinfo", "90 28 0:45 / /data rw - btrfs /dev/nvme1n1 rw\n")
    assert tree.used_by() == ("nvme0n1 is a member of btrfs file system pool, which is mounted",)
    assert tree.uses()[OTHER][0].used_by == ("nvme1n1 is mounted on /data",)


def test_all_members_of_a_mounted_bcachefs_are_in_use(tree: Tree) -> None:
    tree.disk()
    tree.write("proc/self/mountinfo", "90 28 0:45 / /data rw - bcachefs /dev/nvme1n1:/dev/nvme0n1 rw\n")
    assert tree.used_by() == ("nvme0n1 is mounted on /data",)


def test_a_loop_device_over_a_disk_holds_it(tree: Tree) -> None:
    tree.disk()
    tree.block("virtual/block/loop0", "7:0", loop__backing_file="/dev/nvme0n1")
    tree.write("proc/self/mountinfo", "90 28 7:0 / /mnt rw - ext4 /dev/loop0 rw\n")
    assert tree.used_by() == ("nvme0n1 is held by loop0, which is mounted on /mnt",)


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("UUID=AB-12 /boot/efi vfat noauto,x-systemd.automount 0 1", "/boot/efi"),
        ("/dev/nvme0n1p1 /srv ext4 defaults 0 2", "/srv"),
        ("/dev/nvme0n1p1 /srv ext4 defaults,nofail 0 2", ""),
        ("/dev/nvme0n1p1 none swap sw 0 0", ""),
        ("#/dev/nvme0n1p1 /srv ext4 defaults 0 2", ""),
        ("tmpfs /tmp tmpfs defaults 0 0", ""),
    ],
)
def test_what_the_host_mounts_when_it_boots_is_in_use(tree: Tree, line: str, needed: str) -> None:
    tree.disk()
    tree.block(f"{DISK}/nvme0n1p1", "259:1", partition="1")
    link = tree.sys.parent / "dev/disk/by-uuid/AB-12"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../nvme0n1p1")
    tree.write("etc/fstab", f"{line}\n")
    sentence = f"nvme0n1p1 is listed in /etc/fstab for {needed}, so the host needs it when it boots"
    assert tree.used_by() == ((sentence,) if needed else ())
    tree.write("proc/self/mountinfo", f"90 28 259:1 / {needed or '/srv'} rw - ext4 /dev/nvme0n1p1 rw\n")
    assert tree.used_by() == (f"nvme0n1p1 is mounted on {needed or '/srv'}",)


def test_a_path_of_a_multipath_device_is_in_use(tree: Tree) -> None:
    tree.block(f"pci0000:00/{NVME}/host0/sda", "8:0", holders=("dm-0",))
    tree.block("virtual/block/dm-0", "254:0", dm__name="mpatha", dm__uuid="mpath-36001")
    assert tree.uses()[NVME][0].used_by == ("sda is held by dm-0 (multipath device mpatha)",)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("target/core/iblock_0/backup/udev_path", "nvme0n1 is served by the target backup"),
        ("nvmet/subsystems/nqn.x/namespaces/1/device_path", "nvme0n1 is served by the NVMe target nqn.x"),
    ],
)
def test_a_disk_that_the_host_serves_over_a_network_is_in_use(tree: Tree, file: str, sentence: str) -> None:
    tree.disk()
    tree.write(f"sys/kernel/config/{file}", "/dev/nvme0n1\n")
    assert tree.used_by() == (sentence,)


def test_the_boot_partition_is_in_use(tree: Tree) -> None:
    tree.block(f"pci0000:00/{NVME}/nvme/nvme0/nvme0n1", "259:0")
    tree.block(f"pci0000:00/{NVME}/nvme/nvme0/nvme0n1/nvme0n1p1", "259:1", partition="1")
    (tree.proc / "self/mountinfo").write_text("90 28 259:1 / /boot/efi rw - vfat /dev/nvme0n1p1 rw\n")
    assert tree.uses()[NVME][0].used_by == ("nvme0n1p1 is mounted on /boot/efi",)


def test_addresses_of_both_families_are_told_but_those_that_every_interface_has(tree: Tree) -> None:
    (tree.proc / "net/route").write_text(ROUTES)
    (tree.proc / "net/if_inet6").write_text(
        "fe800000000000000000000000000001 02 40 20 80     eth8\n"
        "fd000000000000000000000000000002 02 40 00 80     eth2\n"
        "00000000000000000000000000000001 01 80 10 80       lo\n"
    )
    networks = {"xenbr0": ("10.0.0.0/24",), "eth1": ("10.0.1.0/24",), "eth2": ("fd00::2",)}
    assert NetGraph(tree.sys).use(()).networks == networks


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ({"local": "192.0.2.9", "prefixlen": 32}, "192.0.2.9/32"),
        ({"local": "10.9.0.1", "address": "10.9.0.2", "prefixlen": 32}, "10.9.0.1/32"),
        ({"local": "10.8.0.1", "prefixlen": 24}, "10.8.0.0/24"),
    ],
)
def test_an_address_without_a_route_is_told(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, address: dict[str, Any], network: str
) -> None:
    tree.net(f"pci0000:00/{NIC}/net/eth0")
    link = {"ifname": "eth0", "ifindex": 4, "address": "52:54:00:00:01:01"}
    addresses = [{"family": "inet", **address}, {"family": "inet6", "local": "fe80::1", "prefixlen": 64}]
    put_program(tree, monkeypatch, "ip", json.dumps([{**link, "addr_info": addresses}, {"ifname": "eth9"}]))
    assert NetGraph(tree.sys).use(["10.8.0.9", address["local"]]) == NetworkUse(
        connection=frozenset({"eth0"}),
        networks={"eth0": (network,)},
        connection_ends=("address 10.8.0.9, to which no route leads",),
    )
    put_program(tree, monkeypatch, "ip", json.dumps([{**link, "ifindex": 5, "addr_info": addresses}]))
    assert NetGraph(tree.sys).use(()) == NetworkUse(), "eth0 of another network namespace"


def test_a_multipath_namespace_stands_on_all_controllers_of_its_subsystem(tree: Tree) -> None:
    subsystem = tree.sys / "devices/virtual/nvme-subsystem/nvme-subsys0"
    tree.block("virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "259:0")
    for name, function in (("nvme0", NVME), ("nvme1", OTHER)):
        controller = tree.sys / f"devices/pci0000:00/{function}/nvme/{name}"
        controller.mkdir(parents=True)
        (subsystem / name).symlink_to(controller)
    tree.block(f"pci0000:00/{NVME}/nvme/nvme0/nvme0c0n1", "259:7", hidden="1")
    (tree.sys / "class/nvme-subsystem").mkdir()
    (tree.sys / "class/nvme-subsystem/nvme-subsys0").symlink_to(subsystem)
    assert tree.uses() == {function: [BlockUse("nvme0n1")] for function in (NVME, OTHER)}


def test_interfaces_name_all_layers_above(tree: Tree) -> None:
    tree.net(f"pci0000:00/{NIC}/net/eth0", upper=("bond0",))
    tree.net("virtual/net/bond0", upper=("xenbr0", "bond0.7"))
    tree.net("virtual/net/xenbr0")
    tree.net(f"pci0000:00/{OTHER}/virtio1/net/eth1", flags="0x1002")
    found = NetGraph(tree.sys).by_device()
    assert set(found) == {NIC, OTHER}
    assert found[NIC][0].upper == ("bond0", "bond0.7", "xenbr0")
    assert (found[NIC][0].is_up, found[OTHER][0].is_up) == (True, False)
    assert found[NIC][0].mac == "52:54:00:00:01:01"


ZPOOL = """  pool: tank
 state: ONLINE
config:

\tNAME                STATE     READ WRITE CKSUM
\ttank                ONLINE       0     0     0
\t  /dev/sda1         ONLINE       0     0     0
\tcache
\t  /dev/nvme0n1p1    ONLINE       0     0     0

errors: No known data errors
"""
ROUTES = (
    "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    "xenbr0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n"
    "xenbr0 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
    "eth1 0001000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
)
ROUTES6 = "fd000000000000000000000000000000 40 0 00 0 00000100 00000001 00000000 00000001 eth2\n"


@pytest.mark.parametrize(
    ("connection", "interfaces", "ends"),
    [
        (("10.0.1.9", "10.0.1.2"), {"eth1"}, 0),
        (("192.0.2.7", "10.0.1.2"), {"eth0", "xenbr0", "eth1"}, 0),
        (("fd00::1", "fd00::2"), {"eth2"}, 0),
        (("::ffff:10.0.1.9",), {"eth1"}, 0),
        (("fd00::1%eth2",), {"eth2"}, 0),
        (("fe80::1%eth2", "fe80::2%eth2"), {"eth2"}, 0),
        (("10.0.1.9", "10.7.7.7"), {"eth0", "xenbr0", "eth1"}, 1),  # no interface here has the second
        (("127.0.0.1", "127.0.0.1"), {"eth0", "xenbr0"}, 1),
        (("UNKNOWN", "UNKNOWN"), set(), 1),
        ((), set(), 0),
    ],
)
def test_routes_tell_the_interfaces_of_a_connection(
    tree: Tree, connection: tuple[str, ...], interfaces: set[str], ends: int
) -> None:
    (tree.proc / "net/route").write_text(ROUTES)
    (tree.proc / "net/ipv6_route").write_text(ROUTES6)
    tree.write("proc/net/if_inet6", "fd000000000000000000000000000002 02 40 00 80     eth2\n")
    for name in ("eth0", "eth1", "eth2"):
        tree.net(f"pci0000:00/{NIC}/net/{name}")
    tree.net("virtual/net/xenbr0", lower=("eth0",))
    found = NetGraph(tree.sys).use(connection)
    assert found.default_route == {"xenbr0"}
    assert found.networks == {"xenbr0": ("10.0.0.0/24",), "eth1": ("10.0.1.0/24",), "eth2": ("fd00::2",)}
    assert found.routed == {"xenbr0", "eth1", "eth2"}
    assert (found.connection, len(found.connection_ends)) == (interfaces, ends)


VIRTUAL = "virtual/net"
OVS = [("ovs-system", "openvswitch"), ("br0", "openvswitch")]


@pytest.mark.parametrize(
    ("links", "kinds", "way", "ends"),
    [
        ({"br0": ["eth0"]}, [], {"br0", "eth0"}, set()),
        ({"br0": ["bond0.7"], "bond0.7": ["bond0"], "bond0": ["eth0", "eth1"]}, [], {"bond0", "eth0", "eth1"}, set()),
        ({"br0": []}, [], {"br0"}, {"br0"}),  # WireGuard, PPP, tun, a port of OVS: nothing is shown below
        ({"br0": [], "ovs-system": ["eth0"]}, [], {"br0"}, {"br0"}),
        ({"br0": [], "ovs-system": ["eth0"]}, OVS, {"br0", "eth0"}, set()),
        ({"br0": [], "ovs-system": ["eth0", "vxlan_sys"]}, OVS, {"br0", "eth0"}, {"vxlan_sys"}),
        ({"br0": [], "ovs-system": []}, OVS, {"br0"}, {"br0"}),
        ({"br0": ["eth0", "vif1.0"]}, [], {"br0", "eth0", "vif1.0"}, set()),  # a guest beside a card
        ({"br0": ["eth0", "vif1.0-emu", "vnet3"]}, [], {"eth0"}, set()),
        ({"br0": ["eth0", "tap0"]}, [], {"eth0"}, {"tap0"}),  # may be a VPN
        ({"br0": ["eth0", "veth0"]}, [("veth0", "veth")], {"eth0"}, set()),
        ({"br0": ["eth0", "gretap1"]}, [("gretap1", "gretap")], {"eth0"}, {"gretap1"}),
        ({"br0": ["vif1.0"]}, [], {"vif1.0"}, {"vif1.0"}),  # a guest is the way
        ({"br0": ["br0.1"], "br0.1": ["br0"]}, [], {"br0.1"}, set()),
        ({"br0": ["soc0"]}, [], {"soc0"}, set()),  # a card that is not on PCI
    ],
)
def test_the_way_of_a_connection_is_followed_down_to_cards(
    tree: Tree,
    monkeypatch: pytest.MonkeyPatch,
    links: dict[str, list[str]],
    kinds: list[tuple[str, str]],
    way: set[str],
    ends: set[str],
) -> None:
    for name in ("eth0", "eth1"):
        tree.net(f"pci0000:00/{NIC}/net/{name}")
    for name in {*links, *(port for ports in links.values() for port in ports)} - {"eth0", "eth1"}:
        tree.net(f"{VIRTUAL}/{name}", lower=tuple(links.get(name, ())))
        if name.startswith(("vif1.0-emu", "vnet", "tap")):
            tree.write(f"sys/devices/{VIRTUAL}/{name}/tun_flags", "0x1002")
        if name in ("vif1.0", "soc0"):
            tree.write(f"sys/devices/{'vif-1-0' if name == 'vif1.0' else 'platform'}/uevent", "")
            parent = tree.sys / "devices" / ("vif-1-0" if name == "vif1.0" else "platform")
            (tree.sys / "devices" / VIRTUAL / name / "device").symlink_to(parent)
    link = {"ifindex": 4, "address": "52:54:00:00:01:01"}
    said = [{"ifname": name, **link, "linkinfo": {"info_kind": kind}} for name, kind in kinds]
    put_program(tree, monkeypatch, "ip", json.dumps(said))
    tree.write("proc/net/route", ROUTES.replace("xenbr0", "br0"))
    found = NetGraph(tree.sys).use(("10.0.0.9", "10.0.0.2"))
    assert found.connection >= way
    assert found.connection_ends == tuple(f"interface {name}" for name in sorted(ends))
    assert found.connection_guests == ({1} if ends == {"vif1.0"} else set())


TABLES = """#!/bin/sh
case "$*" in
*route*) echo '[{"dst":"default","dev":"eth0"},{"dst":"default","dev":"eth1","table":"101"},{"dst":"10.0.0.0/8",\
"nexthops":[{"dev":"eth2"},{"dev":"eth3"}]},{"dst":"default","dev":"eth4","table":"102"}, \
{"dst":"default","dev":"eth5","table":"vrf9"},{"type":"prohibit","dst":"default"}]';;
*rule*) echo '[{"priority":0,"src":"all","table":"local"},{"src":"10.1.0.0","srclen":16,"table":"101"},\
{"src":"10.2.0.0","srclen":16,"table":"102"},{"src":"all","l3mdev":null,"table":"vrf9"},{"src":"all","table":"main"}]';;
*address*) echo '[LINKS]';;
*) echo '[]';;
esac
"""


@pytest.mark.parametrize(
    ("shown", "said"), [("", '"link_type":"none"'), ("0a:42:00:01", '"link_type":"gre","address":"10.66.0.1"')]
)
def test_the_own_address_of_a_tunnel_is_found_whatever_its_link_address_looks_like(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, shown: str, said: str
) -> None:
    tree.net(f"{VIRTUAL}/wg0", address=shown)
    info = '"addr_info":[{"family":"inet","local":"10.9.0.1","prefixlen":32}]'
    put_program(tree, monkeypatch, "ip", f'[{{"ifname":"wg0","ifindex":4,{said},{info}}}]')
    tree.write("proc/net/route", "\n".join(ROUTES.replace("xenbr0", "wg0").splitlines()[:2]))
    found = NetGraph(tree.sys).use(("10.9.0.5", "10.9.0.1"))
    assert (found.connection, found.connection_ends) == ({"wg0"}, ("interface wg0",))


def test_what_an_interface_does_not_say_of_those_below_they_say_themselves(tree: Tree) -> None:
    tree.net(f"pci0000:00/{NIC}/net/eth0", upper=("bond0",))
    tree.net(f"{VIRTUAL}/bond0")
    tree.write("proc/net/route", ROUTES.replace("xenbr0", "bond0"))
    found = NetGraph(tree.sys).use(("10.0.0.9", "10.0.0.2"))
    assert (found.connection, found.connection_ends) == ({"bond0", "eth0"}, ())


def test_tables_that_rules_lead_to_and_all_legs_of_a_route_count(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"eth{number}" for number in range(6)]
    for name in names:
        tree.net(f"pci0000:00/{NIC}/net/{name}")
    info = '"addr_info":[{"family":"inet","local":"10.1.0.2","prefixlen":32}]'
    links = [f'{{"ifname":"{name}","ifindex":4,"address":"52:54:00:00:01:01","addr_info":[]}}' for name in names]
    links[0] = links[0].replace('"addr_info":[]', info)
    put_program(tree, monkeypatch, "ip", "")
    tree.write("bin/ip", TABLES.replace("LINKS", ",".join(links)))
    found = NetGraph(tree.sys).use(("10.9.9.9", "10.1.0.2"))
    assert (found.connection, found.connection_ends) == ({"eth0", "eth1", "eth2", "eth3"}, ())


@pytest.mark.parametrize(
    ("names", "connections"),
    [
        (("sudo", "sshd"), ["10.0.1.9 10.0.1.2"]),
        (("sudo", "sshd-session"), ["10.0.1.9 10.0.1.2"]),
        (("bash", "tmux: server"), ["10.0.1.9 10.0.1.2", "10.0.1.7 10.0.1.2"]),  # ours may be the other one
        (("bash", "mosh-server"), ["10.0.1.9 10.0.1.2", "10.0.1.7 10.0.1.2", "mosh-server mosh-server"]),
    ],
)
def test_the_connection_is_found_in_the_environment_of_an_ancestor(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str], connections: list[str]
) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setattr("os.getpid", lambda: 30)
    with_connection = "SSH_CONNECTION=10.0.1.9 5000 10.0.1.2 22\0"
    for pid, parent, name, environment in ((30, 20, names[0], "HOME=/root\0"), (20, 1, names[1], with_connection)):
        tree.write(f"proc/{pid}/environ", environment)
        tree.write(f"proc/{pid}/stat", f"{pid} (a (b) c) S {parent} 0 0")
        tree.write(f"proc/{pid}/comm", f"{name}\n")
    tree.write("proc/99/environ", "SSH_CONNECTION=10.0.1.7 5000 10.0.1.2 22\0")
    assert list(connection_addresses(tree.proc)) == " ".join(connections).split()


def test_no_connection_where_nobody_came_by_ssh(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert connection_addresses(tree.proc) == ()
    for pid, text in (
        ("7", "10.0.1.9 5000 10.0.1.2 22"),
        ("8", "UNKNOWN 1 UNKNOWN 2"),
        ("9", "10.0.1.9 5000 10.0.1.2 22"),
    ):
        tree.write(f"proc/{pid}/environ", f"A=b\0SSH_CONNECTION={text}\0")
    either = ("10.0.1.9", "10.0.1.2", "UNKNOWN", "UNKNOWN")
    assert connection_addresses(tree.proc) == either, "started by the init system for one of them (run0)"
    monkeypatch.setenv("SSH_CONNECTION", "10.0.1.8 5000 10.0.1.2 22")
    assert connection_addresses(tree.proc)[:2] == ("10.0.1.8", "10.0.1.2")
