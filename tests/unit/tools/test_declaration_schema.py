# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema for editors accepts what the parsers accept, and nothing else but what LEFT names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from declaration_schema import schema
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import checked_catalog
from ansible_collections.xen.pci.plugins.module_utils.plan.functions import read_functions
from ansible_collections.xen.pci.plugins.module_utils.values.declared_domain import read_domain
from ansible_collections.xen.pci.plugins.module_utils.values.function_keys import FUNCTION_KEYS, SETTING_KEYS
from ansible_collections.xen.pci.plugins.module_utils.values.keys import (
    DEVICE_KEYS,
    DOMAIN_KEYS,
    IDENTITY_KEYS,
    SHARE_KEYS,
    Key,
)
from ansible_collections.xen.pci.plugins.module_utils.values.variables import VARIABLES

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs/schema/xen_pci.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def accepts(**variables: Any) -> bool:
    return bool(VALIDATOR.is_valid({f"xen_pci_{name}": value for name, value in variables.items()}))


def parses(catalog: Any) -> bool:
    return not checked_catalog(catalog).refusals


def test_it_is_a_schema_and_made_from_the_tables() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert schema() == SCHEMA


# What is declared somewhere in this repository.


def declarations(value: Any) -> Iterator[dict[str, Any]]:
    """All variables of the collection that a document sets, wherever, and the options of tasks as such variables."""
    if isinstance(value, Mapping):
        own = {key: one for key, one in value.items() if key in VARIABLES}
        if own:
            yield own
        for module, options in value.items():
            if str(module).startswith("xen.pci.") and isinstance(options, Mapping):
                names = {
                    "catalog": "xen_pci_devices",
                    "domains": "xen_pci_domains",
                    "physical_functions": "xen_pci_virtual_functions",
                }
                if module != "xen.pci.repair":
                    yield {variable: options[name] for name, variable in names.items() if name in options}
        for one in value.values():
            yield from declarations(one)
    if isinstance(value, list):
        for one in value:
            yield from declarations(one)


def documents(file: Path) -> Iterator[Any]:
    text = file.read_text(encoding="utf-8")
    if file.suffix in (".yml", ".yaml"):
        yield from yaml.safe_load_all(text)
    elif file.suffix == ".md":
        for block in re.findall(r"^```yaml\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
            yield from yaml.safe_load_all(block)
    else:
        for block in re.findall(r'^EXAMPLES = r"""\n(.*?)^"""', text, flags=re.DOTALL | re.MULTILINE):
            yield yaml.safe_load(block)


FILES = [
    file
    for pattern in (
        "inventories/**/*.yml",
        "extensions/**/*.yml",
        "playbooks/*.yml",
        "roles/*/*.md",
        "docs/*.md",
        "*.md",
    )
    for file in sorted(ROOT.glob(pattern))
]
FILES += sorted([*ROOT.glob("tests/integration/targets/*/tasks/*.yml"), *ROOT.glob("plugins/modules/*.py")])
FOUND = {file: [*declarations([*documents(file)])] for file in FILES}
WITH_DECLARATIONS = {file: found for file, found in FOUND.items() if found}


@pytest.mark.parametrize("file", WITH_DECLARATIONS, ids=[str(file.relative_to(ROOT)) for file in WITH_DECLARATIONS])
def test_every_declaration_in_this_repository_is_valid(file: Path) -> None:
    errors = [
        f"{error.json_path}: {error.message}" for one in WITH_DECLARATIONS[file] for error in VALIDATOR.iter_errors(one)
    ]
    assert errors == []


def test_the_declarations_are_found() -> None:
    found = {str(file.relative_to(ROOT)) for file in WITH_DECLARATIONS}
    assert {
        "README.md",
        "docs/choosing-devices.md",
        "docs/refusals.md",
        "inventories/example/host_vars/alder.yml",
        "inventories/example/group_vars/xen.yml",
        "plugins/modules/domain_devices.py",
        "plugins/modules/virtual_functions.py",
        "roles/host/README.md",
        "tests/integration/targets/role_apply/tasks/cases.yml",
    } <= found


# The same as the parser: single values, keys together, and everything around them.

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="{"), max_size=12)
JUNK = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT, st.lists(TEXT, max_size=1))
SPACE = st.sampled_from(["", "", " ", "\n"])
EXAMPLES = {name: yaml.safe_load(key.example) for name, key in DEVICE_KEYS.items()}


