# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up which devices the names of a declaration mean on a host, and what is declared of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..model.host import Host
from ..values.address import Sbdf
from ..values.catalog import Catalog, CatalogEntry, DevicePolicy, read_catalog
from ..values.refusal import Refused
from .names import Lookup, Resolution, find_functions
from .pools import resolve_all
from .safety import wrong_waivers


def checked_catalog(declared: object) -> Catalog:
    """Read the catalog, and check the waivers of its entries."""
    catalog = read_catalog(declared)
    return replace(catalog, refusals=(*catalog.refusals, *wrong_waivers(catalog.entries)))


def resolve_names(
    catalog: Mapping[str, CatalogEntry], host: Host, wanted: Iterable[str], leaving: Collection[str] = ()
) -> Resolution:
    """Find the devices that names and pools mean; those of `leaving` need not be on the host.

    Raises NeedsJmespath if an expression needs it and it is absent.
    """
    chosen_as = {sbdf: note.name for sbdf, note in host.notes.items() if note.name}
    where = Lookup(host.devices, host.remembered, chosen_as, host.gone)
    return resolve_all(catalog, where, wanted, host, lambda: _facts(host), leaving)


def _facts(host: Host) -> list[dict[str, Any]]:
    from .device_facts import all_facts  # noqa: PLC0415 - only pools need facts, and each import costs every run

    return all_facts(host)


def catalog_names(catalog: Mapping[str, CatalogEntry], host: Host) -> dict[Sbdf, str]:
    """Return the name of each single device and card of the catalog, as far as they can be found on the host."""
    where, names = Lookup(host.devices, host.remembered), dict[Sbdf, str]()
    for name, entry in catalog.items():
        with suppress(Refused):  # refused where the name is wanted
            names.update(dict.fromkeys(() if entry.pool is not None else find_functions(name, catalog, where), name))
    return names


def device_policies(catalog: Mapping[str, CatalogEntry], names: Mapping[Sbdf, str]) -> dict[Sbdf, DevicePolicy]:
    """Return what is declared of each device besides its identity; `names` has the name it was found under."""
    entries = {sbdf: catalog.get(name, CatalogEntry()) for sbdf, name in names.items()}
    return {
        sbdf: DevicePolicy(names[sbdf], entry.waive, entry.permissive, entry.options) for sbdf, entry in entries.items()
    }
