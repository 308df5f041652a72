# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How users declare devices: names, each with what one device is or how several are chosen.

Everything is read strictly here, so that what comes after deals with typed values only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .address import AddressError, Sbdf
from .identity import Identity, IdentityError
from .keys import DEVICE_KEYS, IDENTITY_KEYS, POLICY_KEYS, POOL_KEYS, WrongValue, checked, key_named
from .keys import KIND_KEYS as _KINDS

#: In the normal form that `parse_value` makes.
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)


@dataclass(frozen=True)
class Criteria:
    """What a device of a pool must be: the result of an expression, on a NUMA node, free.

    `free` false takes devices also that the host needs or a domain has.
    """

    select: str | None = None
    numa_node: int | None = None
    free: bool = True

    def __str__(self) -> str:
        words = [f"select {self.select}"] if self.select is not None else []
        return ", ".join(words + ([f"numa_node {self.numa_node}"] if self.numa_node is not None else []))


@dataclass(frozen=True)
class Pool:
    """Several devices under one name: `count` of those that fit, None for all of them."""

    criteria: Criteria
    kind: Identity
    count: int | None = None

    def __str__(self) -> str:
        return ", ".join(filter(None, (str(self.criteria), str(self.kind)))) or "any device"


@dataclass(frozen=True)
class CatalogEntry:
    """What a name of the catalog means: one device, or a pool of them.

    `waive` holds the reason for each check that the user overrules, `permissive` the one for lifting pciback's
    filter on configuration space; empty: it stays.
    """

    identity: Identity = field(default_factory=Identity)
    pool: Pool | None = None
    required: bool = True
    waive: Mapping[str, str] = field(default_factory=dict)
    permissive: str = ""


@dataclass(frozen=True)
class DevicePolicy:
    """What the user declared of a device besides which one it is: its name, reasons for waivers and for permissive."""

    name: str = ""
    waive: Mapping[str, str] = field(default_factory=dict)
    permissive: str = ""


def parse_catalog(catalog: Any) -> dict[str, CatalogEntry]:
    """Read `xen_pci_devices`: name -> mapping of keys, or an address.

    Raises IdentityError with a sentence for every fault.
    """
    if not isinstance(catalog, Mapping):
        raise IdentityError(["The catalog of devices must be a mapping of names to what the devices are."])
    found: dict[str, CatalogEntry] = {}
    problems: list[str] = []
    for name, declared in catalog.items():
        try:
            found[name] = _parse_entry(name, declared)
        except IdentityError as error:
            problems += error.problems
    if problems:
        raise IdentityError(problems)
    return found


def address_of(text: str) -> Sbdf | None:
    """The address that a text is, None if it is a name."""
    try:
        return Sbdf.parse(text)
    except AddressError:
        return None


def _parse_entry(name: Any, declared: Any) -> CatalogEntry:
    if not isinstance(name, str) or not name:
        raise IdentityError([f"The catalog has a device named {name!r}; names are non-empty text."])
    if address_of(name) is not None:
        raise IdentityError([f"The catalog names a device {name!r}, which is an address; give it a name."])
    if isinstance(declared, str):
        declared = {"address": declared}
    if not isinstance(declared, Mapping) or not declared:
        raise IdentityError(
            [f"Device {name!r} must be an address or a mapping with some of {', '.join((*IDENTITY_KEYS, *POOL_KEYS))}."]
        )
    values: dict[str, Any] = {}
    problems = []
    for key, value in declared.items():
        try:
            values.update(parse_value(key, value))
        except ValueError as error:
            problems.append(f"Device {name!r}: {error}.")
    problems += [] if problems else [f"Device {name!r}: {problem}." for problem in _contradictions(declared)]
    if problems:
        raise IdentityError(problems)
    return _entry(values)


def _entry(values: dict[str, Any]) -> CatalogEntry:
    policy = {key: values.pop(key) for key in POLICY_KEYS if key in values}
    pool = {key: values.pop(key) for key in POOL_KEYS if key in values}
    if not pool:
        return CatalogEntry(Identity(**values), **policy)
    count = pool.pop("count", None)
    return CatalogEntry(pool=Pool(Criteria(**pool), Identity(**values), count), **policy)


def _contradictions(declared: Mapping[str, Any]) -> list[str]:
    found = []
    if any(key in declared for key in POOL_KEYS):
        found += [
            f"{key} says which device it is, and {', '.join(one for one in POOL_KEYS if one in declared)} that several"
            " are chosen; declare one of the two"
            for key in declared
            if key in IDENTITY_KEYS and key not in _KINDS
        ]
    elif not any(key in declared for key in IDENTITY_KEYS):
        found.append(f"nothing says which device it is; add some of {', '.join(IDENTITY_KEYS)}")
    if "vf" in declared and "pf" not in declared:
        found.append("vf is the number of a virtual function among those of one physical function; add pf")
    if "subsystem" in declared and ("subsystem_vendor" in declared or "subsystem_device" in declared):
        found.append("subsystem stands for subsystem_vendor and subsystem_device together; declare it or those")
    return found


def parse_value(key: Any, value: Any) -> dict[str, Any]:
    """One key in its normal form, by field. Raises WrongValue."""
    found = checked(key_named(DEVICE_KEYS, "a device", key), value)
    if key == "waive":
        return {key: _reasons(found)}
    if key == "subsystem":
        vendor, device = found.lower().split(":")
        return {"subsystem_vendor": vendor, "subsystem_device": device}
    normal = _NORMAL.get(key)
    return {"class_code" if key == "class" else key: normal(found) if normal is not None else found}


def _digits(text: str) -> str:
    return text.lower()[2:] if text.lower().startswith("0x") else text.lower()


#: What makes the normal form of a value; other values are as they are declared.
_NORMAL: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("vendor", "device", "subsystem_vendor", "subsystem_device", "class"), _digits),
    "address": Sbdf.parse,
    "mac": lambda text: text.lower().replace("-", ":"),
    "path": str.lower,
    "serial": lambda text: text.lower().replace(":", "-"),
}


def _reasons(waive: Mapping[Any, Any]) -> dict[str, str]:
    for check, reason in waive.items():
        if not isinstance(reason, str) or not reason.strip():
            raise WrongValue(f"waive of {check} must give its reason as text, not {reason!r}")
    return {str(check): reason.strip() for check, reason in waive.items()}
