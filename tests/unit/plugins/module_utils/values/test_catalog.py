# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a catalog may say, and how a faulty one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.values.catalog import CatalogEntry, Criteria, Pool, parse_catalog
from ansible_collections.xen.pci.plugins.module_utils.values.identity import Identity, IdentityError


def test_a_subsystem_is_vendor_and_device_together() -> None:
    entry = next(iter(parse_catalog({"a": {"subsystem": "8086:A01F"}}).values()))
    assert entry == CatalogEntry(Identity(subsystem_vendor="8086", subsystem_device="a01f"))


def test_a_pool_has_criteria_kind_and_number() -> None:
    declared = {"select": "[?numa_node==`0`]", "numa_node": 0, "class": "02", "pf": "uplink", "count": "4"}
    entry = next(iter(parse_catalog({"pool": declared}).values()))
    assert entry.pool == Pool(Criteria("[?numa_node==`0`]", 0), Identity(class_code="02", pf="uplink"), 4)


def test_reasons_are_kept() -> None:
    entry = next(iter(parse_catalog({"a": {"slot": "3", "waive": {"disk": " old "}, "permissive": "GPU"}}).values()))
    assert (entry.waive, entry.permissive) == ({"disk": "old"}, "GPU")


@pytest.mark.parametrize(
    ("catalog", "words"),
    [
        ([], "must be a mapping"),
        ({1: "0000:01:00.0"}, "named 1"),
        ({"": "0000:01:00.0"}, "non-empty"),
        ({"0000:01:00.0": {"vendor": "8086"}}, "is an address"),
        ({"a": {}}, "must be an address or a mapping"),
        ({"a": ["0000:01:00.0"]}, "must be an address or a mapping"),
        ({"a": "eth0"}, "address must be a PCI address such as"),
        ({"a": {"vendor": 8086}}, "vendor must be 4 hexadecimal digits in quotes"),
        ({"a": {"vendor": None}}, "vendor must be 4 hexadecimal digits in quotes"),
        ({"a": {"vendor": "86"}}, "vendor must be 4 hexadecimal digits"),
        ({"a": {"device": "10dg"}}, "device must be 4 hexadecimal digits"),
        ({"a": {"class": "010"}}, "class must be 2, 4 or 6"),
        ({"a": {"serial": "NV1"}}, "serial must be eight bytes"),
        ({"a": {"mac": "52:54:00"}}, "mac must be six bytes"),
        ({"a": {"nvme_serial": " "}}, "nvme_serial must be text"),
        ({"a": {"venodr": "8086"}}, "'venodr' is not a key"),
        ({"a": {"path": "03:00.0"}}, "path must be segment, root bus"),
        ({"a": {"slot": " "}}, "slot must be text"),
        ({"a": {"subsystem": "8086"}}, "subsystem must be vendor and device such as"),
        ({"a": {"subsystem": "8086:a01f", "subsystem_vendor": "8086"}}, "stands for"),
        ({"a": {"vf": 0}}, "add pf"),
        ({"a": {"pf": "b", "vf": -1}}, "vf must be a whole number"),
        ({"a": {"slot": "3", "function": 8}}, "function must be a whole number from 0 to 7"),
        ({"a": {"required": False}}, "nothing says which device"),
        ({"a": {"vendor": "8086", "required": "no"}}, "required must be true or false"),
        ({"a": {"count": 0}}, "count must be a whole number from 1"),
        ({"a": {"count": True}}, "count must be a whole number from 1"),
        ({"a": {"count": 2, "serial": "52-54-00-ff-ff-00-01-01"}}, "declare one of the two"),
        ({"a": {"select": "", "count": 2}}, "select must be a JMESPath expression"),
        ({"a": {"vendor": "8086", "waive": ["disk"]}}, "waive must be a dict of checks"),
        ({"a": {"vendor": "8086", "waive": {"disk": " "}}}, "must give its reason as text"),
        ({"a": {"vendor": "8086", "waive": {"disk": True}}}, "must give its reason as text"),
        ({"a": {"vendor": "8086", "permissive": True}}, "permissive must be a text that gives the reason"),
    ],
)
def test_a_faulty_catalog_is_refused_in_words(catalog: Any, words: str) -> None:
    with pytest.raises(IdentityError, match=words):
        parse_catalog(catalog)


def test_every_fault_of_a_catalog_is_told() -> None:
    with pytest.raises(IdentityError) as caught:
        parse_catalog({"a": {"vendor": 1, "colour": "red"}, "b": 2})
    assert len(caught.value.problems) == 3
