# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of all keys of a declaration, and the check of a single value.

Everything that lists keys is made from this table: the parsers, the documentation of the modules, the tables in
docs/declaration.md and the schema in docs/schema. `tools/reference.py` writes the last three.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .unquoted import advice_if_unquoted
from .words import did_you_mean, listed


@dataclass(frozen=True)
class Key:
    """One key; `meaning` uses the markup of Ansible's documentation, `example` is YAML."""

    name: str
    #: As in the documentation of a module: str, int, bool, list or dict.
    type: str
    #: What a value looks like, in words that follow "must be".
    form: str
    meaning: str
    example: str
    #: What counts if the key is not given, as YAML; empty if nothing does.
    default: str = ""
    required: bool = False
    #: Of text: a regular expression that it must match, apart from white space around it; empty if anything is right.
    #: It means the same in Python and in ECMAScript.
    pattern: str = ""
    #: Of text: the words that are allowed.
    choices: tuple[str, ...] = ()
    #: Of a number: the least and the greatest one allowed.
    least: int = 0
    most: int = 0


class WrongValue(ValueError):
    """A key or its value is not as the table says; the text has no full stop, `advice` says what to do."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.advice = advice


_HEX = "[0-9a-fA-F]"
_ID, _ID_WORDS = f"(0[xX])?{_HEX}{{4}}", "4 hexadecimal digits in quotes"
ADDRESS = f"({_HEX}{{1,8}}:)?{_HEX}{{1,2}}:[01]?{_HEX}\\.[0-7]|({_HEX}{{1,8}}-)?{_HEX}{{1,2}}-[01]?{_HEX}-[0-7]"
UUID = f"{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}}"


def _table(*keys: Key) -> Mapping[str, Key]:
    return {key.name: key for key in keys}


#: Keys that say which device it is. Those of `KIND_KEYS` say the kind only, and may narrow a pool.
IDENTITY_KEYS = _table(
    Key(
        "address",
        "str",
        "a PCI address such as 0000:03:00.0",
        "Where the device is. Beside a key that only this device has (V(serial), V(nvme_serial), V(mac), V(slot),"
        " V(path), V(label), V(vf)), it is the last known place, and the device is found elsewhere if it has moved."
        " Otherwise it must be there.",
        '"0000:03:00.0"',
        pattern=ADDRESS,
    ),
    Key("vendor", "str", _ID_WORDS, "Vendor, as C(lspci -nn) shows it.", '"8086"', pattern=_ID),
    Key("device", "str", _ID_WORDS, "Device of this vendor, as C(lspci -nn) shows it.", '"10d3"', pattern=_ID),
    Key("subsystem_vendor", "str", _ID_WORDS, "Vendor of the card.", '"8086"', pattern=_ID),
    Key("subsystem_device", "str", _ID_WORDS, "Card of this vendor.", '"a01f"', pattern=_ID),
    Key(
        "subsystem",
        "str",
        "vendor and device such as 8086:a01f",
        "V(subsystem_vendor) and V(subsystem_device) in one.",
        '"8086:a01f"',
        pattern=f"{_HEX}{{4}}:{_HEX}{{4}}",
    ),
    Key(
        "class",
        "str",
        "2, 4 or 6 hexadecimal digits in quotes",
        "Class, with or without subclass and programming interface. V(02) are network cards, V(0108) is NVMe.",
        '"0108"',
        pattern=f"(0[xX])?{_HEX}{{2}}({_HEX}{{2}}){{0,2}}",
    ),
    Key(
        "serial",
        "str",
        "eight bytes such as 52-54-00-ff-ff-00-01-01",
        "PCI Express device serial number, as C(lspci -v) shows it.",
        '"52-54-00-ff-ff-00-01-01"',
        pattern=f"{_HEX}{{2}}([-:]{_HEX}{{2}}){{7}}",
    ),
    Key(
        "nvme_serial",
        "str",
        "text in quotes",
        "Serial number of an NVMe controller. Only its driver can read it. While pciback holds the device, what was"
        " read before counts.",
        '"S4EV0A1"',
    ),
    Key(
        "mac",
        "str",
        "six bytes such as 52:54:00:00:01:01 in quotes",
        "MAC address of a network card. Only its driver can read it, as with V(nvme_serial).",
        '"52:54:00:00:01:01"',
        pattern=f"{_HEX}{{2}}([-:]{_HEX}{{2}}){{5}}",
    ),
    Key(
        "slot",
        "str",
        "text in quotes",
        "The firmware's name of the slot, a directory in C(/sys/bus/pci/slots).",
        '"3"',
    ),
    Key(
        "function",
        "int",
        "a whole number from 0 to 7",
        "Number of the function, for cards that have several.",
        "0",
        most=7,
    ),
    Key(
        "path",
        "str",
        "segment, root bus and the way from there such as 0000:00/1c.2/00.0",
        "The way to the device, by slot and function of each bridge and of the device. It stays the same when buses get"
        " other numbers.",
        '"0000:00/1c.2/00.0"',
        pattern=f"{_HEX}{{4,8}}:{_HEX}{{2}}(/[01]{_HEX}\\.[0-7])+(/[vV][fF](0|[1-9][0-9]*))?",
    ),
    Key("label", "str", "text in quotes", "The firmware's name of an on-board device.", '"Onboard LAN 1"'),
    Key(
        "pf",
        "str",
        "a name of the catalog or an address",
        "Physical function of the virtual function V(vf), or of all virtual functions that a pool is chosen from.",
        "uplink",
    ),
    Key(
        "vf",
        "int",
        "a whole number from 0 to 65535",
        "Number of the virtual function among those of V(pf).",
        "1",
        most=65535,
    ),
)
#: Keys that make a name the name of a pool.
POOL_KEYS = _table(
    Key(
        "select",
        "str",
        "a JMESPath expression",
        "Expression over the V(devices) that M(xen.pci.host_info) returns. It yields devices or their addresses, and"
        " their order counts.",
        '"[?numa_node==`0`]"',
    ),
    Key(
        "count",
        "int",
        "a whole number from 1 to 65536",
        "How many devices the pool has. Without it, all that fit.",
        "4",
        least=1,
        most=65536,
    ),
    Key(
        "numa_node",
        "int",
        "a whole number from -1 to 65536",
        "NUMA node of the devices, V(-1) if the host does not say.",
        "0",
        least=-1,
        most=65536,
    ),
    Key(
        "free",
        "bool",
        "true or false",
        "Whether to leave out devices that the host needs. What pciback holds counts as free.",
        "false",
        "true",
    ),
)
#: Keys that do not say which device it is.
POLICY_KEYS = _table(
    Key(
        "required",
        "bool",
        "true or false",
        "Whether a device that is absent, or a pool with too few devices, is an error.",
        "false",
        "true",
    ),
    Key(
        "functions",
        "str",
        "all",
        "With V(all), the name means all functions of the card that the other keys find, whichever of them they fit:"
        " those in its slot, and those below a bridge of the card. Not for pools, and not with V(function) or V(vf).",
        "all",
        choices=("all",),
    ),
    Key(
        "waive",
        "dict",
        "a dict of checks to the reasons for overruling them",
        "Checks that are overruled for this device, each with the reason as text.",
        "{shared-interrupt: the other device is not in use}",
        "{}",
    ),
    Key(
        "permissive",
        "str",
        "a text that gives the reason",
        "Why the guest may write all of the device's configuration space. Without it the guest may not.",
        "its driver writes vendor-specific registers",
    ),
    Key(
        "rdm_policy",
        "str",
        "strict or relaxed",
        "Whether Xen gives the device to a guest although firmware keeps it at the same memory as other devices"
        " (V(relaxed)). It also needs a waiver of V(reserved-memory). If not given, V(strict); what a guest has already"
        " stays as it is, as with the keys below.",
        "relaxed",
        choices=("strict", "relaxed"),
    ),
    Key(
        "msitranslate",
        "bool",
        "true or false",
        "Whether the device uses MSI although the guest uses its interrupt line. HVM guests only. QEMU ignores it since"
        " Xen no longer has qemu-traditional.",
        "true",
    ),
    Key(
        "power_mgmt",
        "bool",
        "true or false",
        "Whether the guest may change the device's power state. HVM guests only, as V(msitranslate).",
        "true",
    ),
    Key(
        "vslot",
        "str",
        "a hexadecimal number from 1 to 1f in quotes",
        "Slot of the guest's bus. HVM guests only: for a PV guest, pciback chooses it. Not for pools and whole cards.",
        '"8"',
        pattern="(0[xX])?(0?[1-9a-fA-F]|1[0-9a-fA-F])",
    ),
)
KIND_KEYS = ("vendor", "device", "subsystem_vendor", "subsystem_device", "subsystem", "class", "pf")
#: Keys of a domain.
DOMAIN_KEYS = _table(
    Key(
        "devices",
        "list",
        "a list of names, addresses and parts of pools",
        "Devices of the domain. The name of a pool means all devices of the pool. A domain keeps the devices of a pool"
        " that it has.",
        "[uplink, {from: vf-pool, count: 2}]",
        required=True,
    ),
    Key(
        "exclusive",
        "bool",
        "true or false",
        "Whether the domain has no other devices, and loses those that it has. Only then may V(devices) be empty. Not"
        " with V(state=absent). If not given, what is set for all domains counts (O(exclusive), C(xen_pci_exclusive)).",
        "true",
    ),
    Key(
        "state",
        "str",
        "present or absent",
        "With V(absent), the listed devices are taken away from the domain. They need not be on the host any more.",
        "absent",
        "present",
        choices=("present", "absent"),
    ),
    Key(
        "uuid",
        "str",
        "a UUID such as 5f1c3a52-8d0e-4c1b-9a57-0d6f3b2e7c11",
        "UUID of the domain, as C(xl vm-list) and M(xen.pci.host_info) show it. Then the UUID says which domain it is,"
        " and the name is only what you call it. Needed where two domains have one name.",
        '"5f1c3a52-8d0e-4c1b-9a57-0d6f3b2e7c11"',
        pattern=UUID,
    ),
    Key(
        "config",
        "str",
        "the path of a file",
        "File from which the domain is created (xl.cfg). Its C(pci) list gets the same devices once the domain has"
        " them, and C(passthrough) and C(e820_host) where they are needed. See V(when_halted).",
        "/etc/xen/web01.cfg",
    ),
    Key(
        "when_halted",
        "str",
        "config, skip or fail",
        "What to do if the domain does not run. With V(config), its file is kept in step, which the key of that name"
        " must give; the same is done if the domain runs, but was created so that it can take no device before it is"
        " created again. With V(skip), nothing is done for it, and what it is to have of a pool is kept for it. With"
        " V(fail), the whole task is refused. If not given, V(config) if there is a file, else V(skip). Both warn.",
        "fail",
        choices=("config", "skip", "fail"),
    ),
)
#: Keys of a part of a pool, an element of `devices`.
SHARE_KEYS = _table(
    Key("from", "str", "the name of a pool", "Pool of the catalog.", "vf-pool", required=True),
    Key("count", "int", "a whole number from 1 to 65536", "How many of its devices.", "2", "1", least=1, most=65536),
)
DEVICE_KEYS: Mapping[str, Key] = {**IDENTITY_KEYS, **POOL_KEYS, **POLICY_KEYS}


def checked(key: Key, value: Any) -> Any:
    """Check a value; returns it without white space around it, and a number as int. Raises WrongValue."""
    found = value
    if key.type == "int":
        found = _number(value)
        good = found is not None and key.least <= found <= key.most
    elif key.type == "str":
        found = value if key.choices or not isinstance(value, str) else value.strip()
        good = _is_text(key, found)
    else:
        good = isinstance(value, _TYPES[key.type])
    if not good:
        raise WrongValue(f"{key.name} must be {key.form}, not {value!r}", _advice(key, value))
    return found


def read_keys(
    table: Mapping[str, Key], kind: str, declared: Mapping[Any, Any]
) -> tuple[dict[str, Any], list[WrongValue]]:
    """Check all values of a mapping; returns those that fit the table, and what is wrong with the others.

    `kind` says whose keys they are, for messages.
    """
    values: dict[str, Any] = {}
    wrong = []
    for name, value in declared.items():
        try:
            values[name] = checked(key_named(table, kind, name), value)
        except WrongValue as error:
            wrong.append(error)
    missing = [name for name, key in table.items() if key.required and name not in declared]
    return values, [*wrong, *(WrongValue(f"{name} is missing", f"add {name}") for name in missing)]


def key_named(table: Mapping[str, Key], kind: str, name: Any) -> Key:
    """Look up a key by its name. Raises WrongValue, which names the nearest key that exists."""
    if name in table:
        return table[name]
    raise WrongValue(f"{name!r} is not a key of {kind}", did_you_mean(name, table, f"the keys are {listed(table)}"))


_TYPES: Mapping[str, Any] = {"bool": bool, "list": (list, tuple), "dict": Mapping}


def _is_text(key: Key, text: Any) -> bool:
    if key.choices or not isinstance(text, str):
        return text in key.choices
    return bool(re.fullmatch(key.pattern, text, re.ASCII) if key.pattern else text)


def _advice(key: Key, value: Any) -> str:
    """Advise to use quotes where YAML may have made something else of a text; text without a form may be a number."""
    is_text = isinstance(value, (str, bool))
    if key.pattern == ADDRESS and isinstance(value, str) and value.endswith(".*"):
        return "write the address of one function, and add functions: all"
    if key.type not in ("str", "list") or key.choices or (is_text and not (key.pattern or "quotes" in key.form)):
        return ""
    return "" if isinstance(value, str) and not key.pattern else advice_if_unquoted(value)


def _number(value: Any) -> int | None:
    """Read a whole number, also from text, because variables from the command line are text; None if it is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch("0+|-?0*[1-9][0-9]{0,5}", text, re.ASCII) else None
