# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions as they were seen in earlier boots, to recognize them while pciback holds them.

Some identities, such as an NVMe serial number, can be read only while the function's own driver holds it. They are kept
with everything that can be read at any time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..values.address import Sbdf
from ..values.identity import Remembered
from .device import PciDevice


@dataclass(frozen=True)
class KnownDevice:
    """One function as it was seen once; `path` is the way to it from the root bus, `serial` that of PCI Express."""

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
    def of(cls, device: PciDevice, read: Remembered) -> KnownDevice:
        """Combine the function as it is now with what only its own driver could read."""
        return cls(
            path=device.path,
            vendor=device.vendor,
            device=device.device,
            subsystem_vendor=device.subsystem_vendor,
            subsystem_device=device.subsystem_device,
            class_code=device.class_code,
            function=device.sbdf.function,
            serial=device.serial,
            nvme_serial=read.nvme_serial,
            macs=read.macs,
        )

    @property
    def product(self) -> tuple[str, ...]:
        """What all cards of the same make have in common, with the serial number if there is one.

        The ports of one card share its serial number, so the number of the function is a part of it.
        """
        ids = (self.vendor, self.device, self.subsystem_vendor, self.subsystem_device, self.class_code)
        return (*ids, str(self.function), self.serial or "")


def recall(known: Iterable[KnownDevice], devices: Mapping[Sbdf, PciDevice]) -> dict[Sbdf, Remembered]:
    """Find what earlier boots have read of the functions that pciback holds now."""
    known = list(known)
    here = {sbdf: KnownDevice.of(device, read_now(device)) for sbdf, device in devices.items() if device.physfn is None}
    readable = {text for seen in here.values() for text in _texts(seen)}
    by_path = {earlier.path: earlier for earlier in known}
    by_serial = {earlier.product: earlier for earlier in known if earlier.serial}
    unique = {product for product, count in Counter(seen.product for seen in here.values()).items() if count == 1}
    unique -= {product for product, count in Counter(earlier.product for earlier in known).items() if count > 1}
    found = {}
    for sbdf, seen in here.items():
        note = by_serial.get(seen.product) if seen.product in unique else None
        note = note or by_path.get(seen.path)
        if (
            note is not None
            and devices[sbdf].in_pciback
            and note.product == seen.product
            and not readable & _texts(note)
        ):
            found[sbdf] = Remembered(note.nvme_serial, note.macs, earlier_boot=True)
    return found


def worth_knowing(devices: Mapping[Sbdf, PciDevice], noted: Mapping[Sbdf, Remembered]) -> list[KnownDevice]:
    """Choose what to remember for the next boot: what can be read now, and of functions in pciback what is `noted`.

    Virtual functions do not exist yet when the host has booted, and may get other addresses, so they are left out.
    """
    known = {sbdf: read_now(device) for sbdf, device in devices.items() if device.physfn is None}
    known = {
        sbdf: noted.get(sbdf, read) if devices[sbdf].in_pciback and not read.says_anything else read
        for sbdf, read in known.items()
    }
    return [KnownDevice.of(devices[sbdf], read) for sbdf, read in known.items() if read.says_anything]


def read_now(device: PciDevice) -> Remembered:
    """Return what can be read of a function now through its own driver."""
    return Remembered(device.nvme_serial, tuple(interface.mac for interface in device.net if interface.mac))


def _texts(device: KnownDevice) -> frozenset[str]:
    return frozenset([*device.macs, *([device.nvme_serial] if device.nvme_serial else [])])
