# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a device itself: how users declare it, and which function of the host is meant.

An address says where a device sits today and is the weakest identity. A catalogue names devices by
what they are; every name is resolved anew against the host as it is now.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from .address import AddressError, Sbdf

_NVME_CLASS, _NETWORK_CLASS = "0108", "02"
_HEX_KEYS = {"vendor": (4,), "device": (4,), "subsystem_vendor": (4,), "subsystem_device": (4,), "class": (2, 4, 6)}
_SERIAL = re.compile(r"[0-9a-f]{2}(-[0-9a-f]{2}){7}", re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)
KEYS = ("address", *_HEX_KEYS, "serial", "nvme_serial", "mac")


class IdentityError(ValueError):
    """A declaration is malformed, or what it declares cannot be found; `problems` holds one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = tuple(problems)


class HasMac(Protocol):
    """A network interface, as far as identity looks at it."""

    @property
    def mac(self) -> str: ...


class DeviceFacts(Protocol):
    """A PCI function, as far as identity looks at it."""

    @property
    def sbdf(self) -> Sbdf: ...
    @property
    def vendor(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def subsystem_vendor(self) -> str: ...
    @property
    def subsystem_device(self) -> str: ...
    @property
    def class_code(self) -> str: ...
    @property
    def driver(self) -> str | None: ...
    @property
    def serial(self) -> str | None: ...
    @property
    def nvme_serial(self) -> str | None: ...
    @property
    def net(self) -> Sequence[HasMac]: ...


@dataclass(frozen=True)
class Remembered:
    """What a device told while its own driver held it, and cannot tell while pciback does."""

    nvme_serial: str | None = None
    macs: tuple[str, ...] = ()


class Match(IntEnum):
    """Whether a function is the declared one; UNKNOWN: nothing contradicts, but a fact cannot be read now."""

    NO = 0
    UNKNOWN = 1
    YES = 2


@dataclass(frozen=True)
class Identity:
    """A device as declared. Hexadecimal is lower case without prefix; None: not declared."""

    address: Sbdf | None = None
    vendor: str | None = None
    device: str | None = None
    subsystem_vendor: str | None = None
    subsystem_device: str | None = None
    class_code: str | None = None
    serial: str | None = None
    nvme_serial: str | None = None
    mac: str | None = None

    def __str__(self) -> str:
        names = ("class" if name == "class_code" else name for name in self.__dataclass_fields__)
        pairs = zip(names, (getattr(self, name) for name in self.__dataclass_fields__))
        return ", ".join(f"{name} {value}" for name, value in pairs if value is not None)

    def without_address(self) -> Identity:
        """What the device is, wherever it sits."""
        return Identity(**{name: getattr(self, name) for name in self.__dataclass_fields__ if name != "address"})

    def match(self, facts: DeviceFacts, remembered: Remembered = Remembered()) -> Match:
        """Compare everything declared, the address included."""
        fixed = (
            (self.address, facts.sbdf),
            (self.vendor, facts.vendor),
            (self.device, facts.device),
            (self.subsystem_vendor, facts.subsystem_vendor),
            (self.subsystem_device, facts.subsystem_device),
            (self.serial, facts.serial),
        )
        if any(declared is not None and declared != seen for declared, seen in fixed):
            return Match.NO
        if self.class_code is not None and not facts.class_code.startswith(self.class_code):
            return Match.NO
        return min(self._match_nvme(facts, remembered), self._match_mac(facts, remembered))

    def _match_nvme(self, facts: DeviceFacts, remembered: Remembered) -> Match:
        if self.nvme_serial is None:
            return Match.YES
        seen = facts.nvme_serial or remembered.nvme_serial
        if seen is not None:
            return Match.YES if seen == self.nvme_serial else Match.NO
        readable = facts.driver == "nvme" or not facts.class_code.startswith(_NVME_CLASS)
        return Match.NO if readable else Match.UNKNOWN

    def _match_mac(self, facts: DeviceFacts, remembered: Remembered) -> Match:
        if self.mac is None:
            return Match.YES
        seen = [interface.mac for interface in facts.net] or list(remembered.macs)
        if seen:
            return Match.YES if self.mac in seen else Match.NO
        return Match.UNKNOWN if facts.class_code.startswith(_NETWORK_CLASS) else Match.NO


@dataclass(frozen=True)
class Resolution:
    """What wanted names turned out to be, and a sentence for each that is not clear."""

    found: Mapping[str, Sbdf]
    problems: tuple[str, ...] = ()


def parse_catalogue(catalogue: Any) -> dict[str, Identity]:
    """Read `xen_pci_devices`: name -> mapping of identity keys, or an address.

    Raises IdentityError with a sentence for every fault.
    """
    if not isinstance(catalogue, Mapping):
        raise IdentityError(["The catalogue of devices must be a mapping of names to what the devices are."])
    found: dict[str, Identity] = {}
    problems: list[str] = []
    for name, declared in catalogue.items():
        try:
            found[name] = _parse_identity(name, declared)
        except IdentityError as error:
            problems += error.problems
    if problems:
        raise IdentityError(problems)
    return found


def resolve(
    catalogue: Mapping[str, Identity],
    devices: Mapping[Sbdf, DeviceFacts],
    wanted: Iterable[str],
    remembered: Mapping[Sbdf, Remembered] | None = None,
) -> Resolution:
    """Find the function of the host that each wanted name (of the catalogue) or address means.

    Problems are names that are missing, ambiguous or not what was declared, and two for one function.
    """
    found: dict[str, Sbdf] = {}
    names: dict[Sbdf, list[str]] = defaultdict(list)
    problems: list[str] = []
    for name in wanted:
        try:
            sbdf = _resolve_one(name, catalogue, devices, remembered or {})
        except IdentityError as error:
            problems += error.problems
            continue
        found[name] = sbdf
        names[sbdf].append(name)
    problems += [
        f"{' and '.join(repr(name) for name in same)} mean the same device, {sbdf}; list it once."
        for sbdf, same in names.items()
        if len(same) > 1
    ]
    return Resolution(found, tuple(problems))


def _resolve_one(
    name: str,
    catalogue: Mapping[str, Identity],
    devices: Mapping[Sbdf, DeviceFacts],
    remembered: Mapping[Sbdf, Remembered],
) -> Sbdf:
    identity = catalogue.get(name)
    if identity is None:
        try:
            identity = Identity(address=Sbdf.parse(name))
        except AddressError as error:
            raise IdentityError(
                [f"{name!r} is neither a name in the catalogue nor a PCI address (as 0000:03:00.0); correct or add it."]
            ) from error
    matches = {sbdf: identity.match(facts, remembered.get(sbdf, Remembered())) for sbdf, facts in devices.items()}
    certain = [sbdf for sbdf, match in matches.items() if match is Match.YES]
    possible = [sbdf for sbdf, match in matches.items() if match is Match.UNKNOWN]
    if len(certain) == 1:
        return certain[0]
    if certain:
        raise IdentityError(
            [f"{name!r} ({identity}) fits several devices, {_listed(certain)}; declare more of what it is."]
        )
    if len(possible) == 1 and _says_more(identity):
        return possible[0]
    if possible:
        raise IdentityError([_unreadable(name, identity, possible, devices)])
    raise IdentityError([_missing(name, identity, devices, remembered)])


def _says_more(identity: Identity) -> bool:
    """Something else than what cannot be read now is declared."""
    return any(
        getattr(identity, key) is not None for key in identity.__dataclass_fields__ if key not in ("nvme_serial", "mac")
    )


def _unreadable(name: str, identity: Identity, possible: list[Sbdf], devices: Mapping[Sbdf, DeviceFacts]) -> str:
    what = "NVMe serial number" if identity.nvme_serial is not None else "MAC address"
    drivers = sorted({devices[sbdf].driver or "no driver" for sbdf in possible})
    return (
        f"{name!r} ({identity}) could be {_listed(possible)}, whose {what} cannot be read while"
        f" {' or '.join(drivers)} holds it; declare its address or its PCI serial number as well."
    )


def _missing(
    name: str,
    identity: Identity,
    devices: Mapping[Sbdf, DeviceFacts],
    remembered: Mapping[Sbdf, Remembered],
) -> str:
    if identity.address is None:
        return f"No device of this host is {name!r} ({identity}); correct the catalogue or check that it is plugged in."
    bare = identity.without_address()
    sitting = devices.get(identity.address)
    there = (
        f"{identity.address} holds {_described(sitting)}" if sitting else f"there is no device at {identity.address}"
    )
    if not str(bare):
        return f"The host has no PCI device {identity.address}; check the address with `lspci -D`."
    elsewhere = [s for s, facts in devices.items() if bare.match(facts, remembered.get(s, Remembered())) is Match.YES]
    now = (
        f"what was declared is now at {_listed(elsewhere)}; correct the address"
        if elsewhere
        else "what was declared is nowhere on this host"
    )
    return f"{name!r} ({identity}) is not where it was declared: {there}; {now}."


def _described(facts: DeviceFacts) -> str:
    parts = [f"{facts.vendor}:{facts.device} (class {facts.class_code}"]
    parts += [f"serial {facts.serial}"] if facts.serial else []
    parts += [f"NVMe serial {facts.nvme_serial}"] if facts.nvme_serial else []
    return ", ".join(parts) + ")"


def _listed(devices: Iterable[Sbdf]) -> str:
    return ", ".join(str(device) for device in sorted(devices))


def _parse_identity(name: Any, declared: Any) -> Identity:
    if not isinstance(name, str) or not name:
        raise IdentityError([f"The catalogue has a device named {name!r}; names are non-empty text."])
    if _is_address(name):
        raise IdentityError([f"The catalogue names a device {name!r}, which is an address; give it a name."])
    if isinstance(declared, str):
        declared = {"address": declared}
    if not isinstance(declared, Mapping) or not declared:
        raise IdentityError([f"Device {name!r} must be an address or a mapping with some of {', '.join(KEYS)}."])
    problems, values = [], {}
    for key, value in declared.items():
        try:
            values["class_code" if key == "class" else key] = _parse_value(key, value)
        except ValueError as error:
            problems.append(f"Device {name!r}: {error}.")
    if problems:
        raise IdentityError(problems)
    return Identity(**values)


def _is_address(text: str) -> bool:
    try:
        Sbdf.parse(text)
    except AddressError:
        return False
    return True


def _parse_value(key: Any, value: Any) -> Any:
    """One key of an identity in its normal form; ValueError says what is wrong with it."""
    if key not in KEYS:
        raise ValueError(f"{key!r} is not a key of an identity, which are {', '.join(KEYS)}")
    if not isinstance(value, str):
        raise ValueError(f"{key} must be text, not {value!r}; put it in quotes")
    if key == "address":
        return Sbdf.parse(value)
    text = value.strip()
    if key == "nvme_serial":
        return _shaped(bool(text), text, key, "text")
    text = text.lower()
    if key == "serial":
        text = text.replace(":", "-")
        return _shaped(bool(_SERIAL.fullmatch(text)), text, key, "eight bytes as 52-54-00-ff-ff-00-01-01")
    if key == "mac":
        text = text.replace("-", ":")
        return _shaped(bool(_MAC.fullmatch(text)), text, key, "six bytes as 52:54:00:00:01:01")
    text = text[2:] if text.startswith("0x") else text
    sizes = _HEX_KEYS[key]
    form = f"{' or '.join(str(size) for size in sizes)} hexadecimal digits"
    return _shaped(len(text) in sizes and re.fullmatch("[0-9a-f]+", text, re.ASCII) is not None, text, key, form)


def _shaped(good: bool, text: str, key: str, form: str) -> str:
    if not good:
        raise ValueError(f"{key} must be {form}, not {text!r}")
    return text
