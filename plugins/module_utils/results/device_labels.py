# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a device is called in results: its name in the inventory, and words that say which device it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..model.device import PciDevice
from ..model.host import Host
from ..plan.catalog_lookup import catalog_names
from ..plan.names import Resolution
from ..values.address import Sbdf
from ..values.catalog import CatalogEntry, address_of
from ..values.identity import Remembered
from .plan_text import Part, PlanLine, printable

#: Kinds of devices by the first digits of their class; of several that fit, the longest is meant.
_KINDS = {
    "0108": "nvme",
    "01": "storage",
    "02": "network",
    "03": "display",
    "0403": "audio",
    "04": "multimedia",
    "07": "communication",
    "0c03": "usb",
    "0c04": "fiber channel",
    "10": "encryption",
    "12": "accelerator",
}
#: A serial number is what the device says, and can be of any length.
_LONGEST_SERIAL = 32
#: An address in a sentence; not in a path, in a command or a quotation, or in an entry of a file.
_ADDRESS = re.compile(
    r"(?<![\w'\"\[/.=:-])(?<![=)]\()[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7](?![\w/'\"]|,\w)", re.ASCII
)


@dataclass(frozen=True)
class DeviceLabels:
    """What the devices of a host are called.

    `host` is that from before the changes, so that a device is called the same in check mode and after the run.
    `names` are those under which devices were found for a declaration.
    """

    host: Host
    names: Mapping[Sbdf, str] = field(default_factory=dict)
    catalog: Mapping[str, CatalogEntry] = field(default_factory=dict)

    @classmethod
    def of(cls, host: Host, resolution: Resolution, catalog: Mapping[str, CatalogEntry]) -> DeviceLabels:
        """Call devices by the names that a declaration was resolved with, and by other names of its catalog."""
        return cls(host, resolution.expand([*resolution.found, *resolution.pools, *resolution.gone]), catalog)

    @classmethod
    def merged(cls, several: Sequence[DeviceLabels]) -> DeviceLabels:
        """Call devices as these do, by the host of the last one."""
        names = {sbdf: name for one in several for sbdf, name in one.names.items()}
        return cls(several[-1].host, names, {name: entry for one in several for name, entry in one.catalog.items()})

    def name(self, sbdf: Sbdf) -> str | None:
        """Return the name in the inventory; else the one under which an earlier run took the device; else None."""
        declared = self.names.get(sbdf, "")
        if declared and address_of(declared) is None:
            return declared
        noted = self.host.notes[sbdf].name if sbdf in self.host.notes else ""
        called = self._catalog_names.get(sbdf) or noted
        return called if called and address_of(called) is None else None

    def named(self, text: str) -> str:
        """Put the names of devices before their addresses, but for a name that the same line says already."""
        return "\n".join(map(self._named_line, text.split("\n")))

    def _named_line(self, line: str) -> str:
        def with_name(found: re.Match[str]) -> str:
            name = self.name(Sbdf.parse(found[0]))
            said = name is not None and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", line)
            return found[0] if name is None or said else f"{name} {found[0]}"

        return _ADDRESS.sub(with_name, line)

    def what(self, sbdf: Sbdf) -> str:
        """Say which device it is, in a few words; empty if the host does not have it."""
        device = self.host.devices.get(sbdf)
        if device is None:
            return ""
        if device.physfn is not None:
            return f"VF {device.vf_index} of {self.name(device.physfn) or device.physfn}"
        remembered = self.host.remembered.get(sbdf, Remembered())
        serial = device.nvme_serial or remembered.nvme_serial or device.serial
        return f"{_kind(device)} {_short(serial) if serial else f'{device.vendor}:{device.device}'}"

    def line(self, part: Part, subject: str, sign: str, sbdf: Sbdf, change: str = "") -> PlanLine:
        """Make the line of a plan about a device."""
        return PlanLine(part, subject, sign, self.name(sbdf) or "", sbdf, self.what(sbdf), change)

    @cached_property
    def _catalog_names(self) -> Mapping[Sbdf, str]:
        """Names of devices that the task is not about; found only if one of them has to be named."""
        return catalog_names(self.catalog, self.host)


def _kind(device: PciDevice) -> str:
    base, sub = device.class_code[:2], device.class_code[:4]
    return _KINDS.get(sub) or _KINDS.get(base) or f"class {sub}"


def _short(serial: str) -> str:
    words = printable(" ".join(serial.split()))
    return words if len(words) <= _LONGEST_SERIAL else f"{words[: _LONGEST_SERIAL - 3]}..."
