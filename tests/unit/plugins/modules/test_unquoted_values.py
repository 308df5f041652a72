# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses and identifiers without quotes, which YAML reads as numbers: every way into a module refuses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from declared_host import DeclaredHost, declared_host

NIC, OTHER = "0000:01:00.0", "0000:02:00.0"
DEVICES = (
    {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01"},
    {"at": "02:00.0", "model": "igb", "mac": "52:54:00:00:02:01"},
)


@pytest.fixture(scope="module")
def host() -> Iterator[DeclaredHost]:
    with declared_host(DEVICES, domains=[{"name": "web01"}]) as started:
        yield started


@pytest.mark.parametrize("check", [False, True], ids=["", "check mode"])
@pytest.mark.parametrize(
    ("module", "written"),
    [
        ("assignable_devices", "{devices: [uplink], catalog: {uplink: 01:00.0}}"),
        ("assignable_devices", "{devices: [uplink], catalog: {uplink: {address: 0000:01:00.0}}}"),
        ("assignable_devices", "{devices: [uplink], catalog: {uplink: {mac: 52:54:00:12:34:56}}}"),
        ("assignable_devices", "{devices: [uplink], catalog: {uplink: {slot: 010}}}"),
        ("assignable_devices", "{devices: [uplink], catalog: {uplink: {label: on}}}"),
        ("assignable_devices", "{devices: [uplink], catalog: {uplink: {subsystem: 8086:10}}}"),
        ("assignable_devices", "{devices: [cards], catalog: {cards: {class: 0200, count: 1}}}"),
        ("assignable_devices", "{devices: [cards], catalog: {cards: {vendor: 0x8086, count: 1}}}"),
        ("assignable_devices", "{devices: [vf], catalog: {vf: {pf: 02:00.0, vf: 1}}}"),
        ("assignable_devices", "{devices: [01:00.0]}"),
        ("assignable_devices", "{devices: 01:00.0}"),
        ("assignable_devices", "{devices: [60.0], catalog: {01:00.0: {slot: '3'}}}"),
        ("domain_devices", "{domains: {web01: {devices: [0000:01:00.0]}}}"),
        ("domain_devices", "{domains: {web01: {devices: 0000:01:00.0}}}"),
        ("domain_devices", "{domains: {web01: 0000:01:00.0}}"),
        ("domain_devices", "{domains: {web01: {devices: [{from: 01:00.0, count: 1}]}}}"),
        ("domain_devices", "{domains: {web01: {devices: [0000:01:00.0], state: absent}}}"),
        ("virtual_functions", "{physical_functions: [{pf: 02:00.0, count: 2}]}"),
        ("virtual_functions", "{physical_functions: [{pf: uplink, count: 2}], catalog: {uplink: 02:00.0}}"),
        (
            "virtual_functions",
            '{physical_functions: [{pf: "02:00.0", count: 2, vfs: [{index: 0, mac: 52:54:00:12:34:56}]}]}',
        ),
        ("repair", "{devices: [01:00.0]}"),
    ],
)
def test_a_module_asks_for_quotes(host: DeclaredHost, module: str, written: str, check: bool) -> None:
    arguments: dict[str, Any] = yaml.safe_load(written)
    if "catalog" in arguments:  # JSON has text for keys only, and so has what Ansible sends
        arguments["catalog"] = {str(name): entry for name, entry in arguments["catalog"].items()}
    result = host.run(module, check, **arguments)
    assert result["failed"] and not result["changed"]
    assert "quotes" in result["msg"], result["msg"]
    assert (host.driver(NIC), host.driver(OTHER)) == ("e1000e", "igb")


@pytest.mark.parametrize(
    "inventory",
    [
        'xen_pci_domains: {web01: {devices: ["0000:01:00.0", 0000:02:00.0]}}',
        "xen_pci_domains: {web01: {devices: 0000:02:00.0}}",
        'xen_pci_devices: {uplink: "01:00.0", other: 02:00.0}\nxen_pci_domains: {web01: {devices: [uplink]}}',
    ],
    ids=["in a list", "instead of a list", "in the catalog"],
)
def test_the_first_task_of_a_play_refuses_them(host: DeclaredHost, inventory: str) -> None:
    played = host.apply(inventory)
    assert played.returncode != 0
    assert "quotes" in played.stdout, played.stdout
    assert host.driver(NIC) == "e1000e", "half of the devices was taken"
