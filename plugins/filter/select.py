# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter: choose devices from what host_info returned."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.xen.pci.plugins.module_utils.plan.names import Lookup, find
from ansible_collections.xen.pci.plugins.module_utils.plan.pools import (
    NeedsJmespath,
    SelectionError,
    in_use_first,
    named_devices,
    select,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import AddressError, Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import (
    CatalogEntry,
    Criteria,
    address_of,
    parse_catalog,
    parse_value,
)
from ansible_collections.xen.pci.plugins.module_utils.values.identity import Identity, Match
from ansible_collections.xen.pci.plugins.module_utils.values.keys import KIND_KEYS, WrongValue
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import Refused
from ansible_collections.xen.pci.plugins.module_utils.values.words import listed

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
      - Numbers and truth values are literals in backticks, text is in single quotes. A field that no device has is an
        error.
      - Or a pool, as in the catalog, such as C(xen_pci_devices.disks). Its keys mean what they mean there, also C(free)
        and C(required). What else is given narrows the choice.
    type: raw
  select:
    description: An expression, by the name that the key of a pool has.
    type: str
  catalog:
    description:
      - The catalog, for names in O(pf). If O(expression) is a pool, devices with a name of their own are left out, as
        they are in no pool.
    type: dict
  count:
    description: How many devices. Fewer are an error. If not given, all that fit.
    type: int
  numa_node:
    description: NUMA node, V(-1) if the host does not say.
    type: int
  class:
    description: Beginning of the class, 2, 4 or 6 hexadecimal digits, as V(0200) for Ethernet.
    type: str
  vendor:
    description: Vendor, 4 hexadecimal digits.
    type: str
  device:
    description: Device of the vendor, 4 hexadecimal digits.
    type: str
  subsystem:
    description: Vendor and device of the card, as V(8086:a01f).
    type: str
  subsystem_vendor:
    description: Vendor of the card, 4 hexadecimal digits.
    type: str
  subsystem_device:
    description: Card of this vendor, 4 hexadecimal digits.
    type: str
  pf:
    description: Address of a physical function, or its name in O(catalog), to choose among its virtual functions.
    type: str
  free:
    description:
      - With V(true), devices that neither the host nor a domain uses and that no check refuses. With V(false), the
        others.
      - If not given, both.
    type: bool
requirements:
  - jmespath on the control node, if O(expression) is an expression
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

- name: What the pool vf-pool would be
  ansible.builtin.debug:
    msg: "{{ xen | xen.pci.select(xen_pci_devices['vf-pool'], catalog=xen_pci_devices) | map(attribute='address') }}"
"""

RETURN = r"""
_value:
  description: Devices, each as M(xen.pci.host_info) describes it.
  type: list
  elements: dict
"""

OPTIONS = (*KIND_KEYS, "select", "count", "numa_node", "free")


def select_devices(data: Any, expression: Any = None, catalog: Any = None, **options: Any) -> list[Mapping[str, Any]]:
    """Choose the devices that fit everything given; `expression` may be a pool. Raises AnsibleFilterError."""
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        known = listed((*OPTIONS, "catalog"))
        raise AnsibleFilterError(f"xen.pci.select has no option {listed(unknown)}; it has {known}.")
    devices, names = _devices(data), _plain(catalog, "catalog")
    try:
        pool, given = _read_pool(_plain(expression, "expression")), _read(_plain(options, "options"))
        wanted = Criteria(given.pop("select", pool.pop("select", None)), free=bool(pool.pop("free", False)))
        free, entries = given.pop("free", None), parse_catalog(names) if names else {}
        needed = {**pool, **given}
        required, count = needed.pop("required", True), needed.pop("count", None)
        fitting = select(devices, replace(wanted, numa_node=needed.pop("numa_node", None)))
        fitting = _of_kind(fitting, devices, Identity(**needed), entries, named_too=not isinstance(expression, Mapping))
    except NeedsJmespath:
        raise AnsibleFilterError(
            "xen.pci.select needs jmespath to evaluate an expression. Install it for Python on the control node."
        ) from None
    except Refused as error:
        raise AnsibleFilterError(f"xen.pci.select: {' '.join(map(str, error.refusals))}") from None
    except (SelectionError, AddressError, WrongValue) as error:
        advice = getattr(error, "advice", "")
        raise AnsibleFilterError(f"xen.pci.select: {error}{'; ' if advice else ''}{advice}.") from None
    if free is not None:
        fitting = [device for device in fitting if bool(device.get("free")) == free]
    return _counted(fitting, count, required)


def _read_pool(expression: Any) -> dict[str, Any]:
    """Read a pool as it is in the catalog, or an expression alone."""
    if expression is None:
        return {}
    if not isinstance(expression, Mapping):
        return {"select": str(expression)}
    entry = parse_catalog({"pool": expression})["pool"]
    if entry.pool is None:
        raise WrongValue("what is given for the expression is a device of the catalog, not a pool", "give a pool")
    return {"free": True, "required": entry.required, **_read({k: v for k, v in expression.items() if k in OPTIONS})}


def _read(options: Mapping[str, Any]) -> dict[str, Any]:
    """Read the options that are given, as a pool in the catalog does, so that a mistake is not taken for no device."""
    given = {key: value for key, value in options.items() if value is not None}
    found: dict[str, Any] = {}
    for key, value in given.items():
        no_device = key == "count" and value == 0 and not isinstance(value, bool)
        found.update({key: 0} if no_device else parse_value(key, value))
    return found


def _of_kind(
    fitting: Sequence[Mapping[str, Any]],
    devices: Sequence[Mapping[str, Any]],
    kind: Identity,
    catalog: Mapping[str, CatalogEntry],
    named_too: bool,
) -> list[Mapping[str, Any]]:
    """Keep the devices of a kind, and unless `named_too`, those without a name of their own."""
    found = {Sbdf.parse(str(device["address"])): _Facts(device) for device in devices}
    where = Lookup(found)
    if kind.pf is not None:
        if not catalog and address_of(kind.pf) is None:
            raise WrongValue(f"pf is {kind.pf!r}, which is not a PCI address", "give catalog=xen_pci_devices for names")
        kind = replace(kind, physfn=find(kind.pf, catalog, where))
    elsewhere = set() if named_too else named_devices(catalog, where)
    fits = {sbdf for sbdf in found if where.match(kind, sbdf) is Match.YES and sbdf not in elsewhere}
    return [device for device in fitting if Sbdf.parse(str(device["address"])) in fits]


class _Facts:
    """The facts of a device, as the identities of the catalog ask for them."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.sbdf = Sbdf.parse(str(facts["address"]))
        self.vendor, self.device = str(facts.get("vendor")), str(facts.get("device"))
        self.subsystem_vendor = str(facts.get("subsystem_vendor"))
        self.subsystem_device = str(facts.get("subsystem_device"))
        self.class_code, self.path = str(facts.get("class")), str(facts.get("path"))
        self.driver: str | None = facts.get("driver")
        self.serial: str | None = facts.get("serial")
        self.nvme_serial: str | None = facts.get("nvme_serial")
        self.net = tuple(map(_Interface, facts.get("macs") or ()))
        self.slot: str | None = facts.get("slot")
        self.label: str | None = facts.get("label")
        self.physfn = Sbdf.parse(facts["physfn"]) if facts.get("physfn") else None
        self.vf_index: int | None = facts.get("vf_index")
        self.virtfns = tuple(map(Sbdf.parse, facts.get("virtfns") or ()))
        self.sriov_totalvfs = int(facts.get("sriov_totalvfs") or 0)


@dataclass(frozen=True)
class _Interface:
    mac: str


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


def _counted(devices: list[Mapping[str, Any]], count: int | None, required: bool) -> list[Mapping[str, Any]]:
    if count is None:
        return devices
    if len(devices) < count and required:
        found = listed((device["address"] for device in devices), "none")
        raise AnsibleFilterError(
            f"xen.pci.select: count is {count}, but only {len(devices)} of the devices fit ({found})."
        )
    return in_use_first(devices)[:count]


class FilterModule:
    """The class that Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"select": select_devices}
