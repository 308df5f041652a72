# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a device is, is judged also once pciback holds it: a mistake of `hide=` gives nothing away and can be undone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from described_host import DescribedHost, booted, codes

HOST_BRIDGE, ISA, ROOT_PORT, SMBUS, NIC = (
    "0000:00:00.0",
    "0000:00:1f.0",
    "0000:00:1c.0",
    "0000:00:1f.3",
    "0000:01:00.0",
)
MISTAKES = {HOST_BRIDGE: "bridge", ISA: "bridge", ROOT_PORT: "bridge", SMBUS: "mainboard"}
WAIVED = {"smbus": {"address": SMBUS, "waive": {"mainboard": "a test"}}}
MACHINE: dict[str, Any] = {
    "devices": [
        {"at": "00:00.0", "model": "host-bridge"},
        {"at": "00:03.0", "model": "e1000e", "mac": "52:54:00:0a:00:01", "name": "mgmt0", "up": True},
        {"at": "00:1c.0", "model": "root-port", "bus": "01"},
        {"at": "00:1f.0", "model": "isa-bridge"},
        {"at": "00:1f.3", "model": "smbus"},
        {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01", "name": "eth0"},
    ],
    "hidden": ["00:00.0", "00:1f.0", "00:1c.0", "00:1f.3"],
    "domains": [{"name": "g1"}, {"name": "w1", "type": "hvm"}],
}


@pytest.fixture(scope="module")
def host() -> Iterator[DescribedHost]:
    with booted(MACHINE) as made:
        yield made


@pytest.mark.parametrize(("device", "check"), MISTAKES.items(), ids=MISTAKES.values())
def test_host_info_refuses_what_pciback_holds_by_mistake(host: DescribedHost, device: str, check: str) -> None:
    facts = host.facts(device)
    assert facts["driver"] == "pciback"
    assert [refusal["check"] for refusal in facts["refusals"]] == [check]
    assert not facts["free"] and not facts["assignable"]


@pytest.mark.parametrize("check_mode", [True, False], ids=["check", "run"])
@pytest.mark.parametrize(("device", "check"), MISTAKES.items(), ids=MISTAKES.values())
def test_it_is_refused_in_every_module(host: DescribedHost, device: str, check: str, check_mode: bool) -> None:
    assert codes(host.assign(device, check=check_mode)) == [(check, device)]
    for guest in ("g1", "w1"):
        domains = {guest: {"devices": [device]}}
        assert codes(host.run("domain_devices", {"domains": domains}, check=check_mode)) == [(check, device)]
    assert host.driver(device) == "pciback"


def test_no_pool_chooses_it(host: DescribedHost) -> None:
    for pool in ({"select": "[?class!=`null`]"}, {"select": "[?class!=`null`]", "free": False}, {"vendor": "8086"}):
        found = host.assign("any", catalog={"any": {**pool, "count": 5}, "mgmt": {"path": "0000:00/03.0"}}, check=True)
        (shortage,) = found["refusals"]
        assert shortage["code"] == "pool-shortage" and NIC in shortage["reason"]
        assert not any(mistake in shortage["reason"] for mistake in MISTAKES)


def test_a_waiver_with_its_reason_still_overrules_what_can_be_waived(host: DescribedHost) -> None:
    planned = host.assign("smbus", catalog=WAIVED, check=True)
    assert not planned.get("failed") and [one["check"] for one in planned["waived"]] == ["mainboard"]
    domains = {"g1": {"devices": ["smbus"]}}
    planned = host.run("domain_devices", {"domains": domains, "catalog": WAIVED}, check=True)
    assert not planned.get("failed"), planned["msg"]


def test_repair_does_not_quarantine_it(host: DescribedHost) -> None:
    assert not [one for one in host.info()["findings"] if set(one["devices"]) & set(MISTAKES)]


def test_a_release_is_the_way_out() -> None:
    with booted(MACHINE) as host:
        result = host.assign(*MISTAKES, state="absent")
        assert not result.get("failed"), result["msg"]
        assert {one["address"]: one["driver_after"] for one in result["devices"]} == {
            HOST_BRIDGE: None,
            ISA: "lpc_ich",
            ROOT_PORT: "pcieport",
            SMBUS: "i801_smbus",
        }
        again = host.assign(*MISTAKES, state="absent")
        assert not again.get("failed") and not again["changed"]


def test_exclusive_gives_it_back() -> None:
    with booted(MACHINE) as host:
        result = host.assign(NIC, exclusive=True)
        assert not result.get("failed"), result["msg"]
        assert [host.driver(mistake) for mistake in MISTAKES] == [None, "lpc_ich", "pcieport", "i801_smbus"]
        assert host.driver(NIC) == "pciback"
