# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter: list the devices of an inventory that pciback is to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

DOCUMENTATION = r"""
name: assignable_names
short_description: List the devices of an inventory that pciback is to hold
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Takes a catalog and returns its names in their order, followed by devices that domains list and the catalog does not
    name. The result is what O(xen.pci.assignable_devices#module:devices) of M(xen.pci.assignable_devices) takes.
  - A physical function that another device or a pool names as its V(pf) is left out. It stays in dom0, where its driver
    makes the virtual functions. It is in the result only if a domain lists it.
  - Nothing is checked. What is wrong with the declaration is refused by the modules.
positional: domains
options:
  _input:
    description: Names of devices with what they are, as in O(xen.pci.assignable_devices#module:catalog).
    type: dict
    required: true
  domains:
    description:
      - What domains are to have, as in O(xen.pci.domain_devices#module:domains).
      - Domains with V(state=absent) do not count.
    type: dict
    default: {}
seealso:
  - module: xen.pci.assignable_devices
  - module: xen.pci.domain_devices
"""

EXAMPLES = r"""
- name: Have pciback hold every declared device
  xen.pci.assignable_devices:
    devices: "{{ xen_pci_devices | xen.pci.assignable_names(xen_pci_domains) }}"
    catalog: "{{ xen_pci_devices }}"
"""

RETURN = r"""
_value:
  description: Names and addresses.
  type: list
  elements: str
  sample: [vf-pool, scratch, "0000:04:00.0"]
"""


def assignable_names(catalog: Any, domains: Any = None) -> list[str]:
    """List the names and addresses of all declared devices, except physical functions that others name as their pf.

    A variable whose entries are all commented out is null, and counts as empty.
    """
    declared = catalog if isinstance(catalog, Mapping) else {}
    physical = [entry.get("pf") for entry in declared.values() if isinstance(entry, Mapping)]
    listed = _listed(domains if isinstance(domains, Mapping) else {})
    return list(dict.fromkeys([*(name for name in declared if name not in physical), *listed]))


def _listed(domains: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names and addresses that domains are to have; parts of a pool are in the catalog already."""
    for domain in domains.values():
        if isinstance(domain, Mapping) and domain.get("state", "present") != "absent":
            devices = domain.get("devices")
            yield from (device for device in (devices if isinstance(devices, list) else []) if isinstance(device, str))


class FilterModule:
    """The class that Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"assignable_names": assignable_names}
