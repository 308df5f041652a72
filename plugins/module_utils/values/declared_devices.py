# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which devices of a declaration pciback is to hold, before anything of it is checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any


def assignable_names(
    catalog: Any, domains: Any = None, virtual_functions: Any = None, only: Collection[str] | None = None
) -> list[Any]:
    """List the names and addresses of all declared devices, except physical functions.

    These are what other entries and the declared virtual functions name as their pf. With `only`, the devices of these
    domains alone. A variable whose entries are all commented out is null, and counts as empty. What is no name, such as
    the number that YAML makes of an address without quotes, stays in the list, so that it is refused.
    """
    declared = catalog if isinstance(catalog, Mapping) else {}
    wanted = domains if isinstance(domains, Mapping) else {}
    if only is not None:
        chosen = {name: wanted[name] for name in wanted if name in only}
        return list(_once(_requested(chosen, with_parts=True)))
    divided = virtual_functions if isinstance(virtual_functions, (list, tuple)) else ()
    physical = [entry.get("pf") for entry in (*declared.values(), *divided) if isinstance(entry, Mapping)]
    names = [name for name in declared if name not in physical]
    return list(_once([*names, *_requested(wanted)]))


def _once(devices: Any) -> Iterator[Any]:
    """Yield each element once; they may be anything, and so need not be hashable."""
    seen: list[Any] = []
    for device in devices:
        if device not in seen:
            seen.append(device)
            yield device


def _requested(domains: Mapping[str, Any], with_parts: bool = False) -> Iterator[Any]:
    """Yield what domains are to have; parts of a pool only with `with_parts`, as the catalog has pools already."""
    for domain in domains.values():
        if not isinstance(domain, Mapping):
            yield from _written(domain, with_parts)
        elif domain.get("state", "present") != "absent":
            yield from _written(domain.get("devices"), with_parts)


def _written(devices: Any, with_parts: bool) -> Iterator[Any]:
    """Yield the elements of a list, and a number that is there instead of one."""
    if isinstance(devices, (list, tuple)):
        for device in devices:
            if not isinstance(device, Mapping):
                yield device
            elif with_parts:
                yield device.get("from", device)
    elif isinstance(devices, (int, float)):
        yield devices
