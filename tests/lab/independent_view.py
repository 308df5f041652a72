# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How tests look at a host without our own modules: xl, sysfs, xenstore, and the guests themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xenlab import Guest, Host, disks, topology

#: Interrupts from here on are messages, not lines: the IO-APIC has 24 pins.
_MESSAGES = 24
_BDF = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def attached_by_xl(host: Host, guest: str) -> set[str]:
    """Devices that xl lists for a guest."""
    return set(_BDF.findall(host.run(["xl", "pci-list", guest]).stdout))


def uuid_of(host: Host, domid: int) -> str:
    """The UUID of a domain, which xl asks Xen for."""
    listed = [line.split() for line in host.run(["xl", "vm-list"]).stdout.splitlines()]
    return next(words[0] for words in listed if words[1] == str(domid))


def drivers(guest: Guest) -> list[str]:
    """Drivers of all PCI devices that the guest sees."""
    return sorted(str(driver) for driver in guest.pci().values())


def driver_in_dom0(host: Host, bdf: str) -> str | None:
    link = host.run(f"readlink /sys/bus/pci/devices/{bdf}/driver", check=False).stdout.strip()
    return link.rpartition("/")[2] or None


def interface(guest: Guest, mac: str) -> str:
    """The guest's name for the NIC with this address."""
    return guest.run(f"grep -l {mac} /sys/class/net/*/address").stdout.split("/")[4]


def nic_works(guest: Guest, nic: topology.Nic) -> bool:
    """Whether the NIC's gateway answers the guest, and interrupts come; the NIC is up then."""
    name = interface(guest, nic.mac)
    guest.run(f"ip link set {name} up; udhcpc -q -n -i {name}", timeout=120)
    before = guest.interrupts(name)
    answered = guest.run(f"ping -c 3 -I {name} {nic.gateway}", check=False).status == 0
    return answered and guest.interrupts(name) > before


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


@dataclass(frozen=True)
class XensView:
    """What Xen itself says: numbers that each guest may use, by kind, and each device's owner.

    Owners are as Xen calls them: d1, and DomIO for its quarantine. Empty kinds are left out.
    """

    rights: Mapping[int, Mapping[str, set[int]]]
    owners: Mapping[str, str]


def xens_view(host: Host) -> XensView:
    """By Xen's debug keys: `q` writes the domains, `Q` the devices into its log."""
    log = host.run("xl dmesg -c > /dev/null; xl debug-keys qQ; xl dmesg").stdout
    rights: dict[int, dict[str, set[int]]] = {}
    domid = 0
    for line in log.splitlines():
        if found := re.search(r"Rangesets belonging to domain (\d+)", line):
            domid = int(found[1])
            rights[domid] = {}
        elif not domid:  # dom0 may use nearly everything
            continue
        elif found := re.search(r"(Interrupts|I/O Memory|I/O Ports) +\{ (.+) \}", line):
            rights[domid][found[1]] = _numbers(found[2], 10 if found[1] == "Interrupts" else 16)
    return XensView(rights, dict(re.findall(rf"({_BDF.pattern}) - (d\d+|DomIO)\S* - node", log)))


def rights_due(host: Host, devices: Iterable[str]) -> dict[str, set[int]]:
    """The rights that a domain with exactly these devices has, by what sysfs says of them; the kinds are Xen's."""
    due: dict[str, set[int]] = {}
    for bdf in devices:
        irq, *windows = host.run(f"cd /sys/bus/pci/devices/{bdf}; cat irq; head -n 7 resource").lines
        if irq not in ("0", "255"):
            due.setdefault("Interrupts", set()).add(int(irq))
        for start, last, flags in ([int(word, 16) for word in line.split()] for line in windows):
            if start and flags & 0x100:
                due.setdefault("I/O Ports", set()).update(range(start, last + 1))
            elif start:
                due.setdefault("I/O Memory", set()).update(range(start >> 12, (last >> 12) + 1))
    return due


def not_as_xen_says(host: Host, guests: Mapping[str, Iterable[str]], others: Iterable[str] = ()) -> list[str]:
    """Differences between what guests have by Xen's own word and these devices; `others` must be in its quarantine."""
    view, problems = xens_view(host), []
    owners = dict.fromkeys(others, "DomIO")
    for name, devices in guests.items():
        domid = host.guest(name).domid
        owners.update(dict.fromkeys(devices, f"d{domid}"))
        has, due = view.rights[domid], rights_due(host, devices)
        if "Interrupts" in due and "Interrupts" in has:  # Xen adds those of messages
            has = {**has, "Interrupts": {number for number in has["Interrupts"] if number < _MESSAGES}}
        kinds = {*has, *due}
        if max(due.get("Interrupts", {0})) >= _MESSAGES:  # of a device that uses MSI, sysfs does not show the line
            kinds.discard("Interrupts")
        wrong = [kind for kind in kinds if has.get(kind) != due.get(kind)]
        problems += [f"{name} has {kind} {_some(has.get(kind))}, not {_some(due.get(kind))}" for kind in wrong]
    problems += [f"{bdf} is {view.owners.get(bdf)}'s" for bdf, owner in owners.items() if view.owners.get(bdf) != owner]
    return problems


def _numbers(text: str, base: int) -> set[int]:
    """All numbers of ranges such as `20, 4000-401f`."""
    numbers: set[int] = set()
    for part in text.split(", "):
        first, _dash, last = part.partition("-")
        numbers.update(range(int(first, base), int(last or first, base) + 1))
    return numbers


def _some(numbers: set[int] | None) -> str:
    return f"{sorted(numbers)[:4]} ({len(numbers)})" if numbers else "none"
