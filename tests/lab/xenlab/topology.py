# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host is made of, as data: the devices under test where dom0 sees them, and the guests.

Tests take addresses and identities from here; machine.py turns the same data into QEMU's arguments.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RootPort:
    """A PCI Express root port; what sits behind it is function 0 of bus `number`."""

    number: int

    @property
    def id(self) -> str:
        return f"port{self.number}"

    @property
    def bdf(self) -> str:
        return f"0000:00:{0x0F + self.number:02x}.0"


@dataclass(frozen=True)
class Device:
    """A PCI function under test. `driver` is the one that dom0 binds at boot, None when there is none."""

    name: str
    bdf: str
    driver: str | None
    port: RootPort | None = None

    @property
    def slot(self) -> int:
        return int(self.bdf[8:10], 16)

    @property
    def function(self) -> int:
        return int(self.bdf[11], 16)


@dataclass(frozen=True)
class Nic(Device):
    """An e1000e card. Its network is its own and ends at the gateway, which answers DHCP and ping."""

    mac: str = ""
    network: int = 0

    @property
    def subnet(self) -> str:
        return f"10.0.{self.network}.0/24"

    @property
    def gateway(self) -> str:
        return f"10.0.{self.network}.2"

    @property
    def device_serial(self) -> str:
        """The serial number in its PCI Express capability, which QEMU derives from the MAC."""
        octets = self.mac.split(":")
        return "-".join([*octets[:3], "ff", "ff", *octets[3:]])


@dataclass(frozen=True)
class Nvme(Device):
    """An NVMe controller with one namespace; see disks.py for what is on it. `vfs`: how many it can have."""

    serial: str = ""
    vfs: int = 0


@dataclass(frozen=True)
class Edu(Device):
    """QEMU's teaching device: a memory BAR and an interrupt, and no driver anywhere."""


@dataclass(frozen=True)
class Rng(Device):
    """A source of random numbers. Unlike the NICs it reports PCI errors, and no guest has a driver for it."""


@dataclass(frozen=True)
class GuestPlan:
    """A guest that the host starts; its configuration is /etc/xen/NAME.cfg in dom0."""

    name: str
    pcifront: bool


def _port_nic(number: int) -> Nic:
    return Nic(
        name=f"nic{number}",
        bdf=f"0000:{number:02x}:00.0",
        driver="e1000e",
        port=RootPort(number),
        mac=f"52:54:00:9c:00:{number:02x}",
        network=10 + number,
    )


NICS = tuple(_port_nic(number) for number in (1, 2, 3, 4))
DUAL_NIC = tuple(
    Nic(
        name=f"dual{function}",
        bdf=f"0000:00:08.{function}",
        driver="e1000e",
        mac=f"52:54:00:9c:00:{0x10 + function:02x}",
        network=20 + function,
    )
    for function in (0, 1)
)
EDUS = (Edu("edu1", "0000:00:09.0", None), Edu("edu2", "0000:00:0a.0", None))
NVMES = (
    Nvme("nvme1", "0000:00:0b.0", "nvme", serial="NV1"),
    Nvme("nvme2", "0000:00:0c.0", "nvme", serial="NV2"),
)
# Its last two are functions 0 and 1 of device 15: one of each kind in each device fills 31 slots of a virtual PCI bus.
SRIOV_NVME = Nvme("nvme3", "0000:05:00.0", "nvme", port=RootPort(5), serial="NV3", vfs=121)
#: As many of its functions as tests make that do not need more.
SOME_VFS = 4
RNG = Rng("rng1", "0000:06:00.0", "virtio-pci", port=RootPort(6))

DEVICES: tuple[Device, ...] = (*NICS, *DUAL_NIC, *EDUS, *NVMES, SRIOV_NVME, RNG)

# The host's own: never to be given away.
ROOT_DISK = "0000:00:02.0"
MANAGEMENT_NIC = "0000:00:03.0"

#: An HVM guest, started on request: `Host.start_guest`.
HVM_GUEST = "h1"

GUESTS = (GuestPlan("g1", pcifront=True), GuestPlan("g2", pcifront=True), GuestPlan("g3", pcifront=False))
