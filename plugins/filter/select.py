# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter: choose devices from what host_info returned."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.xen.pci.plugins.module_utils.plan.pools import (
    NeedsJmespath,
    SelectionError,
    in_use_first,
    select,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import AddressError, Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import Criteria, parse_value
from ansible_collections.xen.pci.plugins.module_utils.values.keys import WrongValue
from ansible_collections.xen.pci.plugins.module_utils.values.unquoted import advice_if_unquoted

DOCUMENTATION = r"""
name: select
short_description: Choose PCI devices of a Xen host by their facts
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Takes the devices that M(xen.pci.host_info) returned and returns those that fit everything given.
  - The choice is the one that a pool in the catalog of M(xen.pci.assignable_devices) makes, as far as facts show it.
    With O(count), devices that domains have come first, then those that pciback holds, so that a second run makes the
    same choice.
positional: expression
options:
  _input:
    description: Devices, or the whole result of M(xen.pci.host_info).
    type: raw
    required: true
  expression:
    description:
      - A JMESPath expression over the list of devices. It must yield devices or their addresses.
      - Numbers and truth values are literals in backticks, text is in single quotes.
    type: str
  count:
    description: How many devices. Fewer are an error. If not given, all that fit.
    type: int
  numa_node:
    description: NUMA node.
    type: int
  class:
    description: Beginning of the class, hexadecimal, as V(0200) for Ethernet.
    type: str
  pf:
    description: Address of a physical function, to choose among its virtual functions.
    type: str
  free:
    description:
      - With V(true), devices that neither the host nor a domain uses and that no check refuses. With V(false), the
        others.
      - If not given, both.
    type: bool
requirements:
  - jmespath on the control node, if O(expression) is given
notes:
  - Results are plain data. The tags that Ansible puts on data, such as its origin, are not kept.
seealso:
  - module: xen.pci.host_info
  - module: xen.pci.assignable_devices
"""

EXAMPLES = r"""
- name: Look at the host
  xen.pci.host_info:
  register: xen

- name: All network cards on NUMA node 0 that have virtual functions
  ansible.builtin.debug:
    msg: "{{ xen | xen.pci.select('[?sriov_totalvfs > `0`]', class='02', numa_node=0) | map(attribute='address') }}"

- name: Two free virtual functions of a card
  ansible.builtin.set_fact:
    chosen: "{{ xen | xen.pci.select(pf='0000:3b:00.0', free=true, count=2) }}"
"""

RETURN = r"""
_value:
  description: Devices, each as M(xen.pci.host_info) describes it.
  type: list
  elements: dict
"""

OPTIONS = ("count", "numa_node", "class", "pf", "free")
_CLASS = re.compile(r"(?:0x)?([0-9a-f]{0,6})", re.ASCII)


def select_devices(data: Any, expression: str | None = None, **options: Any) -> list[Mapping[str, Any]]:
    """Choose the devices that fit everything given. Raises AnsibleFilterError."""
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise AnsibleFilterError(f"xen.pci.select has no option {', '.join(unknown)}; it has {', '.join(OPTIONS)}.")
    devices, given = _devices(data), _read(_plain(options, "options"))
    criteria = Criteria(None if expression is None else str(expression), given.get("numa_node"), free=False)
    try:
        physical = str(Sbdf.parse(given["pf"])) if given.get("pf") is not None else None
        fitting = [device for device in select(devices, criteria) if _fits(device, given, physical)]
    except NeedsJmespath:
        raise AnsibleFilterError(
            "xen.pci.select needs jmespath to evaluate an expression. Install it for Python on the control node."
        ) from None
    except (SelectionError, AddressError) as error:
        raise AnsibleFilterError(f"xen.pci.select: {error}.") from None
    return _counted(fitting, given.get("count"))


def _read(options: Mapping[str, Any]) -> dict[str, Any]:
    """Read the options that are given, as a pool in the catalog does, so that a mistake is not taken for no device."""
    given = {key: value for key, value in options.items() if value is not None}
    try:
        for key in {"numa_node", "free"} & set(given):
            given.update(parse_value(key, given[key]))
        if "class" in given:
            digits = _CLASS.fullmatch(given["class"].lower()) if isinstance(given["class"], str) else None
            if digits is None:
                wanted = "the beginning of six hexadecimal digits in quotes"
                raise WrongValue(f"class must be {wanted}, not {given['class']!r}", advice_if_unquoted(given["class"]))
            given["class"] = digits[1]
    except ValueError as error:
        advice = error.advice if isinstance(error, WrongValue) else ""
        raise AnsibleFilterError(f"xen.pci.select: {error}{'; ' if advice else ''}{advice}.") from None
    return given


def _devices(data: Any) -> list[Mapping[str, Any]]:
    """Find the devices in the input, as plain data.

    JMESPath tests types by identity and does not know the types in which Ansible wraps its own data.
    """
    plain = _plain(data, "devices")
    if isinstance(plain, dict):
        plain = plain.get("devices")
    if not isinstance(plain, list) or not all(isinstance(device, dict) and "address" in device for device in plain):
        raise AnsibleFilterError(
            "xen.pci.select: the input is not the result of xen.pci.host_info, nor the list of devices in it."
        )
    return plain


def _plain(data: Any, what: str) -> Any:
    try:
        return json.loads(json.dumps(data))
    except (TypeError, ValueError) as error:
        raise AnsibleFilterError(f"xen.pci.select: the {what} are not plain data ({error}).") from error


def _fits(device: Mapping[str, Any], options: Mapping[str, Any], physical: str | None) -> bool:
    return (
        str(device.get("class", "")).startswith(options.get("class", ""))
        and (physical is None or device.get("physfn") == physical)
        and ("free" not in options or bool(device.get("free")) == options["free"])
    )


def _counted(devices: list[Mapping[str, Any]], count: Any) -> list[Mapping[str, Any]]:
    if count is None:
        return devices
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise AnsibleFilterError(f"xen.pci.select: count must be a whole number, not {count!r}.")
    if len(devices) < count:
        found = ", ".join(device["address"] for device in devices) or "none"
        raise AnsibleFilterError(
            f"xen.pci.select: count is {count}, but only {len(devices)} of the devices fit ({found})."
        )
    return in_use_first(devices)[:count]


class FilterModule:
    """The class that Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"select": select_devices}
