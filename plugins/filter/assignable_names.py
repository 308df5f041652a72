# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter: list the devices of an inventory that pciback is to hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.xen.pci.plugins.module_utils.values.declared_devices import assignable_names

DOCUMENTATION = r"""
name: assignable_names
short_description: List the devices of an inventory that pciback is to hold
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Takes a catalog and returns its names in their order, followed by devices that domains list and the catalog does not
    name. The result is what O(xen.pci.assignable_devices#module:devices) of M(xen.pci.assignable_devices) takes.
  - A physical function that another device, a pool or O(virtual_functions) names as its V(pf) is left out. It stays in
    dom0, where its driver makes the virtual functions. It is in the result only if a domain lists it.
  - Nothing is checked. What is wrong with the declaration is refused by the modules, so it stays in the result.
positional: domains, virtual_functions
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
  virtual_functions:
    description: Physical functions and what they are to have, as in O(xen.pci.host_state#module:virtual_functions).
    type: list
    elements: dict
    default: []
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
  elements: raw
  sample: [vf-pool, scratch, "0000:04:00.0"]
"""


class FilterModule:
    """The class that Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"assignable_names": assignable_names}
