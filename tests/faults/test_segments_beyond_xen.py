# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices behind an Intel VMD: they have addresses, and are refused with the reason, however they are named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from described_host import DescribedHost, booted, codes

VMD, PORT, DISK, CARD = "0000:00:0e.0", "10000:e0:06.0", "10000:e1:00.0", "10000:e1:00.1"
ROOT = "sys/devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0"
#: Vendor and device, then nothing but zeros: a device that answers.
CONFIG = "\udc86\udc80\x34\x12" + "\0" * 60


def function(directory: str, modalias: str) -> dict[str, str]:
    """The files of one function that the simulator has no model of."""
    return {
        f"{directory}/modalias": modalias,
        f"{directory}/config": CONFIG,
        f"{directory}/revision": "0x01",
        f"{directory}/resource": "0x0 0x0 0x0",
        f"{directory}/reset_method": "flr bus",
        f"{directory}/irq": "0",
    }


NVME = f"{ROOT}/{DISK}/nvme/nvme9"
MACHINE: dict[str, Any] = {
    "devices": [
        {"at": "00:00.0", "model": "host-bridge"},
        {"at": "00:03.0", "model": "e1000e", "mac": "52:54:00:0a:00:01", "name": "mgmt0", "up": True},
        {"at": "00:0e.0", "model": "ahci"},
        {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01", "name": "eth0"},
    ],
    "domains": [{"name": "g1"}],
    "files": {
        **function(ROOT, "pci:v00008086d00009A09sv00000000sd00000000bc06sc04i00"),
        **function(f"{ROOT}/{DISK}", "pci:v00008086d00000A54sv00000000sd00000000bc01sc08i02"),
        **function(f"{ROOT}/{CARD}", "pci:v00008086d000010D3sv00000000sd00000000bc02sc00i00"),
        f"{NVME}/serial": "VMDSER",
        f"{NVME}/nvme9n1/dev": "259:9",
        "proc/self/mountinfo": "29 1 259:9 / /srv rw,relatime shared:1 - ext4 /dev/nvme9n1 rw\n",
    },
    "links": {
        f"sys/bus/pci/devices/{PORT}": ROOT,
        f"sys/bus/pci/devices/{DISK}": f"{ROOT}/{DISK}",
        f"sys/bus/pci/devices/{CARD}": f"{ROOT}/{CARD}",
        "sys/class/block/nvme9n1": f"{NVME}/nvme9n1",
        "sys/class/nvme/nvme9": NVME,
    },
}


@pytest.fixture(scope="module")
def host() -> Iterator[DescribedHost]:
    with booted(MACHINE) as made:
        yield made


def test_they_are_listed_in_the_order_of_addresses_with_the_reason(host: DescribedHost) -> None:
    devices = host.info()["devices"]
    assert [one["address"] for one in devices][-3:] == [PORT, DISK, CARD]
    for one in devices[-3:]:
        refusal = one["refusals"][0]
        assert (refusal["check"], refusal["waivable"]) == ("segment", False)
        assert VMD in refusal["reason"] and VMD in refusal["advice"] and "firmware" in refusal["advice"]
        assert one["behind"] == VMD and not one["free"] and not one["assignable"]
        assert one["xen_owner"] == "unknown"
    assert devices[-2]["nvme_serial"] == "VMDSER"


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
@pytest.mark.parametrize(
    ("named", "device"),
    [
        (DISK, DISK),
        ({"nvme_serial": "VMDSER"}, DISK),
        ({"class": "0200", "address": CARD}, CARD),
        ({"path": "10000:e0/06.0/00.1"}, CARD),
        (CARD.replace(":", "-").replace(".", "-"), CARD),
    ],
    ids=["address", "serial", "kind", "path", "with dashes"],
)
def test_each_is_refused_however_it_is_named(host: DescribedHost, named: Any, device: str, check: bool) -> None:
    catalog = {} if isinstance(named, str) else {"disk": named}
    name = named if isinstance(named, str) else "disk"
    assert codes(host.assign(name, catalog=catalog, check=check)) == [("segment", device)]
    domains = {"g1": {"devices": [name]}}
    found = host.run("domain_devices", {"domains": domains, "catalog": catalog}, check=check)
    assert codes(found) == [("segment", device)]


def test_one_that_is_not_there_is_missing_and_no_wrong_spelling(host: DescribedHost) -> None:
    refused = host.assign("10000:e1:1f.0")
    assert codes(refused) != [] and "is not a PCI address" not in refused["msg"]


def test_no_pool_chooses_them(host: DescribedHost) -> None:
    for pool in ({"class": "0200"}, {"class": "0200", "free": False}):
        found = host.assign("any", catalog={"any": {**pool, "count": 5}}, check=True)
        assert ("pool-shortage", "any") in codes(found) and "segment" not in dict(codes(found))
        assert CARD not in found["msg"]


def test_what_is_on_them_counts_as_the_vmds_use(host: DescribedHost) -> None:
    refused = host.assign(VMD)
    assert codes(refused) == [("disk", VMD)] and "/srv" in refused["msg"]


def test_a_vmd_that_the_host_can_do_without_is_given_away_with_all_behind_it() -> None:
    files = {path: text for path, text in MACHINE["files"].items() if not path.startswith("proc/")}
    with booted({**MACHINE, "files": files}) as host:
        assert codes(host.assign(VMD)) == [("data", VMD)], "what is on its disk cannot be read"
        unneeded = {"vmd": {"address": VMD, "waive": {"data": "the disk is for the guest"}}}
        result = host.assign("vmd", catalog=unneeded)
        assert not result.get("failed"), result["msg"]
        assert host.driver(VMD) == "pciback"
