# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One PCI function of the machine, as data."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import Any

from . import config_space
from .models import Model

_ADDRESS = re.compile(r"(?:([0-9a-fA-F]{1,4}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\.([0-7])\Z")

IORESOURCE_IO = 0x00040101
IORESOURCE_MEM = 0x00040200
IORESOURCE_MEM64 = 0x00140204
IORESOURCE_PREFETCH64 = 0x0014220C


@dataclass(frozen=True, order=True)
class Address:
    """Segment, bus, slot and function."""

    segment: int
    bus: int
    slot: int
    function: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``[SSSS:]BB:DD.F``; ValueError if it is none."""
        match = _ADDRESS.match(text)
        if match is None or int(match.group(3), 16) > 0x1F:
            raise ValueError(f"{text!r} is not a PCI address")
        return cls(
            int(match.group(1) or "0", 16), int(match.group(2), 16), int(match.group(3), 16), int(match.group(4))
        )

    @classmethod
    def from_sbdf(cls, sbdf: int) -> Address:
        """From the number that Xen uses."""
        return cls(sbdf >> 16, sbdf >> 8 & 0xFF, sbdf >> 3 & 0x1F, sbdf & 7)

    @property
    def devfn(self) -> int:
        """Slot and function in one byte."""
        return self.slot << 3 | self.function

    @property
    def sbdf(self) -> int:
        """The number that Xen uses."""
        return self.segment << 16 | self.bus << 8 | self.devfn

    def __str__(self) -> str:
        return f"{self.segment:04x}:{self.bus:02x}:{self.slot:02x}.{self.function}"


#: Message interrupts have numbers beyond those of all lines.
_FIRST_MESSAGE = 64


@dataclass(frozen=True)
class Region:
    """One line of the resource file; `flags` as in Linux' ioport.h."""

    start: int
    end: int
    flags: int

    @property
    def io(self) -> bool:
        """Whether these are ports."""
        return bool(self.flags & 0x100)


@dataclass
class Facts:
    """What the description says of one function beyond its model."""

    numa: int = -1
    mac: str = ""
    serial: str = ""
    name: str = ""
    mounted: str = ""
    up: bool = False
    boot_vga: bool = False
    reserved: tuple[tuple[int, int], ...] = ()


@dataclass(eq=False)
class Device:
    """One function. What changes in its life is changed by `PciBus` only."""

    address: Address
    model: Model
    model_name: str
    facts: Facts
    config: bytearray
    regions: list[Region]
    irq: int
    parent: Device | None = None
    physfn: Device | None = None
    driver: str | None = None
    override: str = ""
    vfs: list[Device] = field(default_factory=list)
    autoprobe: bool = True
    resets: list[str] = field(default_factory=list)
    reset_count: int = 0
    broken_reset: bool = False
    numvfs_error: int = 0
    qemu_refusal: str = ""
    names: list[str] = field(default_factory=list)
    #: What `ip` has set for a virtual function, in the words of its JSON.
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.address)

    @property
    def command(self) -> int:
        """The COMMAND register."""
        return int(struct.unpack_from("<H", self.config, config_space.COMMAND)[0])

    @property
    def message(self) -> int | None:
        """Number of its message interrupt while it uses MSI (not MSI-X)."""
        used = self.model.msi and self.config[config_space.MSI_CONTROL] & config_space.MSI_ENABLE
        return _FIRST_MESSAGE + self.address.bus * 256 + self.address.devfn if used else None

    def driver_took_it(self, interrupts: bool = True) -> None:
        """A driver enables memory, bus mastering and, where it gets MSI or MSI-X, that instead of INTx."""
        command = config_space.COMMAND_IO | config_space.COMMAND_MEMORY | config_space.COMMAND_SERR
        command |= config_space.COMMAND_MASTER
        if self.model.msix_vectors and interrupts:
            command |= config_space.COMMAND_INTX_OFF
            self._msix(True)
        if self.model.msi and interrupts:
            self.config[config_space.MSI_CONTROL] |= config_space.MSI_ENABLE
        struct.pack_into("<H", self.config, config_space.COMMAND, command)

    def driver_left_it(self) -> None:
        """Back to what firmware had set up (a reset with the saved state restored looks the same)."""
        command = config_space.COMMAND_IO | config_space.COMMAND_MEMORY | config_space.COMMAND_SERR
        struct.pack_into("<H", self.config, config_space.COMMAND, command)
        self._msix(False)
        if self.model.msi:
            self.config[config_space.MSI_CONTROL] &= ~config_space.MSI_ENABLE

    def _msix(self, on: bool) -> None:
        if self.model.msix_vectors:
            control = int(struct.unpack_from("<H", self.config, config_space.MSIX_CONTROL)[0])
            control = control | config_space.MSIX_ENABLE if on else control & ~config_space.MSIX_ENABLE
            struct.pack_into("<H", self.config, config_space.MSIX_CONTROL, control)

    def modalias(self) -> str:
        """What drivers are looked up by."""
        i = self.model.identity
        return (
            f"pci:v{i.vendor:08X}d{i.device:08X}sv{i.subsystem_vendor:08X}sd{i.subsystem_device:08X}"
            f"bc{i.class_code >> 16:02X}sc{i.class_code >> 8 & 0xFF:02X}i{i.class_code & 0xFF:02X}"
        )


def serial_bytes(text: str) -> bytes:
    """The Device Serial Number in config space order from ``52-54-00-ff-ff-00-01-01``."""
    return bytes(int(part, 16) for part in reversed(text.split("-")))


def serial_from_mac(mac: str) -> str:
    """How NICs build their serial number: ff-ff in the middle of the MAC."""
    parts = mac.split(":")
    return "-".join([*parts[:3], "ff", "ff", *parts[3:]])


class Apertures:
    """Hands out bus addresses, as firmware does: each aligned to its size, so that small ones share a page; ports from
    0x1000."""

    def __init__(self) -> None:
        self._memory = 0xC0000000
        self._wide = 0x38_0000_0000
        self._ports = 0x1000

    def regions(self, model: Model) -> list[Region]:
        """The thirteen lines of a resource file (BARs, ROM, VF BARs)."""
        lines: list[Region] = []
        for window in model.bars:
            lines.append(self._place(window))
            if window.wide:
                lines.append(Region(0, 0, 0))
        return lines + [Region(0, 0, 0)] * (13 - len(lines))

    def _place(self, window: config_space.Bar) -> Region:
        if window.kind == "io":
            start, self._ports = self._take(self._ports, window.size, window.size)
            return Region(start, start + window.size - 1, IORESOURCE_IO)
        step = window.size
        if window.kind == "prefetch64":
            start, self._wide = self._take(self._wide, step, step)
            return Region(start, start + window.size - 1, IORESOURCE_PREFETCH64)
        start, self._memory = self._take(self._memory, step, step)
        flags = IORESOURCE_MEM64 if window.kind == "mem64" else IORESOURCE_MEM
        return Region(start, start + window.size - 1, flags)

    @staticmethod
    def _take(free: int, size: int, alignment: int) -> tuple[int, int]:
        start = (free + alignment - 1) // alignment * alignment
        return start, start + size
