# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every contradiction between the views is told, and a host in order has none."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.faults.disagreements import disagreements
from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import PciDevice, XenOwner
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B = Sbdf.parse("0000:01:00.0"), Sbdf.parse("0000:02:00.0")


def connection(domid: int, *devices: Sbdf, state: str = "3") -> PciConnection:
    nodes = {"state": "4", "num_devs": str(len(devices))}
    for index, sbdf in enumerate(devices):
        nodes |= {f"dev-{index}": str(sbdf), f"state-{index}": state, f"vdev-{index}": f"0000:00:{index:02x}.00"}
    return PciConnection.from_nodes(domid, nodes, "4")


def host(driver: str | None = "pciback", **facts: Any) -> Host:
    sound: dict[str, Any] = {
        "devices": {A: PciDevice(A, "8086", "10d3", "", "", "020000", "00", driver=driver)},
        "domains": {3: Domain(3, "web01", own_connection=connection(3, A)), 4: Domain(4, "web02")},
        "markers": {A: 3},
        "xen_owners": {A: XenOwner.GUEST},
    }
    return Host(**{**sound, **facts})


def test_a_host_in_order_has_no_disagreements() -> None:
    assert disagreements(host()) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"orphaned_connections": {9: connection(9, B)}}, "domain 9, which does not exist (devices: 0000:02:00.0"),
        ({"driver": "e1000e"}, "is with driver e1000e and not with pciback"),
        ({"driver": None}, "is with no driver and not with pciback"),
        ({"devices": {}}, "the host has no such device"),
        ({"xen_owners": {A: XenOwner.HOST}}, "Xen says that the host owns it"),
        ({"markers": {}}, "libxl has no marker"),
        ({"markers": {A: 8}}, "domain 8, which does not exist"),
        ({"markers": {A: 4}}, "to domain 4, but the connection of domain 3 lists it"),
        ({"markers": {A: 3, B: 4}}, "to domain 4, whose connection does not list it"),
        ({"xen_owners": {A: XenOwner.GUEST, B: XenOwner.GUEST}}, "a guest owns 0000:02:00.0, but no connection"),
        ({"domains": {3: Domain(3, "web01", own_connection=connection(3, A, state="5"))}}, "unfinished removal"),
    ],
)
def test_each_contradiction_is_one_sentence(facts: dict[str, Any], words: str) -> None:
    (sentence,) = disagreements(host(**facts))
    assert words in sentence
    assert sentence.endswith(".")


def test_a_device_in_two_connections_is_told() -> None:
    domains = {number: Domain(number, f"vm{number}", own_connection=connection(number, A)) for number in (3, 4)}
    (sentence,) = disagreements(host(domains=domains))
    assert "several domains: vm3 (3), vm4 (4)" in sentence


def test_pcibacks_list_is_compared_with_what_it_holds() -> None:
    def listed(driver: str | None, times: int | None) -> list[str]:
        device = PciDevice(A, "8086", "10d3", "", "", "020000", "00", driver=driver, pciback_slots=times)
        return disagreements(Host({A: device}, {}))

    assert listed("pciback", 1) == listed("pciback", None) == listed("e1000e", 0) == listed("e1000e", None) == []
    (seizes,) = listed("e1000e", 1)
    assert "on pciback's list, but with driver e1000e" in seizes
    assert "3 times" in listed("pciback", 3)[0]
