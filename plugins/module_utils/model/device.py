# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One PCI function of a host as observed, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..values.address import Sbdf
from ..values.reserved_memory import ReservedMemory

#: Name of the driver in dom0 that holds devices for guests.
PCIBACK = "pciback"
_BRIDGE_CLASS = "06"
_NETWORK_CLASS = "02"
#: Parts of the mainboard by class: SMBus (it reaches the memory modules), interrupt controllers, timers, IOMMU.
_MAINBOARD_CLASSES = ("0c05", "0800", "0801", "0802", "0803", "0806")
_IO_SPACE = 0x1
_DOWNSTREAM_PORT = 6
_NO_LINE = 255


class XenOwner(Enum):
    """What Xen says of a device's owner; Xen does not say which guest it is."""

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
        """Whether the window is in port space; otherwise it is in memory."""
        return bool(self.flags & _IO_SPACE)

    @property
    def size(self) -> int:
        """Number of bytes or ports."""
        return self.end - self.start + 1


@dataclass(frozen=True)
class ConfigFlags:
    """What a driver switches on in configuration space when it takes a device, as dom0 reads it."""

    memory: bool = False
    bus_master: bool = False
    msi: bool = False
    msix: bool = False

    @property
    def driver_is_active(self) -> bool:
        """Whether a driver has enabled the device, so that it may do DMA or raise message interrupts."""
        return self.bus_master or self.msi or self.msix


@dataclass(frozen=True)
class NetInterface:
    """A network interface of the host that a device provides.

    `promiscuous`: it takes all frames, as for a bridge or a switch that the kernel does not know.
    """

    name: str
    mac: str
    is_up: bool
    upper: tuple[str, ...] = ()
    promiscuous: bool = False


@dataclass(frozen=True)
class BlockUse:
    """A block device of the host that a device provides, and what uses it (empty if nothing)."""

    name: str
    used_by: tuple[str, ...] = ()


class Acs(Enum):
    """Whether access control services (ACS) send a function's accesses to its neighbors through the IOMMU."""

    ON = "on"
    OFF = "off"
    ABSENT = "absent"
    UNKNOWN = "unknown"

    @property
    def missing(self) -> bool:
        """Whether ACS is certainly off or absent; False where configuration space cannot be read that far."""
        return self in (Acs.OFF, Acs.ABSENT)


