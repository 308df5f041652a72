# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a device reach Xen, pciback, xenstore and xl's own records, and a guest that reboots gets them again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import playbook
import pytest
from guest_lifecycle import NIC, TWIN, assignable_parts, eventually, from_outside, listed, reboot, stored
from independent_view import attached_by_xl, drivers

from xenlab import Host

CATALOG = {
    "nic": {"address": NIC.bdf, "permissive": "a test writes what pciback keeps", "rdm_policy": "relaxed"},
    "twin": {"address": TWIN.bdf},
}
EXPECTED = [{"bus": 1, "vfunc_mask": 1, "permissive": True, "rdm_policy": "relaxed"}]


@pytest.fixture(scope="module")
def assignable(host: Host) -> Iterator[Host]:
    with assignable_parts(host):
        yield host


def give(host: Host, catalog: Any, *names: str) -> Any:
    domains = {"g2": {"devices": list(names), "exclusive": True}}
    arguments = {"domains": domains, "catalog": catalog, "converge": "active", "timeout": 300}
    return playbook.task(host, "xen.pci.domain_devices", arguments)


def permissive(host: Host) -> list[str]:
    return host.run("cat /sys/bus/pci/drivers/pciback/permissive").stdout.split()


def test_they_reach_all_places(assignable: Host) -> None:
    host = assignable
    arguments = {"devices": ["nic", "twin"], "catalog": CATALOG}
    assert not playbook.task(host, "xen.pci.assignable_devices", arguments)["failed"]
    given = give(host, CATALOG, "nic")
    assert not given["failed"], given["msg"]
    assert drivers(host.guest("g2")) == ["e1000e"]
    assert permissive(host) == [NIC.bdf]
    options = host.run(f"xenstore-read /local/domain/0/backend/pci/{host.guest('g2').domid}/0/opts-0").stdout
    assert "permissive=1" in options and "rdm_policy=relaxed" in options
    assert stored(host) == listed(host) == EXPECTED
    assert not give(host, CATALOG, "nic")["changed"]


def test_a_guest_that_reboots_gets_them_again(assignable: Host) -> None:
    host = assignable
    reboot(host, from_outside)
    eventually(lambda: drivers(host.guest("g2")) == ["e1000e"])
    assert attached_by_xl(host, "g2") == {NIC.bdf}
    assert stored(host) == listed(host) == EXPECTED
    again = give(host, CATALOG, "nic")  # which may remove what xl leaves of the old guest
    assert not again["failed"] and again["actions"] == [], again


def test_another_option_for_an_attached_device_is_refused_and_taken_after_a_detach(assignable: Host) -> None:
    host = assignable
    strict = {**CATALOG, "nic": {**CATALOG["nic"], "rdm_policy": "strict"}}
    refused = give(host, strict, "nic")
    assert refused["failed"] and playbook.codes(refused) == [("option-change", NIC.bdf)]
    assert stored(host) == EXPECTED
    assert not give(host, CATALOG)["failed"]
    given = give(host, strict, "nic")
    assert not given["failed"], given["msg"]
    assert stored(host) == [{**EXPECTED[0], "rdm_policy": "strict"}]


def test_what_only_a_device_model_has_is_refused_for_a_pv_guest(assignable: Host) -> None:
    host = assignable
    assert not give(host, CATALOG)["failed"]
    for option in ({"vslot": "9"}, {"msitranslate": True}, {"power_mgmt": True}):
        refused = give(host, {"nic": {"address": NIC.bdf, "permissive": "as before", **option}}, "nic")
        assert refused["failed"] and {code for code, _subject in playbook.codes(refused)} == {"option"}
    assert attached_by_xl(host, "g2") == set()


def test_without_the_option_the_next_take_clears_it(assignable: Host) -> None:
    host = assignable
    arguments = {"devices": [NIC.bdf, TWIN.bdf]}
    assert not playbook.task(host, "xen.pci.assignable_devices", arguments)["failed"]
    assert permissive(host) == []
