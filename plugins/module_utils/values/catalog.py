# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the catalog, in which users name devices: each name means one device, or a pool of several.

Everything is read strictly here, so that all other code deals with typed values only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .address import AddressError, Sbdf
from .device_options import DeviceOptions
from .identity import Identity
from .keys import DEVICE_KEYS, IDENTITY_KEYS, POLICY_KEYS, POOL_KEYS, WrongValue, checked, key_named
from .keys import KIND_KEYS as _KINDS
from .refusal import Refusal, Refused, refused
from .unquoted import advice_if_unquoted

#: What is left of an address without quotes where it is a key: Ansible hands keys on as text.
_FRACTION = re.compile(r"[0-9]+\.[0-9]+", re.ASCII)


@dataclass(frozen=True)
class Criteria:
    """What a device of a pool must be: among the results of an expression, on a NUMA node, free.

    With `free` false, devices that the host needs or a domain has fit, too.
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

    `waive` holds the reason for each check that the user overrules. `permissive` is the reason for lifting pciback's
    filter on configuration space; if it is empty, the filter stays. With `functions` all, the name means all functions
    of the card.
    """

    identity: Identity = field(default_factory=Identity)
    pool: Pool | None = None
    required: bool = True
    waive: Mapping[str, str] = field(default_factory=dict)
    permissive: str = ""
    functions: str = ""
    rdm_policy: str | None = None
    msitranslate: bool | None = None
    power_mgmt: bool | None = None
    vslot: int | None = None

    @property
    def options(self) -> DeviceOptions:
        """The options that are declared."""
        return DeviceOptions(
            bool(self.permissive) or None, self.rdm_policy, self.msitranslate, self.power_mgmt, self.vslot
        )

    @property
    def pf(self) -> str | None:
        """The physical function that it refers to, by name or address."""
        return self.identity.pf if self.pool is None else self.pool.kind.pf


@dataclass(frozen=True)
class DevicePolicy:
    """What the user declared of a device besides its identity: name, options, reasons for waivers and permissive."""

    name: str = ""
    waive: Mapping[str, str] = field(default_factory=dict)
    permissive: str = ""
    options: DeviceOptions = field(default_factory=DeviceOptions)


@dataclass(frozen=True)
class Catalog:
    """What the names of a declaration mean, and why some of them could not be read.

    `unreadable` are the names whose entry was refused, and names of virtual functions of such an entry. `refusals`
    already say why, so other code says nothing more about them.
    """

    entries: Mapping[str, CatalogEntry] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    unreadable: frozenset[str] = frozenset()

    @property
    def has_pools(self) -> bool:
        """Whether devices are to be chosen by what the host uses them for."""
        return any(entry.pool is not None for entry in self.entries.values())


def read_catalog(declared: Any) -> Catalog:
    """Read `xen_pci_devices`: a mapping of names to keys, or to an address. Everything wrong is in `refusals`."""
    if not isinstance(declared, Mapping):
        reason = f"The catalog must be a mapping of names to what the devices are, not {declared!r}"
        return Catalog(refusals=(Refusal("catalog", "catalog", reason),))
    found: dict[str, CatalogEntry] = {}
    refusals: list[Refusal] = []
    unreadable: set[str] = set()
    for name, value in declared.items():
        try:
            found[name] = _parse_entry(name, value)
        except Refused as error:
            refusals += error.refusals
            unreadable.add(str(name))
    while dependent := {name for name, entry in found.items() if entry.pf in unreadable} - unreadable:
        unreadable |= dependent
    return Catalog(found, tuple(refusals), frozenset(unreadable))


def parse_catalog(declared: Any) -> dict[str, CatalogEntry]:
    """Read a catalog in which nothing may be wrong. Raises Refused with every refusal."""
    catalog = read_catalog(declared)
    if catalog.refusals:
        raise Refused(catalog.refusals)
    return dict(catalog.entries)


def address_of(text: str) -> Sbdf | None:
    """Read a text as an address; None if it is none, and so a name."""
    try:
        return Sbdf.parse(text)
    except AddressError:
        return None


