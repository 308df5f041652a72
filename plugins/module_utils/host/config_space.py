# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device's configuration space: the few fields that decisions need, read no further than necessary.

Offsets are those of the PCI and PCI Express specifications (Linux lists them in include/uapi/linux/pci_regs.h).
The kernel may hand out only 64 or 256 bytes; what lies behind that counts as absent.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from ..model.device import Acs, ConfigFlags

_COMMAND, _STATUS, _HEADER_TYPE, _CAPABILITIES, _INTERRUPT_PIN = 0x04, 0x06, 0x0E, 0x34, 0x3D
_COMMAND_MEMORY, _COMMAND_BUS_MASTER = 0x2, 0x4
_STATUS_HAS_CAPABILITIES = 0x10
_MULTI_FUNCTION = 0x80
_HEADER = 0x40
_CAP_MSI, _CAP_PCI_EXPRESS, _CAP_MSIX = 0x05, 0x10, 0x11
_MSI_ENABLE, _MSIX_ENABLE = 0x0001, 0x8000
_EXTENDED_START, _EXTENDED_END = 0x100, 0x1000
_EXT_SERIAL_NUMBER, _EXT_ACS = 0x0003, 0x000D
#: Source validation, request redirect, completion redirect, upstream forwarding: what sends a device's every access to
#: its neighbors by way of the IOMMU (REQ_ACS_FLAGS in Linux' drivers/iommu/iommu.c; Xen's pci_enable_acs sets these).
_ACS_ISOLATES = 0x001D

#: A list longer than this runs in a circle: capabilities are at least 4 (extended: 8) bytes apart.
_MOST_CAPABILITIES = 48
_MOST_EXTENDED = 480


class ConfigSpace:
    """Fields of one function's configuration space; `read(offset, length)` may return fewer bytes."""

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        self._read = read

    def answers(self) -> bool:
        """Whether the device answers. What is not answered reads as all ones; so does a part of a virtual function."""
        return self._header.count(0xFF) < _HEADER

    def header_type(self) -> int:
        """0 for a device, 1 for a bridge; the multi-function bit is left out."""
        return (self._number(_HEADER_TYPE, 1) or 0) & ~_MULTI_FUNCTION

    def flags(self) -> ConfigFlags:
        """Read what a driver has switched on."""
        command = self._number(_COMMAND, 2) or 0
        if command == 0xFFFF:  # no answer: the device is gone or asleep, nothing of it is on
            return ConfigFlags()
        return ConfigFlags(
            memory=bool(command & _COMMAND_MEMORY),
            bus_master=bool(command & _COMMAND_BUS_MASTER),
            msi=bool(self._control_of(_CAP_MSI) & _MSI_ENABLE),
            msix=bool(self._control_of(_CAP_MSIX) & _MSIX_ENABLE),
        )

    def interrupt_pin(self) -> int:
        """Which interrupt line (1 to 4 for A to D) it uses, 0 for none."""
        pin = self._number(_INTERRUPT_PIN, 1) or 0
        return pin if pin <= 4 else 0

    def has_message_interrupts(self) -> bool:
        """Whether it has MSI or MSI-X, and so can do without an interrupt line."""
        return _CAP_MSI in self._capabilities or _CAP_MSIX in self._capabilities

    def port_type(self) -> int | None:
        """Read PCI Express' Device/Port Type, None for a conventional device.

        4 is a root port, 5 and 6 are an upstream and a downstream port of a switch.
        """
        at = self._capabilities.get(_CAP_PCI_EXPRESS)
        flags = self._number(at + 2, 2) if at is not None else None
        return None if flags is None else flags >> 4 & 0xF

    def acs(self) -> Acs:
        """Whether access control services keep it from its neighbors.

        What a function does not offer it need not control (pci_acs_flags_enabled in Linux' drivers/pci/pci.c).
        """
        capabilities, complete = self._extended_capabilities
        at = capabilities.get(_EXT_ACS)
        if at is None and not complete:
            return Acs.UNKNOWN
        offered = self._number(at + 4, 2) if at else None
        enabled = self._number(at + 6, 2) if at else None
        if offered is None or enabled is None:
            return Acs.ABSENT
        return Acs.OFF if offered & _ACS_ISOLATES & ~enabled else Acs.ON

    def serial_number(self) -> str | None:
        """Read the PCI Express device serial number, most significant byte first as `lspci -v` prints it."""
        at = self._extended_capabilities[0].get(_EXT_SERIAL_NUMBER)
        low = self._number(at + 4, 4) if at else None
        high = self._number(at + 8, 4) if at else None
        if low is None or high is None:
            return None
        return (high << 32 | low).to_bytes(8, "big").hex("-")

    def _number(self, offset: int, size: int) -> int | None:
        data = self._header[offset : offset + size] if offset + size <= _HEADER else self._read(offset, size)
        return int.from_bytes(data, "little") if len(data) == size else None

    def _control_of(self, capability: int) -> int:
        at = self._capabilities.get(capability)
        return (self._number(at + 2, 2) or 0) if at is not None else 0

    @cached_property
    def _header(self) -> bytes:
        """The part that every function has, and that the kernel lets every user read."""
        return self._read(0, _HEADER)

    @cached_property
    def _capabilities(self) -> dict[int, int]:
        """Where each capability is; of several of a kind the first."""
        found: dict[int, int] = {}
        if not (self._number(_STATUS, 2) or 0) & _STATUS_HAS_CAPABILITIES:
            return found
        at = (self._number(_CAPABILITIES, 1) or 0) & ~3
        for _step in range(_MOST_CAPABILITIES):
            header = self._number(at, 2) if at else None
            if header is None or header == 0xFFFF:
                break
            found.setdefault(header & 0xFF, at)
            at = (header >> 8) & ~3
        return found

    @cached_property
    def _extended_capabilities(self) -> tuple[dict[int, int], bool]:
        """The same for PCI Express, and whether the list could be read to its end."""
        found: dict[int, int] = {}
        at = _EXTENDED_START if _CAP_PCI_EXPRESS in self._capabilities else 0
        for _step in range(_MOST_EXTENDED):
            header = self._number(at, 4) if _EXTENDED_START <= at < _EXTENDED_END else 0
            if header is None or header == 0xFFFFFFFF:
                return found, False
            if not header:
                break
            found.setdefault(header & 0xFFFF, at)
            at = (header >> 20) & ~3
        return found, True
