# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Xen: who owns which device, and what each domain may touch. Refusals are OSError with Xen's errno."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable

from .host.device import Address, Device
from .host.machine import Machine

DOM0 = 0
DOMID_IO = 0x7FF1
DOMID_INVALID = 0x7FF4

Note = Callable[[str, str, str], None]

IOPORTS = 0x10000
PIRQS = 1024


def refuse(number: int) -> OSError:
    """The error of a hypercall."""
    return OSError(number, os.strerror(number))


@dataclass
class DomainRights:
    """What Xen keeps of a domain. `iommu`: created with passthrough, so devices can be assigned; `handle`: its UUID;
    `zombie`: it is dead, and something still uses its memory."""

    iommu: bool
    hvm: bool = False
    dying: bool = False
    handle: bytes = bytes(16)
    zombie: bool = False
    frames: set[int] = field(default_factory=set)
    ports: set[int] = field(default_factory=set)
    irqs: set[int] = field(default_factory=set)
    pirqs: dict[int, int] = field(default_factory=dict)


class Hypervisor:
    """The eight calls that PCI passthrough needs, with Xen's checks in Xen's order."""

    def __init__(
        self,
        devices: Mapping[Address, Device],
        machine: Machine,
        note: Callable[[str, str, str], None],
    ) -> None:
        self._devices = devices
        self._iommu = machine.iommu
        self._machine = machine
        self._xen = machine.xen
        self._note = note
        self._owners: dict[Address, int] = {}
        self.domains: dict[int, DomainRights] = {DOM0: DomainRights(machine.iommu, machine.dom0 == "pvh")}
        self.broken: set[Address] = set()
        self.on_assigned: Callable[[int], None] = lambda domid: None

    # -- domains -------------------------------------------------------------------------------------

    def create(self, domid: int, passthrough: bool, handle: bytes = bytes(16), hvm: bool = False) -> None:
        """A domain is created."""
        self.domains[domid] = DomainRights(self._iommu and passthrough, hvm, handle=handle)

    def virt_caps(self) -> str:
        """What Xen can do, as `xl info` says it."""
        return f"pv hvm{' hvm_directio pv_directio' if self._iommu else ''} hap"

    def console_log(self) -> str:
        """What Xen writes of its IOMMUs when it boots (iommu_setup)."""
        lines = [f"I/O virtualisation {'en' if self._iommu else 'dis'}abled"]
        if self._iommu:
            lines.append(f" - Dom0 mode: {self._machine.dom0_iommu.capitalize()}")
            lines.append(f"Interrupt remapping {'en' if self._machine.interrupt_remapping else 'dis'}abled")
        return "".join(f"(XEN) {line}\n" for line in lines)

    def destroy(self, domid: int, zombie: bool = False) -> None:
        """A domain is gone, or remains as a zombie: what it still owned is quarantined."""
        rights = self.domains.pop(domid, None)
        if zombie and rights is not None:
            self.domains[domid] = DomainRights(rights.iommu, dying=True, handle=rights.handle, zombie=True)
        for address, owner in list(self._owners.items()):
            if owner == domid:
                self._owners[address] = DOMID_IO

    def forget(self, address: Address) -> None:
        """A device has left dom0's bus, which Linux tells Xen (PHYSDEVOP_pci_device_remove): no domain owns it then.

        If it comes back, it is dom0's (pci_add_device). Windows and interrupts that a domain may use stay.
        """
        self.broken.discard(address)
        if self._owners.pop(address, DOM0) != DOM0:
            self._note("xen", "forget", str(address))

    def getinfo(self, first: int, count: int) -> list[dict[str, object]]:
        """So many domains, the first one with this number or a higher one; in the order of their numbers.

        Up to Xen 4.17, libxenctrl makes an error of there being none (xc_domain_getinfo), which the binding raises.
        """
        found = sorted(domid for domid in self.domains if domid >= first)[:count]
        if not found and self._xen < (4, 18):
            raise refuse(errno.ESRCH)
        return [
            {
                "domid": domid,
                "dying": self.domains[domid].zombie,
                "hvm": int(self.domains[domid].hvm),
                "handle": list(self.domains[domid].handle),
            }
            for domid in found
        ]

    def owner(self, address: Address) -> int:
        """Which domain owns a device."""
        return self._owners.get(address, DOM0)

    def _domain(self, domid: int) -> DomainRights:
        try:
            return self.domains[domid]
        except KeyError:
            raise refuse(errno.ESRCH) from None

    # -- assignment ----------------------------------------------------------------------------------

    def _assignable_to(self, domid: int) -> None:
        """Whether devices can be assigned to a domain at all."""
        enabled = self._iommu if domid in (DOMID_IO, DOMID_INVALID) else self._domain(domid).iommu
        if not enabled:
            raise refuse(errno.EOPNOTSUPP if self._xen >= (4, 13) else errno.ENOSYS)

    def test_assign(self, domid: int, sbdf: int) -> None:
        """Whether `assign` would work: EINVAL if the device is absent or a guest has it."""
        self._assignable_to(domid)
        address = Address.from_sbdf(sbdf)
        if address not in self._devices or self.owner(address) not in (DOM0, DOMID_IO):
            raise refuse(errno.EINVAL)

    def assign(self, domid: int, sbdf: int, relaxed: bool = False) -> None:
        """Give a device to a domain, or with DOMID_IO to quarantine; `relaxed`: shared reserved memory is no matter."""
        self._assignable_to(domid)
        if domid != DOMID_IO and self._domain(domid).dying:
            raise refuse(errno.EINVAL)
        address = Address.from_sbdf(sbdf)
        if address not in self._devices:
            raise refuse(errno.ENODEV)
        owner = self.owner(address)
        if domid == DOMID_IO and owner == DOMID_IO:
            return
        if owner not in (DOM0, DOMID_IO):
            raise refuse(errno.EBUSY)
        if address in self.broken:
            raise refuse(errno.EBADF)
        if domid != DOMID_IO and not relaxed and self._shares_reserved_memory(self._devices[address]):
            raise refuse(errno.EPERM)
        self._owners[address] = domid
        self._note("xen", "assign", f"{address} {domid}")
        self.on_assigned(domid)

    def _shares_reserved_memory(self, device: Device) -> bool:
        """Whether firmware has one region for this device and for others (intel_iommu_assign_device in vtd/iommu.c)."""
        others = (other for other in self._devices.values() if other is not device)
        regions = {region for other in others for region in other.facts.reserved}
        return not regions.isdisjoint(device.facts.reserved)

    def deassign(self, domid: int, sbdf: int) -> None:
        """Take a device from a domain: to quarantine, or from quarantine to dom0."""
        self._assignable_to(domid)
        address = Address.from_sbdf(sbdf)
        if address not in self._devices or self.owner(address) != domid:
            raise refuse(errno.ENODEV)
        self._owners[address] = DOM0 if domid == DOMID_IO else DOMID_IO
        self._note("xen", "deassign", f"{address} {domid}")

    def device_group(self, domid: int, sbdf: int) -> tuple[int, ...]:
        """Devices that cannot be told apart by the IOMMU: those behind the same conventional bridge,
        among those that the domain owns."""
        address = Address.from_sbdf(sbdf)
        device = self._devices.get(address)
        if device is None:
            return ()
        group = [device]
        if device.parent is not None and device.parent.model_name == "pci-bridge":
            group = [other for other in self._devices.values() if other.parent is device.parent]
        return tuple(other.address.sbdf for other in group if self.owner(other.address) == domid)

    # -- permissions ---------------------------------------------------------------------------------

    def ioport_permission(self, domid: int, first: int, count: int, allow: bool) -> None:
        """Grant or revoke I/O ports."""
        domain = self._domain(domid)
        if count < 1 or first < 0 or first + count > IOPORTS:
            raise refuse(errno.EINVAL)
        self._set(domain.ports, range(first, first + count), allow)
        self._note("xen", "ioport", f"{domid} {first:#x}+{count:#x} {int(allow)}")

    def iomem_permission(self, domid: int, first: int, count: int, allow: bool) -> None:
        """Grant or revoke memory, in frames of 4 KiB."""
        domain = self._domain(domid)
        if count < 1 or first < 0 or first + count > 1 << 40:
            raise refuse(errno.EINVAL)
        self._set(domain.frames, range(first, first + count), allow)
        self._note("xen", "iomem", f"{domid} {first:#x}+{count:#x} {int(allow)}")

    def irq_permission(self, domid: int, pirq: int, allow: bool) -> None:
        """Grant or revoke an interrupt."""
        domain = self._domain(domid)
        if not 0 <= pirq < PIRQS:
            raise refuse(errno.EINVAL)
        self._set(domain.irqs, range(pirq, pirq + 1), allow)
        self._note("xen", "irq", f"{domid} {pirq} {int(allow)}")

    def map_pirq(self, domid: int, index: int, pirq: int) -> int:
        """Map a GSI; the number that the domain knows it by."""
        domain = self._domain(domid)
        if self.domains[DOM0].hvm and not domain.hvm:
            raise refuse(errno.ENOSYS)  # a PVH dom0 has no pirqs
        if not 0 <= index < PIRQS:
            raise refuse(errno.EINVAL)
        number = index if pirq < 0 else pirq
        if domain.pirqs.get(number, index) != index:
            raise refuse(errno.EEXIST)
        domain.pirqs[number] = index
        return number

    def unmap_pirq(self, domid: int, pirq: int) -> None:
        """Undo a mapping; EINVAL if there is none."""
        domain = self._domain(domid)
        if domain.pirqs.pop(pirq, None) is None:
            raise refuse(errno.EINVAL)

    @staticmethod
    def _set(rights: set[int], numbers: range, allow: bool) -> None:
        if allow:
            rights.update(numbers)
        else:
            rights.difference_update(numbers)

    # -- what a guest can do -------------------------------------------------------------------------

    def may_touch(self, domid: int, device: Device) -> bool:
        """Whether a PV guest can map a device's registers."""
        domain = self.domains.get(domid)
        if domain is None:
            return False
        for region in device.regions:
            if region.start and not region.io:
                last = region.end >> 12
                if region.start >> 12 not in domain.frames or last not in domain.frames:
                    return False
        return True

    def may_interrupt(self, domid: int, device: Device) -> bool:
        """Whether a guest gets MSI-X: the device is its own, and so is its interrupt."""
        domain = self.domains.get(domid)
        if domain is None or self.owner(device.address) != domid:
            return False
        return not device.irq or device.irq in domain.irqs
