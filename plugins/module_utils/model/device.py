# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One PCI function of a host as observed, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..values.address import Sbdf
from ..values.reserved_memory import ReservedMemory

#: Name of the driver in dom0 from which guests get devices.
PCIBACK = "pciback"
_BRIDGE_CLASS = "06"
_IO_SPACE = 0x1
_DOWNSTREAM_PORT = 6


class XenOwner(Enum):
    """What Xen says of a device's owner; which guest it is, Xen does not tell."""

    HOST = "host"
    GUEST = "guest"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Resource:
    """One address window of a device: first and last address (bytes or ports) and Linux' flags."""

    start: int
    end: int
    flags: int

    @property
    def is_io_ports(self) -> bool:
        """Port space; otherwise memory."""
        return bool(self.flags & _IO_SPACE)

    @property
    def size(self) -> int:
        """Number of bytes or ports."""
        return self.end - self.start + 1


@dataclass(frozen=True)
class ConfigFlags:
    """What a driver switches on in configuration space when it takes a device; from dom0's view."""

    memory: bool = False
    bus_master: bool = False
    msi: bool = False
    msix: bool = False

    @property
    def driver_is_active(self) -> bool:
        """A driver has enabled the device: it decodes and may do DMA or raise message interrupts."""
        return self.bus_master or self.msi or self.msix


@dataclass(frozen=True)
class NetInterface:
    """A network interface of the host that stands on a device."""

    name: str
    mac: str
    is_up: bool
    upper: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockUse:
    """A block device of the host that stands on a device, and what holds it (empty if nothing)."""

    name: str
    used_by: tuple[str, ...] = ()


class Acs(Enum):
    """Whether access control services (ACS) send a function's accesses to its neighbours by way of the IOMMU."""

    ON = "on"
    OFF = "off"
    ABSENT = "absent"
    UNKNOWN = "unknown"

    @property
    def missing(self) -> bool:
        """For certain: nothing is said where configuration space cannot be read that far."""
        return self in (Acs.OFF, Acs.ABSENT)


@dataclass(frozen=True)
class PciDevice:
    """One PCI function of the host. Identifiers are lower-case hexadecimal without prefix.

    `path` is the way from the root bus by slots and functions, the same whatever numbers the buses get; `slot` what
    the firmware calls the slot, `label` the device. `parent` is the bridge above. `interrupt_pin` 0: it has no line;
    `message_interrupts`: it can do without one. `consoles` says how the host's console depends on it.
    `pciback_slots` is how often pciback's list names it, None where the list is cut. `port_type` is PCI Express' own
    number for what it is, None for conventional PCI. `answers` is False for a device that is broken or without power.
    `reserved_memory` is what firmware keeps it at. `lost_hold`: what pciback said when it kept the device for nobody,
    which only a restart of dom0 ends; empty if it has not.
    """

    sbdf: Sbdf
    vendor: str
    device: str
    subsystem_vendor: str
    subsystem_device: str
    class_code: str
    revision: str
    modalias: str = ""
    driver: str | None = None
    numa_node: int = -1
    irq: int = 0
    header_type: int = 0
    serial: str | None = None
    nvme_serial: str | None = None
    reset_methods: tuple[str, ...] = ()
    resources: tuple[Resource, ...] = ()
    physfn: Sbdf | None = None
    virtfns: tuple[Sbdf, ...] = ()
    sriov_totalvfs: int = 0
    children: tuple[Sbdf, ...] = ()
    config: ConfigFlags = ConfigFlags()
    net: tuple[NetInterface, ...] = ()
    block: tuple[BlockUse, ...] = ()
    path: str = ""
    slot: str | None = None
    label: str | None = None
    vf_index: int | None = None
    parent: Sbdf | None = None
    interrupt_pin: int = 0
    message_interrupts: bool = False
    consoles: tuple[str, ...] = ()
    permissive: bool = False
    pciback_slots: int | None = 0
    port_type: int | None = None
    acs: Acs = Acs.UNKNOWN
    answers: bool = True
    reserved_memory: tuple[ReservedMemory, ...] = ()
    lost_hold: str = ""

    @property
    def is_bridge(self) -> bool:
        """A bridge by class or header; pciback's own test for it never matches, so we must refuse."""
        return self.class_code.startswith(_BRIDGE_CLASS) or self.header_type == 1 or bool(self.children)

    @property
    def is_switch_port(self) -> bool:
        """A port of a PCI Express switch that devices are plugged into (Downstream Port)."""
        return self.port_type == _DOWNSTREAM_PORT

    @property
    def in_pciback(self) -> bool:
        """Bound to pciback: can be given to a domain."""
        return self.driver == PCIBACK

    @property
    def lost_hold_in_words(self) -> str:
        """What is the matter with a device that pciback keeps for nobody; empty for all others."""
        said = f"pciback holds it for nobody since a change that it refused ({self.lost_hold[:200]!r})"
        return said if self.lost_hold else ""
