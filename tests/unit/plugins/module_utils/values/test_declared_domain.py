# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be declared of a domain, and how a mistake is refused without hiding others."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.values.declared_domain import (
    DeclaredDomain,
    PoolRequest,
    read_domain,
    read_request,
)
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import Refused


def test_a_domain_has_devices_and_settings() -> None:
    declared = {
        "devices": ["uplink", {"from": "vf-pool", "count": "2"}, {"from": "disks"}, "03:00.0"],
        "exclusive": True,
        "config": " /etc/xen/web01.cfg ",
    }
    domain = read_domain("web01", declared)
    assert domain == DeclaredDomain(
        name="web01",
        devices=("uplink", PoolRequest("vf-pool", 2), PoolRequest("disks", 1), "03:00.0"),
        exclusive=True,
        config="/etc/xen/web01.cfg",
    )
    assert domain.names == ("uplink", "vf-pool", "disks", "03:00.0")


def test_what_a_domain_does_not_say_is_as_for_all_domains() -> None:
    assert read_domain("web01", {"devices": []}, exclusive=True) == DeclaredDomain("web01", exclusive=True)
    assert read_domain("web01", {"devices": [], "exclusive": False}, exclusive=True) == DeclaredDomain("web01")


def test_absent_devices_are_no_contradiction_where_all_domains_are_exclusive() -> None:
    domain = read_domain("web01", {"devices": ["uplink"], "state": "absent"}, exclusive=True)
    assert (domain.present, domain.refusals) == (False, ())


@pytest.mark.parametrize(
    ("declared", "code", "words"),
    [
        ("uplink", "domain-options", "web01 is declared as 'uplink'"),
        ({"exclusive": True}, "domain-options", "web01: devices is missing"),
        ({"devices": "uplink"}, "domain-options", "web01: devices must be a list of names, addresses"),
        ({"devices": [], "exclusiv": True}, "domain-options", "Did you mean 'exclusive'? The keys are devices,"),
        ({"devices": [], "exclusive": "yes"}, "domain-options", "web01: exclusive must be true or false, not 'yes'"),
        ({"devices": [], "state": "gone"}, "domain-options", "web01: state must be present or absent, not 'gone'"),
        ({"devices": [], "config": ""}, "domain-options", "web01: config must be the path of a file, not ''"),
        ({"devices": [], "exclusive": True, "state": "absent"}, "exclusive-absent", "cannot be combined"),
        ({"devices": ["a", "b", "a"]}, "listed-twice", "a is declared twice for web01"),
        ({"devices": ["p", {"from": "p", "count": 2}]}, "listed-twice", "p is declared twice for web01"),
        ({"devices": [5]}, "device-request", "web01: 5 is not a device"),
        ({"devices": [" "]}, "device-request", "web01: ' ' is not a device"),
        ({"devices": [{"form": "p", "from": "p"}]}, "device-request", "Did you mean 'from'?"),
        ({"devices": [{"count": 2}]}, "device-request", "from is missing"),
        ({"devices": [{"from": "p", "count": 0}]}, "device-request", "count must be a whole number from 1"),
    ],
)
def test_a_mistake_is_refused(declared: Any, code: str, words: str) -> None:
    (refusal,) = read_domain("web01", declared).refusals
    assert refusal.code == code
    assert words in str(refusal)


def test_a_mistake_hides_neither_other_mistakes_nor_what_can_be_read() -> None:
    declared = {"devices": ["uplink", 5, {"from": "pool", "count": 0}], "state": "gone", "config": 7, "color": "red"}
    domain = read_domain("web01", declared)
    assert domain.devices == ("uplink",)
    assert len(domain.refusals) == 5


def test_a_request_alone_is_refused_as_well() -> None:
    with pytest.raises(Refused, match=r"None is not a device\. Write a name, an address"):
        read_request(None)