def fitting(key: Key) -> st.SearchStrategy[Any]:
    """Values that fit the key, or almost."""
    if key.type == "bool":
        return st.booleans()
    if key.type == "int":
        number = st.one_of(st.integers(key.least - 1, key.most + 1), st.sampled_from([-1, 0, key.least, key.most]))
        return st.one_of(number, st.builds("{2}{0}{1}{2}".format, st.sampled_from(["", "0", "-"]), number, SPACE))
    if key.type == "dict":
        checks = st.sampled_from(["disk", "acs", "bridge", "permissive", "dsik", ""])
        return st.dictionaries(checks, st.sampled_from(["reason", "  ", ""]) | JUNK, max_size=2)
    if key.choices:
        return st.sampled_from([*key.choices, "", key.choices[0].upper(), f" {key.choices[0]}"])
    text = st.from_regex(re.compile(key.pattern, re.ASCII), fullmatch=True) if key.pattern else TEXT
    cut = st.builds(lambda whole, at: whole[:at] + whole[at + 1 :], text, st.integers(0, 20))
    return st.builds("{1}{0}{2}".format, text | cut, SPACE, SPACE)


@pytest.mark.parametrize("name", DEVICE_KEYS)
@given(data=st.data())
def test_a_value_of_a_device_is_valid_if_the_parser_takes_it(name: str, data: st.DataObject) -> None:
    value = data.draw(fitting(DEVICE_KEYS[name]) | JUNK)
    beside = {"vf": {"pf": "b"}, "function": {"slot": "3"}}.get(
        name, {} if name in IDENTITY_KEYS else {"vendor": "8086"}
    )
    declared = {"a": {**beside, name: value}}
    assert accepts(devices=declared) == parses(declared)


@pytest.mark.parametrize("key", [key for key in DEVICE_KEYS.values() if key.type == "int"], ids=lambda key: key.name)
def test_a_number_as_text_has_the_same_limits(key: Key) -> None:
    pattern = re.compile(SCHEMA["$defs"]["device"]["properties"][key.name]["pattern"])
    numbers = range(-20, key.most + 20)
    assert [number for number in numbers if pattern.search(str(number))] == [*range(key.least, key.most + 1)]


@settings(max_examples=500)
@given(st.lists(st.sampled_from([*DEVICE_KEYS, "venodr"]), max_size=4, unique=True))
def test_keys_are_valid_together_if_the_parser_takes_them(names: list[str]) -> None:
    declared = {"a": {name: EXAMPLES.get(name, "8086") for name in names}}
    assert accepts(devices=declared) == parses(declared)


@given(
    st.dictionaries(
        st.sampled_from(["a", "", "03:00.0", " 03:00.0", "0000-03-00-0", "03:20.0"]) | TEXT, JUNK, max_size=2
    )
)
def test_names_of_devices_are_valid_if_the_parser_takes_them(catalog: dict[str, Any]) -> None:
    assert accepts(devices=catalog) == parses(catalog)
    named = {name: {"vendor": "8086"} for name in catalog}
    assert accepts(devices=named) == parses(named)
    plain = dict.fromkeys(catalog, "0000:03:00.0")
    assert accepts(devices=plain) == parses(plain)


@given(JUNK)
def test_a_catalog_is_a_mapping(catalog: Any) -> None:
    assert accepts(devices=catalog) == (catalog is None)
    assert not parses(catalog)


# Domains: what holds for one domain alone.


def domain_parses(declared: Any) -> bool:
    return not read_domain("web01", declared).refusals


REQUESTS = st.one_of(
    st.sampled_from(["uplink", "0000:03:00.0", "pool", "", " "]),
    st.fixed_dictionaries(
        {}, optional={"from": st.just("pool") | TEXT, "count": fitting(SHARE_KEYS["count"]), "form": TEXT}
    ),
    JUNK,
)
DOMAIN_VALUES = {
    "devices": st.lists(REQUESTS, max_size=3) | JUNK,
    "exclusive": st.booleans() | JUNK,
    "state": fitting(DOMAIN_KEYS["state"]) | JUNK,
    "config": fitting(DOMAIN_KEYS["config"]) | JUNK,
    "uuid": fitting(DOMAIN_KEYS["uuid"]) | JUNK,
    "when_halted": fitting(DOMAIN_KEYS["when_halted"]) | JUNK,
}


@pytest.mark.parametrize("name", DOMAIN_KEYS)
@given(data=st.data())
def test_a_value_of_a_domain_is_valid_if_the_parser_takes_it(name: str, data: st.DataObject) -> None:
    declared = {"devices": ["uplink"], name: data.draw(DOMAIN_VALUES[name])}
    assume(distinct_names(declared))
    assert accepts(domains={"web01": declared}) == domain_parses(declared)


