# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a catalog may say, and how a faulty one is refused."""

from __future__ import annotations

from typing import Any

import pytest
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.values.catalog import (
    CatalogEntry,
    Criteria,
    Pool,
    parse_catalog,
    read_catalog,
)
from ansible_collections.xen.pci.plugins.module_utils.values.identity import Identity
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import Refused


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
    ("catalog", "code", "subject", "fact"),
    [
        ([], "catalog", "catalog", "[]"),
        ({1: "0000:01:00.0"}, "catalog-name", "1", "1"),
        ({"": "0000:01:00.0"}, "catalog-name", "", "''"),
        ({"0000:01:00.0": {"vendor": "8086"}}, "catalog-name", "0000:01:00.0", "address"),
        ({"a": {}}, "catalog-entry", "a", "{}"),
        ({"a": ["0000:01:00.0"]}, "catalog-entry", "a", "['0000:01:00.0']"),
        ({"a": "eth0"}, "catalog-value", "a", "address must be a PCI address such as"),
        ({"a": {"vendor": 8086}}, "catalog-value", "a", "vendor must be 4 hexadecimal digits in quotes"),
        ({"a": {"vendor": None}}, "catalog-value", "a", "vendor must be 4 hexadecimal digits in quotes"),
        ({"a": {"vendor": "86"}}, "catalog-value", "a", "vendor must be"),
        ({"a": {"device": "10dg"}}, "catalog-value", "a", "device must be"),
        ({"a": {"class": "010"}}, "catalog-value", "a", "class must be"),
        ({"a": {"serial": "NV1"}}, "catalog-value", "a", "serial must be"),
        ({"a": {"mac": "52:54:00"}}, "catalog-value", "a", "mac must be"),
        ({"a": {"nvme_serial": " "}}, "catalog-value", "a", "nvme_serial must be"),
        ({"a": {"venodr": "8086"}}, "catalog-value", "a", "'vendor'"),
        ({"a": {"path": "03:00.0"}}, "catalog-value", "a", "path must be"),
        ({"a": {"slot": " "}}, "catalog-value", "a", "slot must be"),
        ({"a": {"subsystem": "8086"}}, "catalog-value", "a", "subsystem must be"),
        (
            {"a": {"subsystem": "8086:a01f", "subsystem_vendor": "8086"}},
            "catalog-contradiction",
            "a",
            "subsystem_vendor",
        ),
        ({"a": {"vf": 0}}, "catalog-contradiction", "a", "pf"),
        ({"a": {"pf": "b", "vf": -1}}, "catalog-value", "a", "vf must be"),
        ({"a": {"slot": "3", "function": 8}}, "catalog-value", "a", "function must be"),
        ({"a": {"required": False}}, "catalog-contradiction", "a", "address, vendor"),
        ({"a": {"vendor": "8086", "required": "no"}}, "catalog-value", "a", "required must be true or false"),
        ({"a": {"count": 0}}, "catalog-value", "a", "count must be"),
        ({"a": {"count": True}}, "catalog-value", "a", "count must be"),
        ({"a": {"count": 2, "serial": "52-54-00-ff-ff-00-01-01"}}, "catalog-contradiction", "a", "serial"),
        ({"a": {"select": "", "count": 2}}, "catalog-value", "a", "select must be"),
        ({"a": {"vendor": "8086", "waive": ["disk"]}}, "catalog-value", "a", "waive must be"),
        (
            {"a": {"vendor": "8086", "waive": {"disk": " "}}},
            "catalog-value",
            "a",
            "for disk",
        ),
        (
            {"a": {"vendor": "8086", "waive": {"disk": True}}},
            "catalog-value",
            "a",
            "for disk",
        ),
        ({"a": {"vendor": "8086", "permissive": True}}, "catalog-value", "a", "permissive must be"),
    ],
)
def test_a_faulty_catalog_is_refused_with_the_name_and_the_key(
    catalog: Any, code: str, subject: str, fact: str
) -> None:
    with pytest.raises(Refused) as caught:
        parse_catalog(catalog)
    (refusal,) = caught.value.refusals
    assert codes([refusal]) == [(code, subject)]
    assert fact in str(refusal)


FAULTY = {"a": {"vendor": 1, "colour": "red"}, "b": 2, "c": "0000:01:00.0"}


def test_every_fault_of_a_catalog_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        parse_catalog(FAULTY)
    assert codes(caught.value.refusals) == [("catalog-value", "a"), ("catalog-value", "a"), ("catalog-entry", "b")]


def test_what_can_be_read_of_a_faulty_catalog_is_read() -> None:
    catalog = read_catalog(FAULTY)
    assert set(catalog.entries) == {"c"}
    assert catalog.unreadable == {"a", "b"}
    assert len(catalog.refusals) == 3
