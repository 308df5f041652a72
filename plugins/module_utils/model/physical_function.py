# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Physical functions and what is set for their virtual functions, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .device import PciDevice


@dataclass(frozen=True)
class VfSettings:
    """What the physical function's driver enforces on a virtual one; None: not declared, or not told by the driver.

    `vlan` 0: none.
    """

    mac: str | None = None
    vlan: int | None = None
    spoof_check: bool | None = None

    def missing_in(self, now: VfSettings) -> VfSettings:
        """The declared part of this that is not so now."""
        pairs = {name: (getattr(self, name), getattr(now, name)) for name in self.__dataclass_fields__}
        return VfSettings(**{name: wanted for name, (wanted, seen) in pairs.items() if wanted not in (None, seen)})

    def __str__(self) -> str:
        words = [f"MAC address {self.mac}"] * (self.mac is not None)
        words += [f"VLAN {self.vlan}" if self.vlan else "no VLAN"] * (self.vlan is not None)
        words += [f"spoof check {'on' if self.spoof_check else 'off'}"] * (self.spoof_check is not None)
        return ", ".join(words)


@dataclass(frozen=True)
class PhysicalFunction:
    """A physical function as it is: its device, whether drivers are offered new virtual functions, and settings.

    `settings` is by the index of the virtual function.
    """

    device: PciDevice
    drivers_autoprobe: bool = True
    settings: Mapping[int, VfSettings] = field(default_factory=dict)

    @property
    def interface(self) -> str | None:
        """The network interface through which settings are made; a driver without one has none."""
        return self.device.net[0].name if self.device.net else None
