# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PCI configuration space as bytes: header, PM, MSI, MSI-X and PCIe capabilities, serial number, SR-IOV, ACS."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

SIZE = 4096

COMMAND = 0x04
COMMAND_IO = 0x0001
COMMAND_MEMORY = 0x0002
COMMAND_MASTER = 0x0004
COMMAND_SERR = 0x0100
COMMAND_INTX_OFF = 0x0400

PM = 0x40
MSIX = 0x50
PCIE = 0x60
MSI = 0x90
MSIX_CONTROL = MSIX + 2
MSIX_ENABLE = 0x8000
MSI_CONTROL = MSI + 2
MSI_ENABLE = 0x0001

AER = 0x100
SERIAL = 0x140
SRIOV = 0x160
ACS = 0x1B0


@dataclass(frozen=True)
class Bar:
    """One region: `kind` is mem, mem64, prefetch64 or io; sizes in bytes."""

    size: int
    kind: str = "mem"

    @property
    def wide(self) -> bool:
        """Whether it takes two registers."""
        return self.kind.endswith("64")


@dataclass(frozen=True)
class Identity:
    """The numbers that drivers match on."""

    vendor: int
    device: int
    class_code: int
    revision: int = 0
    subsystem_vendor: int = 0
    subsystem_device: int = 0


@dataclass(frozen=True)
class Capabilities:
    """What a function can do. `vfs` is (total, first offset, stride, device id of a VF)."""

    flr: bool = True
    msix_vectors: int = 0
    msi: bool = False
    serial: bytes | None = None
    vfs: Sequence[int] | None = None
    port_type: int = 0
    acs: bool = False


def build(
    identity: Identity, capabilities: Capabilities, multifunction: bool, buses: Sequence[int] | None = None
) -> bytearray:
    """The 4096 bytes after firmware has set up the function. `buses` (primary, secondary,
    subordinate) makes it a bridge."""
    space = bytearray(SIZE)
    command = COMMAND_IO | COMMAND_MEMORY | COMMAND_SERR
    struct.pack_into("<HHHH", space, 0, identity.vendor, identity.device, command, 0x0010)
    struct.pack_into("<I", space, 0x08, identity.class_code << 8 | identity.revision)
    space[0x0E] = (0x80 if multifunction else 0) | (1 if buses else 0)
    if buses:
        space[0x18:0x1B] = bytes(buses)
    else:
        struct.pack_into("<HH", space, 0x2C, identity.subsystem_vendor, identity.subsystem_device)
    space[0x34] = PM
    space[0x3D] = 1
    _capability(space, PM, 0x01, MSIX if capabilities.msix_vectors else PCIE)
    struct.pack_into("<HH", space, PM + 2, 0x0003, 0x0008)  # no soft reset: D3hot does not reset it
    if capabilities.msix_vectors:
        _capability(space, MSIX, 0x11, PCIE)
        struct.pack_into("<HII", space, MSIX_CONTROL, capabilities.msix_vectors - 1, 3, 0x2003)
    _capability(space, PCIE, 0x10, MSI if capabilities.msi else 0)
    if capabilities.msi:
        _capability(space, MSI, 0x05, 0)
    struct.pack_into("<HI", space, PCIE + 2, 2 | capabilities.port_type << 4, (1 << 28) if capabilities.flr else 0)
    _extended(space, capabilities)
    return space


def _capability(space: bytearray, offset: int, number: int, following: int) -> None:
    space[offset], space[offset + 1] = number, following


def _extended(space: bytearray, capabilities: Capabilities) -> None:
    """Chain the extended capabilities that are there."""
    chain = [(AER, 0x0001, 2)]
    if capabilities.serial:
        chain.append((SERIAL, 0x0003, 1))
        space[SERIAL + 4 : SERIAL + 12] = capabilities.serial
    if capabilities.vfs:
        total, offset, stride, device = capabilities.vfs
        chain.append((SRIOV, 0x0010, 1))
        struct.pack_into("<HHHHHHxxH", space, SRIOV + 0x0C, total, total, 0, 0, offset, stride, device)
    if capabilities.acs:
        chain.append((ACS, 0x000D, 1))
        struct.pack_into("<HH", space, ACS + 4, 0x001F, 0x001D)  # Xen has switched on what isolates
    for index, (position, number, version) in enumerate(chain):
        following = chain[index + 1][0] if index + 1 < len(chain) else 0
        struct.pack_into("<I", space, position, number | version << 16 | following << 20)