def test_keys_of_a_domain_are_valid_together_if_the_parser_takes_them() -> None:
    choices = {
        "devices": (None, [], ["uplink"], ["uplink", "uplink"]),
        "exclusive": (None, True, False),
        "state": (None, "present", "absent"),
        "config": (None, "/etc/xen/web01.cfg"),
        "when_halted": (None, "config", "skip", "fail"),
        "exclusiv": (None, True),
    }
    for values in product(*choices.values()):
        declared = {key: value for key, value in zip(choices, values, strict=True) if value is not None}
        assert accepts(domains={"web01": declared}) == domain_parses(declared), declared


@given(JUNK)
def test_a_domain_is_a_mapping(declared: Any) -> None:
    assert not accepts(domains={"web01": declared})
    assert not domain_parses(declared)


@given(REQUESTS)
def test_an_element_of_devices_is_valid_if_the_parser_takes_it(request: Any) -> None:
    declared = {"devices": [request]}
    assert accepts(domains={"web01": declared}) == domain_parses(declared)


# Virtual functions.


def functions_parse(declared: list[Any]) -> bool:
    return not read_functions(declared).refusals


SETTINGS = st.lists(
    st.fixed_dictionaries({}, optional={name: fitting(key) | JUNK for name, key in SETTING_KEYS.items()}) | JUNK,
    max_size=2,
)


@pytest.mark.parametrize("name", FUNCTION_KEYS)
@given(data=st.data())
def test_a_value_of_a_physical_function_is_valid_if_the_parser_takes_it(name: str, data: st.DataObject) -> None:
    value = data.draw((SETTINGS if name == "vfs" else fitting(FUNCTION_KEYS[name])) | JUNK)
    declared = [{"pf": "uplink", "count": 4, name: value}]
    assert accepts(virtual_functions=declared) == functions_parse(declared)


@pytest.mark.parametrize("name", SETTING_KEYS)
@given(data=st.data())
def test_a_setting_of_a_virtual_function_is_valid_if_the_parser_takes_it(name: str, data: st.DataObject) -> None:
    vfs = [{"index": 0, name: data.draw(fitting(SETTING_KEYS[name]) | JUNK)}]
    declared = [{"pf": "uplink", "count": 4, "vfs": vfs}]
    assert accepts(virtual_functions=declared) == functions_parse(declared)


@given(st.lists(st.sampled_from([*FUNCTION_KEYS, "cuont"]), unique=True))
def test_keys_of_a_physical_function_are_valid_together_if_the_parser_takes_them(names: list[str]) -> None:
    examples = {name: yaml.safe_load(key.example) for name, key in FUNCTION_KEYS.items()}
    declared = [{name: examples.get(name, 1) for name in names}]
    assert accepts(virtual_functions=declared) == functions_parse(declared)


@given(JUNK)
def test_a_physical_function_is_a_mapping(declared: Any) -> None:
    assert not accepts(virtual_functions=[declared])
    assert not functions_parse([declared])


def distinct_names(declared: Any) -> bool:
    """Whether no name is there twice unless the whole element is. See LEFT."""
    devices = declared["devices"] if isinstance(declared["devices"], list) else []
    names = [one.get("from") if isinstance(one, dict) else one for one in devices]
    wholes = [json.dumps(one) for one in devices]
    return len({*map(repr, names)}) == len({*wholes})


#: What the parsers refuse and the schema cannot: by name, a declaration that the schema accepts.
LEFT: dict[str, dict[str, Any]] = {
    "a template may yield anything": {"xen_pci_devices": {"a": {"vendor": "{{ vendor }}", "waive": "{{ waive }}"}}},
    "two parts of one pool": {
        "xen_pci_domains": {"web01": {"devices": [{"from": "pool", "count": 1}, {"from": "pool", "count": 2}]}}
    },
}


@pytest.mark.parametrize("variables", LEFT.values(), ids=list(LEFT))
def test_what_only_the_parsers_refuse(variables: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid(variables)
    catalog, domains = variables.get("xen_pci_devices", {}), variables.get("xen_pci_domains", {})
    assert not (parses(catalog) and all(map(domain_parses, domains.values())))


def test_a_variable_without_a_value_is_valid() -> None:
    """As where all its entries are commented out; the playbook and the role take it for an empty one."""
    assert accepts(devices=None, domains=None, virtual_functions=None)


@pytest.mark.parametrize("name", ["xen_pci_device", "xen_pci_x"])
def test_a_misspelled_variable_is_not_valid(name: str) -> None:
    assert not VALIDATOR.is_valid({name: {}})
    assert VALIDATOR.is_valid({"my_devices": {}})
