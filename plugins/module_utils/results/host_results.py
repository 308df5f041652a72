# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of host_state: those of its parts as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: What is there even if no part returns it.
_ALWAYS = ("physical_functions", "devices", "domains", "moved", "missing", "waived", "repaired")


def merged_values(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the values of several parts together: lists one after the other, each element once.

    A device that two parts moved is there once, as it was before the first and is after the last.
    """
    result: dict[str, Any] = {key: [] for key in _ALWAYS}
    for part in parts:
        for key, value in part.items():
            if key == "devices":
                result[key] = _devices([*result[key], *value])
            elif isinstance(value, list):
                result[key] = _once([*result.get(key, ()), *value])
            else:
                result[key] = value
    return result


def _devices(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    devices: dict[str, dict[str, Any]] = {}
    for device in found:
        known = devices.get(device["address"], device)
        name = device["name"] if known["name"] is None else known["name"]
        devices[device["address"]] = {**device, "name": name, "driver_before": known["driver_before"]}
    return [devices[address] for address in sorted(devices)]


def _once(values: Sequence[Any]) -> list[Any]:
    """Leave out what is there already; elements may be dictionaries, which are not hashable."""
    return [value for at, value in enumerate(values) if value not in values[:at]]
