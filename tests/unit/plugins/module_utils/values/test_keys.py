# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of keys: each example is a value that the parser takes, each text says what it needs to."""

from __future__ import annotations

import pytest
import yaml

from ansible_collections.xen.pci.plugins.module_utils.values.address import AddressError, Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import parse_value
from ansible_collections.xen.pci.plugins.module_utils.values.function_keys import FUNCTION_KEYS, SETTING_KEYS
from ansible_collections.xen.pci.plugins.module_utils.values.keys import (
    DEVICE_KEYS,
    DOMAIN_KEYS,
    SHARE_KEYS,
    Key,
    WrongValue,
    checked,
)

TABLES = (DEVICE_KEYS, DOMAIN_KEYS, SHARE_KEYS, FUNCTION_KEYS, SETTING_KEYS)
ALL = [(table, key) for table in TABLES for key in table.values()]
NAMES = [key.name for _table, key in ALL]


@pytest.mark.parametrize("key", [key for _table, key in ALL], ids=NAMES)
def test_the_example_and_the_default_of_a_key_fit_it(key: Key) -> None:
    for text in (key.example, key.default):
        if text:
            value = yaml.safe_load(text)
            assert checked(key, value) == value


@pytest.mark.parametrize("key", DEVICE_KEYS.values(), ids=list(DEVICE_KEYS))
def test_the_parser_takes_the_example(key: Key) -> None:
    assert parse_value(key.name, yaml.safe_load(key.example))


@pytest.mark.parametrize("key", [key for _table, key in ALL], ids=NAMES)
def test_a_key_says_what_it_means(key: Key) -> None:
    assert key.meaning.endswith(".")
    assert key.form
    assert not key.form.endswith(".")


@pytest.mark.parametrize("value", [3.0, 3, "3", " 03 "])
def test_a_whole_number_may_be_text(value: object) -> None:
    assert checked(DEVICE_KEYS["count"], value) == 3


@pytest.mark.parametrize("value", [3.5, True, "3.0", "", "٣", None, [3], float("inf"), 70000, "0"])
def test_other_numbers_are_refused(value: object) -> None:
    with pytest.raises(WrongValue, match="count must be a whole number from 1 to 65536"):
        checked(DEVICE_KEYS["count"], value)


def test_a_misspelled_key_is_named_with_the_nearest_one() -> None:
    with pytest.raises(WrongValue, match="'nvme-serail' is not a key of a device") as caught:
        parse_value("nvme-serail", "S4EV0A1")
    assert caught.value.advice.startswith("did you mean 'nvme_serial'? The keys are address, vendor,")


@pytest.mark.parametrize("text", ["0000:03:00.0", "3:0.7", "0000-03-1f-0", "FFFF:ff:1f.7"])
def test_the_pattern_of_an_address_takes_what_is_one(text: str) -> None:
    assert checked(DEVICE_KEYS["address"], text) == text
    Sbdf.parse(text)


@pytest.mark.parametrize(
    "text", ["0000:03:20.0", "0000:03-00.0", "0000:03:00.8", "03:00", "100000000:03:00.0", "03-00.0"]
)
def test_the_pattern_of_an_address_refuses_what_is_none(text: str) -> None:
    with pytest.raises(WrongValue):
        checked(DEVICE_KEYS["address"], text)
    with pytest.raises(AddressError):
        Sbdf.parse(text)
