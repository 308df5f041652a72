# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the names of a declaration mean on this host now, and what was declared with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..model.host import Host
from ..values.address import Sbdf
from ..values.catalog import Catalog, CatalogEntry, DevicePolicy, read_catalog
from .device_facts import all_facts
from .names import Lookup, Resolution
from .pools import resolve_all
from .safety import wrong_waivers


def checked_catalog(declared: object) -> Catalog:
    """The catalog, with the waivers of its entries checked as well."""
    catalog = read_catalog(declared)
    return replace(catalog, refusals=(*catalog.refusals, *wrong_waivers(catalog.entries)))


def resolve_names(catalog: Mapping[str, CatalogEntry], host: Host, wanted: Iterable[str]) -> Resolution:
    """The devices that wanted names and pools mean. Raises NeedsJmespath if an expression needs it and it is absent."""
    chosen_as = {sbdf: note.name for sbdf, note in host.notes.items() if note.name}
    where = Lookup(host.devices, host.remembered, chosen_as)
    return resolve_all(catalog, where, wanted, host, lambda: all_facts(host))


def device_policies(catalog: Mapping[str, CatalogEntry], names: Mapping[Sbdf, str]) -> dict[Sbdf, DevicePolicy]:
    """What was declared of each device besides which one it is; `names` are those they were found under."""
    entries = {sbdf: catalog.get(name, CatalogEntry()) for sbdf, name in names.items()}
    return {sbdf: DevicePolicy(names[sbdf], entry.waive, entry.permissive) for sbdf, entry in entries.items()}
