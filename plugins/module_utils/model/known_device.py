# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a function told of itself while its own driver held it, beside all that can be read of it whoever holds it."""

from __future__ import annotations

from dataclasses import dataclass

from ..values.identity import Remembered
from .host import PciDevice


@dataclass(frozen=True)
class KnownDevice:
    """One function as it was seen once; `path` is the way to it from the root bus, `serial` PCI Express' own."""

    path: str
    vendor: str
    device: str
    subsystem_vendor: str
    subsystem_device: str
    class_code: str
    function: int
    serial: str | None = None
    nvme_serial: str | None = None
    macs: tuple[str, ...] = ()

    @classmethod
    def of(cls, device: PciDevice, told: Remembered) -> KnownDevice:
        """The function as it is now, and what it told."""
        return cls(
            path=device.path,
            vendor=device.vendor,
            device=device.device,
            subsystem_vendor=device.subsystem_vendor,
            subsystem_device=device.subsystem_device,
            class_code=device.class_code,
            function=device.sbdf.function,
            serial=device.serial,
            nvme_serial=told.nvme_serial,
            macs=told.macs,
        )

    @property
    def product(self) -> tuple[str, ...]:
        """What any other card of the same make has as well; with the serial number, what another card has not.

        The ports of one card share its serial number, so the function belongs to it.
        """
        ids = (self.vendor, self.device, self.subsystem_vendor, self.subsystem_device, self.class_code)
        return (*ids, str(self.function), self.serial or "")
