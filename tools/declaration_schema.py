# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON schema of the variables of an inventory, for editors, made from the tables of keys.

Rules between keys are written with if and then, which old drafts have as well: not every editor knows 2020-12. Wherever
a value is wanted, text with a Jinja expression may be written, as nothing is known of what it yields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml

from ansible_collections.xen.pci.plugins.module_utils.plan.safety import Check, wrong_waivers
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import CatalogEntry
from ansible_collections.xen.pci.plugins.module_utils.values.function_keys import FUNCTION_KEYS, SETTING_KEYS
from ansible_collections.xen.pci.plugins.module_utils.values.keys import (
    ADDRESS,
    DEVICE_KEYS,
    DOMAIN_KEYS,
    IDENTITY_KEYS,
    KIND_KEYS,
    POOL_KEYS,
    SHARE_KEYS,
    Key,
)
from ansible_collections.xen.pci.plugins.module_utils.values.variables import VARIABLES

Schema = dict[str, Any]
#: Text that Ansible evaluates.
TEMPLATE = r"\{\{|\{%"
_MARKUP = re.compile(r"\b(?:V|C|O|RV|M)\((?:[\w.]+#\w+:)?([^)]*)\)")
_OBJECT = {"type": "object"}


def plain(meaning: str) -> str:
    """Text of the documentation without markup."""
    return _MARKUP.sub(r"\1", meaning)


def schema() -> Schema:
    """What a file with variables may say."""
    variables = {name: _value(key) for name, key in VARIABLES.items()}
    variables["xen_pci_devices"].update(_CATALOG)
    variables["xen_pci_domains"].update(_mapping({"minLength": 1}, "domain"))
    variables["xen_pci_virtual_functions"].update({"type": ["array", "string", "null"], "items": _ref("function")})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Variables of the Ansible collection xen.pci",
        "description": "For files in group_vars and host_vars. docs/declaration.md explains the variables and keys.",
        "type": ["object", "null"],
        "properties": variables,
        "propertyNames": {"if": {"pattern": "^xen_pci"}, "then": {"enum": list(VARIABLES)}},
        "$defs": {
            "device": _device(),
            "domain": _domain(),
            "request": _request(),
            "function": _function(),
            "setting": _keys(SETTING_KEYS),
        },
    }


def _device() -> Schema:
    is_pool = {**_OBJECT, "anyOf": [{"required": [key]} for key in POOL_KEYS]}
    single = [key for key in IDENTITY_KEYS if key not in KIND_KEYS]
    identified = {"anyOf": [{"required": [key]} for key in (*IDENTITY_KEYS, *POOL_KEYS)]}
    found = _keys(DEVICE_KEYS)
    found["properties"]["waive"].update(_reasons())
    return {
        **found,
        "description": "A device or a pool: an address, or a mapping of keys.",
        "pattern": _text(ADDRESS),
        "allOf": [
            {"if": is_pool, "then": _without(single)},
            {"if": _OBJECT, "then": identified},
            {"if": {**_OBJECT, "required": ["vf"]}, "then": {"required": ["pf"]}},
            {"if": {**_OBJECT, "required": ["subsystem"]}, "then": _without(["subsystem_vendor", "subsystem_device"])},
            {"if": {**_OBJECT, "required": ["functions"]}, "then": _without([*POOL_KEYS, "function", "vf"])},
            {"if": {**_OBJECT, "required": ["vslot"]}, "then": _without([*POOL_KEYS, "functions"])},
        ],
    }


def _domain() -> Schema:
    contradiction = {"exclusive": {"const": True}, "state": {"const": "absent"}}
    found = _keys(DOMAIN_KEYS)
    found["properties"]["devices"].update(items=_ref("request"), uniqueItems=True)
    by_file = {**_OBJECT, "properties": {"when_halted": {"const": "config"}}, "required": ["when_halted"]}
    return {
        **found,
        "allOf": [
            {"not": {**_OBJECT, "properties": contradiction, "required": list(contradiction)}},
            {"if": by_file, "then": {"required": ["config"]}},
        ],
    }


def _request() -> Schema:
    return {
        **_keys(SHARE_KEYS),
        "description": "A name of the catalog, an address, or a part of a pool.",
        "pattern": r"\S",
    }


def _function() -> Schema:
    found = _keys(FUNCTION_KEYS)
    found["properties"]["vfs"].update(items=_ref("setting"))
    return found


def _keys(table: Mapping[str, Key]) -> Schema:
    """A mapping with these keys."""
    required = [name for name, key in table.items() if key.required]
    return {
        "type": ["object", "string"],
        "pattern": TEMPLATE,
        "properties": {name: _value(key) for name, key in table.items()},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _mapping(names: Schema, values: str) -> Schema:
    """A mapping with names of the user's own."""
    return {
        "type": ["object", "string", "null"],
        "pattern": TEMPLATE,
        "propertyNames": names,
        "additionalProperties": _ref(values),
    }


def _ref(definition: str) -> Schema:
    return {"$ref": f"#/$defs/{definition}"}


_CATALOG = _mapping({"minLength": 1, "not": {"pattern": f"^({ADDRESS}|[0-9]+\\.[0-9]+)$"}}, "device")


def _without(keys: Iterable[str]) -> Schema:
    return {"properties": dict.fromkeys(keys, False)}


def _value(key: Key) -> Schema:
    found: Schema = {"description": plain(key.meaning), "examples": [yaml.safe_load(key.example)]}
    if key.default:
        found["default"] = yaml.safe_load(key.default)
    return {**found, **_FORMS[key.type](key), "patternErrorMessage": f"{key.name} must be {key.form}."}


def _text_value(key: Key) -> Schema:
    if key.choices:
        return {"type": "string", "anyOf": [{"enum": list(key.choices)}, {"pattern": TEMPLATE}]}
    return {"type": "string", "pattern": _text(key.pattern) if key.pattern else r"\S"}


def _number_value(key: Key) -> Schema:
    text = "|".join(
        [f"0*({_up_to(key.most)})", *(["0+"] if key.least <= 0 else []), *(["-0*1"] if key.least < 0 else [])]
    )
    return {"type": ["integer", "string"], "minimum": key.least, "maximum": key.most, "pattern": _text(text)}


def _reasons() -> Schema:
    """What `waive` may hold."""
    checks = [one.value for one in Check if not wrong_waivers({"a": CatalogEntry(waive={one.value: "reason"})})]
    reasons = {check: {"type": "string", "pattern": r"\S"} for check in checks}
    return {"properties": reasons, "additionalProperties": False}


def _other_value(kind: str) -> Schema:
    return {"type": [kind, "string"], "pattern": TEMPLATE}


_FORMS: Mapping[str, Callable[[Key], Schema]] = {
    "str": _text_value,
    "int": _number_value,
    "bool": lambda _key: _other_value("boolean"),
    "list": lambda _key: _other_value("array"),
    "dict": lambda _key: _other_value("object"),
}


def _text(pattern: str) -> str:
    """A pattern that allows white space around, or a template."""
    return rf"^\s*({pattern})\s*$|{TEMPLATE}"


def _up_to(most: int) -> str:
    """A pattern of the whole numbers from 1 to the limit, without zeros in front."""
    digits = str(most)
    shorter = [f"[1-9][0-9]{{0,{len(digits) - 2}}}"] if len(digits) > 1 else []
    same_length = [
        f"{digits[:at]}[{0 if at else 1}-{int(digit) - 1}][0-9]{{{len(digits) - at - 1}}}"
        for at, digit in enumerate(digits)
        if int(digit) > (0 if at else 1)
    ]
    return "|".join([*shorter, *same_length, digits])
