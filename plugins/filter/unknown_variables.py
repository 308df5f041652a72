# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter: find misspelled variables of an inventory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.xen.pci.plugins.module_utils.values.variables import unknown_variables

DOCUMENTATION = r"""
name: unknown_variables
short_description: Find variables that look like those of xen.pci and are none
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Takes names of variables and returns a sentence for each one that begins with C(xen_pci) and that nothing in this
    collection reads, with the nearest name that is read.
  - The playbook C(xen.pci.apply) and the role C(xen.pci.host) refuse such variables, because a misspelled name would
    otherwise count as nothing declared.
options:
  _input:
    description: Names of variables.
    type: list
    elements: str
    required: true
seealso:
  - plugin: ansible.builtin.varnames
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Refuse misspelled variables
  ansible.builtin.assert:
    that: unknown | length == 0
    fail_msg: "{{ unknown | join(' ') }}"
  vars:
    unknown: "{{ query('ansible.builtin.varnames', '^xen_pci') | xen.pci.unknown_variables }}"
"""

RETURN = r"""
_value:
  description: A sentence for each unknown variable.
  type: list
  elements: str
  sample: ["xen_pci_device is not a variable of xen.pci. Did you mean 'xen_pci_devices'?"]
"""


def sentences(names: Any) -> list[str]:
    """Write a sentence for each unknown variable. Raises AnsibleFilterError if the names are not a list of texts."""
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise AnsibleFilterError(f"xen.pci.unknown_variables takes a list of names of variables, not {names!r}.")
    return [str(refusal) for refusal in unknown_variables(names)]


class FilterModule:
    """The class that Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"unknown_variables": sentences}
