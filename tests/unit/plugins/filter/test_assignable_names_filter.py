# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which devices of an inventory pciback is to hold."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.filter import assignable_names as filter_module

assignable_names = filter_module.FilterModule().filters()["assignable_names"]

CATALOG = {"uplink": {"mac": "02:00:5e:3b:00:00"}, "pool": {"pf": "uplink", "count": 2}, "nic": "01:00.0"}


def test_all_names_but_physical_functions_and_what_domains_list_besides() -> None:
    domains = {
        "web01": {"devices": ["nic", {"from": "pool"}, "0000:04:00.0"]},
        "web02": {"devices": ["0000:05:00.0"], "state": "absent"},
        "web03": {"devices": ["0000:04:00.0", "0000:06:00.0"], "state": "present"},
    }
    assert assignable_names(CATALOG) == ["pool", "nic"]
    assert assignable_names(CATALOG, domains) == ["pool", "nic", "0000:04:00.0", "0000:06:00.0"]


def test_a_physical_function_whose_virtual_ones_are_declared_stays() -> None:
    assert assignable_names({"nic": "01:00.0", "pf": "02:00.0"}, {}, [{"pf": "pf", "count": 2}]) == ["nic"]
    assert assignable_names({"nic": "01:00.0"}, None, None) == ["nic"]


def test_only_what_some_domains_list() -> None:
    domains = {"web01": {"devices": ["nic", {"from": "pool"}]}, "web02": {"devices": ["0000:05:00.0"]}}
    assert assignable_names(CATALOG, domains, [], ["web01"]) == ["nic", "pool"]


def test_a_physical_function_that_a_domain_lists_is_given_away() -> None:
    assert assignable_names(CATALOG, {"web01": {"devices": ["uplink"]}}) == ["pool", "nic", "uplink"]


@pytest.mark.parametrize(
    ("catalog", "domains"),
    [
        (None, None),
        ({}, {"web01": None}),
        ({}, {"web01": "nic"}),
        ([], {"web01": {"devices": "nic"}}),
        ("nic", {"web01": {"device": ["nic"]}}),
    ],
)
def test_what_is_wrong_is_left_to_the_modules(catalog: Any, domains: Any) -> None:
    assert assignable_names(catalog, domains) == []


@pytest.mark.parametrize("devices", [[60.0, "nic"], ["nic", 60.0, None], 60.0])
def test_what_yaml_read_as_a_number_stays_for_the_first_task_to_refuse(devices: Any) -> None:
    assert 60.0 in assignable_names(CATALOG, {"web01": {"devices": devices}})
    assert assignable_names({}, {"web01": 60.0}) == [60.0]
