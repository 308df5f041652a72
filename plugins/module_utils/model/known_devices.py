# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a function told of itself while its own driver held it, beside all that can be read of it whoever holds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..values.address import Sbdf
from ..values.identity import Remembered
from .device import PciDevice


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


def recall(known: Iterable[KnownDevice], devices: Mapping[Sbdf, PciDevice]) -> dict[Sbdf, Remembered]:
    """What is known of functions that pciback holds, from earlier boots."""
    known = list(known)
    here = {sbdf: KnownDevice.of(device, telling(device)) for sbdf, device in devices.items() if device.physfn is None}
    told = {text for seen in here.values() for text in _texts(seen)}
    by_path = {earlier.path: earlier for earlier in known}
    by_serial = {earlier.product: earlier for earlier in known if earlier.serial}
    unique = {product for product, count in Counter(seen.product for seen in here.values()).items() if count == 1}
    unique -= {product for product, count in Counter(earlier.product for earlier in known).items() if count > 1}
    found = {}
    for sbdf, seen in here.items():
        note = by_serial.get(seen.product) if seen.product in unique else None
        note = note or by_path.get(seen.path)
        if note is not None and devices[sbdf].in_pciback and note.product == seen.product and not told & _texts(note):
            found[sbdf] = Remembered(note.nvme_serial, note.macs, earlier_boot=True)
    return found


def worth_knowing(devices: Mapping[Sbdf, PciDevice], noted: Mapping[Sbdf, Remembered]) -> list[KnownDevice]:
    """What to remember for the next boot: what functions tell now, and of those in pciback what is `noted`.

    Virtual functions are not there when the host has booted, and may get other addresses.
    """
    told = {sbdf: telling(device) for sbdf, device in devices.items() if device.physfn is None}
    told = {
        sbdf: noted.get(sbdf, readable) if devices[sbdf].in_pciback and not readable.says_anything else readable
        for sbdf, readable in told.items()
    }
    return [KnownDevice.of(devices[sbdf], readable) for sbdf, readable in told.items() if readable.says_anything]


def telling(device: PciDevice) -> Remembered:
    """What a function tells now by its own driver."""
    return Remembered(device.nvme_serial, tuple(interface.mac for interface in device.net if interface.mac))


def _texts(device: KnownDevice) -> frozenset[str]:
    return frozenset([*device.macs, *([device.nvme_serial] if device.nvme_serial else [])])
