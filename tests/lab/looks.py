# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How tests look at a host without our own modules: xl, sysfs, xenstore, and the guests themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable

from xenlab import Guest, Host, disks, topology

_BDF = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def attached_by_xl(host: Host, guest: str) -> set[str]:
    """Devices that xl lists for a guest."""
    return set(_BDF.findall(host.run(["xl", "pci-list", guest]).stdout))


def drivers(guest: Guest) -> list[str]:
    """Drivers of all PCI devices that the guest sees."""
    return sorted(str(driver) for driver in guest.pci().values())


def driver_in_dom0(host: Host, bdf: str) -> str | None:
    link = host.run(f"readlink /sys/bus/pci/devices/{bdf}/driver", check=False).stdout.strip()
    return link.rpartition("/")[2] or None


def interface(guest: Guest, mac: str) -> str:
    """The guest's name for the NIC with this address."""
    return guest.run(f"grep -l {mac} /sys/class/net/*/address").stdout.split("/")[4]


def read_block(guest: Guest, nvme: topology.Nvme, number: int) -> bytes:
    """A block of the NVMe with this serial, as the guest reads it."""
    disk = guest.run(f"grep -l {nvme.serial} /sys/class/nvme/nvme*/serial").stdout.split("/")[4]
    command = f"dd if=/dev/{disk}n1 bs={disks.BLOCK_SIZE} skip={number} count=1 2>/dev/null"
    return guest.run(command).stdout.encode()


def traces_of(host: Host, parts: Iterable[topology.Device]) -> list[str]:
    """Nodes of xenstore that still say that a domain has one of these devices."""
    names = [part.bdf for part in parts]
    keys = [name.replace(":", "-").replace(".", "-") for name in names]
    nodes = host.run("xenstore-ls -f /local/domain/0/backend/pci; xenstore-ls -f /libxl/pci", check=False).stdout
    return [
        line
        for line in nodes.splitlines()
        if any(f'"{name}"' in line for name in names) or any(f"{key}/domid" in line for key in keys)
    ]