@dataclass(frozen=True)
class PciDevice:
    """One PCI function of the host; identifiers are lower-case hexadecimal without prefix."""

    # ---- which one it is

    #: Where it sits on the host.
    sbdf: Sbdf
    #: Vendor of the chip.
    vendor: str
    #: That vendor's number of the chip.
    device: str
    #: Vendor of the card.
    subsystem_vendor: str
    #: That vendor's number of the card.
    subsystem_device: str
    #: Class, sub-class and programming interface: six digits.
    class_code: str
    #: Revision of the chip.
    revision: str
    #: The text by which the kernel finds drivers for it.
    modalias: str = ""
    #: PCI Express' device serial number; the functions of one card share it. None: it has none.
    serial: str | None = None
    #: Serial number of an NVMe controller; None while pciback holds it, or if it is no such controller.
    nvme_serial: str | None = None

    # ---- where it sits

    #: The way from the root bus by slots and functions, the same whatever numbers the buses get.
    path: str = ""
    #: What the firmware calls the slot.
    slot: str | None = None
    #: What the firmware calls the device.
    label: str | None = None
    #: NUMA node, -1 if unknown.
    numa_node: int = -1
    #: The bridge above; None on a root bus.
    parent: Sbdf | None = None
    #: The Intel VMD that it is behind, if Xen has no number for its segment.
    behind: Sbdf | None = None
    #: Functions directly behind it, if it is a bridge.
    children: tuple[Sbdf, ...] = ()
    #: PCI Express' own number for what it is (type of the port), None for conventional PCI.
    port_type: int | None = None
    #: Whether it keeps its accesses to its neighbors on the way through the IOMMU.
    acs: Acs = Acs.UNKNOWN
    #: Memory that the firmware reserves for it (RMRR).
    reserved_memory: tuple[ReservedMemory, ...] = ()

    # ---- its configuration space

    #: Type of the header without the multi-function bit; 1: a bridge.
    header_type: int = 0
    #: False for a dead device, one that is broken or without power: its configuration space reads as all ones.
    answers: bool = True
    #: What a driver has switched on.
    config: ConfigFlags = ConfigFlags()
    #: A write to its files that an earlier run has given up and that goes on in the kernel, in words; empty if none
    #: does. Its configuration space is not read then: the kernel makes readers wait for a reset (pci_wait_cfg).
    hanging_write: str = ""

    # ---- its windows, its interrupts and its reset

    #: Windows of memory and ports: the BARs and the ROM.
    resources: tuple[Resource, ...] = ()
    #: Number of its interrupt line, as far as Linux shows it; 0 if it has none.
    irq: int = 0
    #: Which of the four lines it uses; 0: it has no line.
    interrupt_pin: int = 0
    #: It has MSI or MSI-X and can do without the line.
    message_interrupts: bool = False
    #: Ways in which the kernel can reset it.
    reset_methods: tuple[str, ...] = ()

    # ---- SR-IOV

    #: Of a virtual function: its physical one.
    physfn: Sbdf | None = None
    #: Of a virtual function: its number there.
    vf_index: int | None = None
    #: Of a physical function: its virtual ones now, in the order of their numbers.
    virtfns: tuple[Sbdf, ...] = ()
    #: Of a physical function: how many virtual ones it can have.
    sriov_totalvfs: int = 0
    #: Of a physical function: whether the kernel offers its virtual ones to drivers.
    virtfns_probed: bool = True

    # ---- what the host uses it for

    #: The host's driver that holds it.
    driver: str | None = None
    #: The only driver that the kernel lets take it, None if any may.
    driver_override: str | None = None
    #: Network interfaces on it.
    net: tuple[NetInterface, ...] = ()
    #: Its driver runs a network interface, but none is here: another network namespace or a program has it.
    interface_elsewhere: bool = False
    #: Disks on it.
    block: tuple[BlockUse, ...] = ()
    #: How the host's console depends on it, in words.
    consoles: tuple[str, ...] = ()

    # ---- what pciback says of it

    #: How often pciback's list names it, None where the kernel shows only the beginning of the list.
    pciback_slots: int | None = 0
    #: Whether pciback lets its guest write all of its configuration space.
    permissive: bool = False
    #: pciback's error, if its hold on the device is lost, which only a restart of dom0 ends; empty if it is not.
    lost_hold: str = ""

    @property
    def is_bridge(self) -> bool:
        """Whether it is a bridge by class or header; pciback's own test for it never matches, so we must refuse."""
        return self.class_code.startswith(_BRIDGE_CLASS) or self.header_type == 1 or bool(self.children)

    @property
    def is_mainboard_part(self) -> bool:
        """Whether it is a part of the mainboard by class, which the host itself needs."""
        return self.class_code.startswith(_MAINBOARD_CLASSES)

    @property
    def belongs_to_host(self) -> bool:
        """Whether it is nothing to give away, also if pciback holds it: pciback obeys a wrong `hide=`, too."""
        return self.is_bridge or self.is_mainboard_part or not self.sbdf.has_xen_number

    @property
    def line(self) -> int:
        """Its interrupt line if that is one that Xen can give, else 0.

        255 means none in PCI, and Linux says 0x80000000 (IRQ_NOTCONNECTED) for a device that is wired to nothing. libxl
        takes the same range (pci_add_dm_done in libxl_pci.c).
        """
        return self.irq if 0 < self.irq < _NO_LINE else 0

    @property
    def is_network_card(self) -> bool:
        """Whether it is one by its class."""
        return self.class_code.startswith(_NETWORK_CLASS)

    @property
    def is_switch_port(self) -> bool:
        """Whether it is a port of a PCI Express switch that devices are plugged into (Downstream Port)."""
        return self.port_type == _DOWNSTREAM_PORT

    @property
    def in_pciback(self) -> bool:
        """Whether it is bound to pciback, so that it can be given to a domain."""
        return self.driver == PCIBACK

    @property
    def lost_hold_in_words(self) -> str:
        """Why no guest can get a device whose hold is lost; empty for all other devices."""
        said = f"since a change that failed, pciback keeps it and gives it to no guest ({self.lost_hold[:200]!r})"
        return said if self.lost_hold else ""
