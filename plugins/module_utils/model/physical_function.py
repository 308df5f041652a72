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
    """What the physical function's driver enforces on a virtual one; None if not declared, or not known.

    A `vlan` of 0 means none. `link_state` (auto, enable or disable) is only observed.
    """

    mac: str | None = None
    vlan: int | None = None
    spoof_check: bool | None = None
    link_state: str | None = None

    def missing_in(self, now: VfSettings) -> VfSettings:
        """Return the declared settings that differ from those of now."""
        pairs = {name: (getattr(self, name), getattr(now, name)) for name in self.__dataclass_fields__}
        return VfSettings(**{name: wanted for name, (wanted, seen) in pairs.items() if wanted not in (None, seen)})

    def __str__(self) -> str:
        words = [f"MAC address {self.mac}"] * (self.mac is not None)
        words += [f"VLAN {self.vlan}" if self.vlan else "no VLAN"] * (self.vlan is not None)
        words += [f"spoof check {'on' if self.spoof_check else 'off'}"] * (self.spoof_check is not None)
        return ", ".join(words)


@dataclass(frozen=True)
class PhysicalFunction:
    """A physical function as observed: its device, and whether drivers are offered new virtual functions.

    `settings` has what is set for each virtual function, by its index. If that could not be read, `settings_problem`
    says why. `first_offset` and `stride` say how far the first virtual function is from the physical one, and each from
    the one before it, in numbers of functions; `vf_device` is the virtual functions' number of the chip. Both offsets
    are 0 where the kernel does not say it.
    """

    device: PciDevice
    drivers_autoprobe: bool = True
    settings: Mapping[int, VfSettings] = field(default_factory=dict)
    settings_problem: str = ""
    first_offset: int = 0
    stride: int = 0
    vf_device: str = ""

    @property
    def interface(self) -> str | None:
        """The network interface through which settings are made; None if the driver provides none."""
        return self.device.net[0].name if self.device.net else None
