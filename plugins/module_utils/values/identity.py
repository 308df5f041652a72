# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity of a declared device, and whether a function of the host fits it.

An address says where a device sits today and is the weakest identity. Stronger ones are what the device carries
(serial numbers, MAC address) and where it is plugged in (slot, topology path, firmware's label).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Protocol

from .address import Sbdf

_NVME_CLASS, _NETWORK_CLASS = "0108", "02"
#: Each of these distinguishes a device from others of the same make; the other fields only say what kind it is.
_DISTINGUISHING = ("serial", "nvme_serial", "mac", "slot", "path", "label", "vf")
#: What only the device's own driver can read, so it cannot be read while pciback holds the device.
_READ_BY_DRIVERS = ("nvme_serial", "mac")


class HasMac(Protocol):
    """What the identity of a device uses of a network interface."""

    @property
    def mac(self) -> str: ...


class DeviceFacts(Protocol):
    """What the identity of a device uses of a PCI function."""

    @property
    def sbdf(self) -> Sbdf: ...
    @property
    def vendor(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def subsystem_vendor(self) -> str: ...
    @property
    def subsystem_device(self) -> str: ...
    @property
    def class_code(self) -> str: ...
    @property
    def driver(self) -> str | None: ...
    @property
    def serial(self) -> str | None: ...
    @property
    def nvme_serial(self) -> str | None: ...
    @property
    def net(self) -> Sequence[HasMac]: ...
    @property
    def slot(self) -> str | None: ...
    @property
    def path(self) -> str: ...
    @property
    def label(self) -> str | None: ...
    @property
    def physfn(self) -> Sbdf | None: ...
    @property
    def vf_index(self) -> int | None: ...
    @property
    def virtfns(self) -> tuple[Sbdf, ...]: ...
    @property
    def sriov_totalvfs(self) -> int: ...


@dataclass(frozen=True)
class Remembered:
    """What was read of a device while its own driver held it, and cannot be read while pciback does.

    `earlier_boot`: it was read before the host last booted.
    """

    nvme_serial: str | None = None
    macs: tuple[str, ...] = ()
    earlier_boot: bool = False

    @property
    def says_anything(self) -> bool:
        """Whether something is remembered by which the device can be recognized."""
        return bool(self.nvme_serial or self.macs)


class Match(IntEnum):
    """Whether a function is the declared one; UNKNOWN if nothing contradicts it, but a fact cannot be read now."""

    NO = 0
    UNKNOWN = 1
    YES = 2


@dataclass(frozen=True)
class Identity:
    """A device as declared; hexadecimal is lower case without prefix, and None means not declared.

    `pf` is a name of the catalog or an address. Before a comparison, `physfn` is set to the address that it means now.
    """

    address: Sbdf | None = None
    vendor: str | None = None
    device: str | None = None
    subsystem_vendor: str | None = None
    subsystem_device: str | None = None
    class_code: str | None = None
    serial: str | None = None
    nvme_serial: str | None = None
    mac: str | None = None
    slot: str | None = None
    function: int | None = None
    path: str | None = None
    label: str | None = None
    pf: str | None = None
    vf: int | None = None
    physfn: Sbdf | None = None

    def __str__(self) -> str:
        pairs = [(field.name, getattr(self, field.name)) for field in fields(self) if field.name != "physfn"]
        return ", ".join(
            f"{'class' if name == 'class_code' else name} {value}" for name, value in pairs if value is not None
        )

    def without_address(self) -> Identity:
        """Leave out the place where the device was."""
        return replace(self, address=None)

    @property
    def tells_apart(self) -> bool:
        """Whether something besides the address is declared that only one device has."""
        return any(getattr(self, name) is not None for name in _DISTINGUISHING)

    @property
    def says_more_than_drivers(self) -> bool:
        """Whether something is declared that can be read whichever driver holds the device."""
        return any(
            getattr(self, field.name) is not None for field in fields(self) if field.name not in _READ_BY_DRIVERS
        )

    def was_read_as(self, remembered: Remembered) -> bool:
        """Whether this is the device of which its own driver has read this, as far as that distinguishes it."""
        by_serial = self.nvme_serial is not None and self.nvme_serial == remembered.nvme_serial
        return by_serial or (self.mac is not None and self.mac in remembered.macs)

    def match(self, facts: DeviceFacts, remembered: Remembered = Remembered()) -> Match:
        """Compare everything declared, including the address, with a function of the host."""
        fixed = (
            (self.address, facts.sbdf),
            (self.vendor, facts.vendor),
            (self.device, facts.device),
            (self.subsystem_vendor, facts.subsystem_vendor),
            (self.subsystem_device, facts.subsystem_device),
            (self.serial, facts.serial),
            (self.slot, facts.slot),
            (self.function, facts.sbdf.function),
            (self.path, facts.path),
            (self.label, facts.label),
            (self.physfn, facts.physfn),
            (self.vf, facts.vf_index),
        )
        if any(declared is not None and declared != seen for declared, seen in fixed):
            return Match.NO
        if self.class_code is not None and not facts.class_code.startswith(self.class_code):
            return Match.NO
        return min(self._match_nvme(facts, remembered), self._match_mac(facts, remembered))

    def _match_nvme(self, facts: DeviceFacts, remembered: Remembered) -> Match:
        if self.nvme_serial is None:
            return Match.YES
        seen = facts.nvme_serial or remembered.nvme_serial
        if seen is not None:
            return Match.YES if seen == self.nvme_serial else Match.NO
        readable = facts.driver == "nvme" or not facts.class_code.startswith(_NVME_CLASS)
        return Match.NO if readable else Match.UNKNOWN

    def _match_mac(self, facts: DeviceFacts, remembered: Remembered) -> Match:
        if self.mac is None:
            return Match.YES
        seen = [interface.mac for interface in facts.net] or list(remembered.macs)
        if seen:
            return Match.YES if self.mac in seen else Match.NO
        return Match.UNKNOWN if facts.class_code.startswith(_NETWORK_CLASS) else Match.NO
