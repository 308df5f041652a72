# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The PCI part of libxl's stored configuration of a domain, from which libxl rebuilds the domain at a reboot.

Form and order of an entry are those of libxl's generator (libxl_types.idl, `libxl_device_pci`): fields that have
their default value are left out, and so is a list without entries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..values.address import Sbdf
from ..values.device_options import NO_OPTIONS, DeviceOptions

Config = Mapping[str, Any]

_DEVICES = "pcidevs"
_OPTIONS = ("vdevfn", "msitranslate", "power_mgmt", "permissive", "rdm_policy")
#: Greatest segment, bus, slot and function.
_LAST = (0xFFFF, 0xFF, 0x1F, 7)
#: libxl_defbool in JSON (libxl_json.c). libxl makes False of a default here, since xl sets it where `pci` is given.
_BOOLEANS = {"True": True, "False": False, "<default>": False}


@dataclass(frozen=True)
class Creation:
    """What a domain was created with, as far as hot-plug depends on it; None if not recorded.

    `passthrough` is what was asked for; "default" means that it depended on whether the domain had devices then.
    `memory` and `maximum` are what it began with and what it may have, in MiB.
    """

    passthrough: str | None = None
    e820_host: bool | None = None
    memory: int | None = None
    maximum: int | None = None

    @classmethod
    def of(cls, config: Config) -> Creation:
        """Read a stored configuration; what is not as libxl writes it is ignored."""
        info, build = config.get("c_info"), _mapping(config.get("b_info"))
        paravirtual = build.get("type.pv")
        passthrough = info.get("passthrough", "default") if isinstance(info, dict) else None
        return cls(
            passthrough=passthrough if isinstance(passthrough, str) else None,
            e820_host=_BOOLEANS.get(str(paravirtual.get("e820_host", "<default>")))
            if isinstance(paravirtual, dict)
            else None,
            memory=_mib(build.get("target_memkb")),
            maximum=_mib(build.get("max_memkb")),
        )

    @property
    def on_demand(self) -> bool:
        """Whether it began with less memory than it may have: populate-on-demand, unless it is a PV guest."""
        return self.memory is not None and self.maximum is not None and self.memory < self.maximum


def configured(config: Config) -> tuple[Sbdf, ...]:
    """Read which devices the domain is to have after a reboot, as far as its entries can be read."""
    return tuple(device for entry in _entries(config) if (device := _device_of(entry)) is not None)


def stored_name(config: Config) -> str | None:
    """Read the name that the domain was created with, None if there is none."""
    name = _mapping(config.get("c_info")).get("name")
    return name if isinstance(name, str) and name else None


def configured_options(config: Config) -> dict[Sbdf, DeviceOptions]:
    """Read with which options the domain is to have its devices after a reboot."""
    entries = ((_device_of(entry), entry) for entry in _entries(config))
    return {device: DeviceOptions.from_entry(entry) for device, entry in entries if device is not None}


def amended(
    config: Config,
    add: Collection[Sbdf] = (),
    remove: Collection[Sbdf] = (),
    options: Mapping[Sbdf, DeviceOptions] = NO_OPTIONS,
) -> dict[str, Any]:
    """Return the configuration with the devices `add` and without `remove`; all else stays as it is.

    A device that is listed already keeps its entry, unless `options` has others for it.
    """
    entries = [entry for entry in _entries(config) if _device_of(entry) not in set(remove) - set(add)]
    present = {_device_of(entry) for entry in entries}
    entries = [_with_options(entry, options) for entry in entries]
    entries += [
        _entry(device, options.get(device, DeviceOptions())) for device in dict.fromkeys(add) if device not in present
    ]
    if entries:
        return {**config, _DEVICES: entries}
    return {key: value for key, value in config.items() if key != _DEVICES or not isinstance(value, list)}


def _entries(config: Config) -> list[Any]:
    entries = config.get(_DEVICES)
    return entries if isinstance(entries, list) else []


def _entry(device: Sbdf, options: DeviceOptions) -> dict[str, Any]:
    """Make the entry that `xl pci-attach` writes for a device with these options."""
    address = {"func": device.function, "dev": device.slot, "bus": device.bus, "domain": device.segment}
    return {**{name: number for name, number in address.items() if number}, **options.as_entry()}


def _with_options(entry: Any, options: Mapping[Sbdf, DeviceOptions]) -> Any:
    """Return an entry with the options of its device, the others as they are; with none, it stays as it is written."""
    device = _device_of(entry)
    wanted = options.get(device) if device is not None else None
    if not wanted:
        return entry
    now = wanted.over(DeviceOptions.from_entry(entry)).as_entry()
    return {**{name: value for name, value in entry.items() if name not in _OPTIONS}, **now}


def _device_of(entry: Any) -> Sbdf | None:
    """Read the device of an entry; libxl distinguishes devices by these four numbers alone (COMPARE_PCI)."""
    if not isinstance(entry, dict):
        return None
    numbers = [entry.get(name, 0) for name in ("domain", "bus", "dev", "func")]
    is_address = all(
        isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= last
        for number, last in zip(numbers, _LAST)
    )
    return Sbdf(*numbers) if is_address else None


def _mib(kib: Any) -> int | None:
    return kib // 1024 if isinstance(kib, int) else None


def _mapping(value: Any) -> Config:
    return value if isinstance(value, dict) else {}