def _parse_entry(name: Any, declared: Any) -> CatalogEntry:
    if not isinstance(name, str) or not name or _FRACTION.fullmatch(name):
        advice = advice_if_unquoted(name) or "names are non-empty text"
        raise refused("catalog-name", name, f"The catalog has a device named {name!r}", advice)
    if address_of(name) is not None:
        reason = f"The catalog names a device {name!r}, which is an address"
        raise refused("catalog-name", name, reason, "choose a name that is not an address")
    if isinstance(declared, str):
        declared = {"address": declared}
    if not isinstance(declared, Mapping) or not declared:
        reason = f"Device {name!r} is declared as {declared!r}, which does not describe a device"
        keys = ", ".join((*IDENTITY_KEYS, *POOL_KEYS))
        advice = advice_if_unquoted(declared) or f"declare an address, or a mapping with some of {keys}"
        raise refused("catalog-entry", name, reason, advice)
    values: dict[str, Any] = {}
    refusals: list[Refusal] = []
    for key, value in declared.items():
        try:
            values.update(parse_value(key, value))
        except ValueError as error:
            advice = error.advice if isinstance(error, WrongValue) else ""
            refusals.append(Refusal("catalog-value", name, f"Device {name!r}: {error}", advice))
    if refusals:
        raise Refused(refusals)
    contradictions = [
        Refusal("catalog-contradiction", name, f"Device {name!r}: {reason}", advice)
        for reason, advice in _contradictions(declared)
    ]
    if contradictions:
        raise Refused(contradictions)
    return _entry(values)


def _entry(values: dict[str, Any]) -> CatalogEntry:
    policy = {key: values.pop(key) for key in POLICY_KEYS if key in values}
    pool = {key: values.pop(key) for key in POOL_KEYS if key in values}
    if not pool:
        return CatalogEntry(Identity(**values), **policy)
    count = pool.pop("count", None)
    return CatalogEntry(pool=Pool(Criteria(**pool), Identity(**values), count), **policy)


def _contradictions(declared: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find keys that do not go together; yields a reason and advice for each case."""
    if any(key in declared for key in POOL_KEYS):
        chosen = ", ".join(key for key in POOL_KEYS if key in declared)
        for key in declared:
            if key in IDENTITY_KEYS and key not in _KINDS:
                yield f"{key} identifies one device, but {chosen} makes it a pool", f"remove {key} or {chosen}"
    elif not any(key in declared for key in IDENTITY_KEYS):
        yield "nothing says which device it is", f"add some of {', '.join(IDENTITY_KEYS)}"
    if "vf" in declared and "pf" not in declared:
        yield "vf is declared without pf, the physical function that it belongs to", "add pf"
    if "functions" in declared:
        for key in (*POOL_KEYS, "function", "vf"):
            if key in declared:
                yield f"functions means all functions of a card, which {key} contradicts", f"remove functions or {key}"
    if "vslot" in declared:
        for key in (*POOL_KEYS, "functions"):
            if key in declared:
                yield f"vslot is the place of one device, which {key} contradicts", f"remove vslot or {key}"
    if "subsystem" in declared and ("subsystem_vendor" in declared or "subsystem_device" in declared):
        reason = "subsystem cannot be combined with subsystem_vendor or subsystem_device, which it includes"
        yield reason, "remove subsystem or the other two"


def parse_value(key: Any, value: Any) -> dict[str, Any]:
    """Read one key and its value; returns fields with values in their normal form. Raises WrongValue."""
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


def normal_mac(text: str) -> str:
    """Write a MAC address in the form in which MAC addresses are compared."""
    return text.lower().replace("-", ":")


#: What makes the normal form of a value; other values are as they are declared.
_NORMAL: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("vendor", "device", "subsystem_vendor", "subsystem_device", "class"), _digits),
    "address": Sbdf.parse,
    "vslot": lambda text: int(text, 16),
    "mac": normal_mac,
    "path": str.lower,
    "serial": lambda text: text.lower().replace(":", "-"),
}


def _reasons(waive: Mapping[Any, Any]) -> dict[str, str]:
    for check, reason in waive.items():
        if not isinstance(reason, str) or not reason.strip():
            raise WrongValue(f"waive must give the reason for {check} as text, not {reason!r}")
    return {str(check): reason.strip() for check, reason in waive.items()}


def read_addresses(option: str, texts: Iterable[str]) -> tuple[tuple[Sbdf, ...], tuple[Refusal, ...]]:
    """Read the addresses that an option lists; returns them and a refusal for each text that is no address."""
    found, refusals = [], []
    for text in texts:
        try:
            found.append(Sbdf.parse(text))
        except AddressError as error:
            refusals.append(Refusal("address", option, f"{option}: {error}"))
    return tuple(found), tuple(refusals)
