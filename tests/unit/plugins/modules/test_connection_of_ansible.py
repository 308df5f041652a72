# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No card that carries Ansible's connection, or may carry it, is given away, whatever is waived."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from own_machine import DescribedHost, described_host, refused

CARD, OTHER, IDLE = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0"
DEVICES = [
    {"at": "00:00.0", "model": "host-bridge"},
    {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01", "name": "eth0", "up": True},
    {"at": "02:00.0", "model": "e1000e", "mac": "52:54:00:00:02:01", "name": "eth1"},
    {"at": "03:00.0", "model": "e1000e", "mac": "52:54:00:00:03:01", "name": "eth2"},
]
ROUTE = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
DEFAULT = "{}\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
DIRECT = "{}\t0000090A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"  # 10.9.0.0/24
PEER = "10.9.0.5 50000 10.9.0.30 22"
UP, DOWN = "0x1003", "0x1002"
ETH1 = "sys/bus/pci/devices/0000:02:00.0/net/eth1"
ETH2 = "sys/bus/pci/devices/0000:03:00.0/net/eth2"


def machine(routes: str, *virtual: str, **files: str) -> dict[str, Any]:
    """Three cards, of which eth0 is up and has the default route, and virtual interfaces with nothing below them."""
    base = "sys/devices/virtual/net"
    shown = {f"{base}/{name}/flags": UP for name in virtual} | {f"{base}/{name}/ifindex": "9" for name in virtual}
    links = {f"sys/class/net/{name}": f"{base}/{name}" for name in virtual}
    return {"devices": DEVICES, "files": {"proc/net/route": ROUTE + routes, **shown, **files}, "links": links}


def take(host: DescribedHost, address: str, ssh: str = PEER) -> dict[str, Any]:
    """Try to take a card with everything waived that can be."""
    entry = {"address": address, "waive": {"network": "wanted"}}
    return host.run("assignable_devices", ssh=ssh, devices=["card"], catalog={"card": entry})


@pytest.mark.parametrize("name", ["wg0", "tailscale0", "vxlan5", "gre1", "ppp0", "tun0", "br0"])
def test_a_tunnel_counts_as_carried_by_each_card_that_could(name: str) -> None:
    routes = DEFAULT.format("eth0") + DIRECT.format(name)
    with described_host(machine(routes, name, **{f"{ETH2}/flags": UP})) as host:
        assert host.checks(CARD, PEER) == {"connection": False, "network": True}
        result = take(host, CARD)
        assert result["failed"] and refused(result) == [("connection", CARD)]
        assert f"interface {name}" in result["msg"]
        assert host.device(CARD)["driver"] == "e1000e"
        # A card that is down, or that nothing goes through, carries nothing.
        assert host.checks(OTHER, PEER) == host.checks(IDLE, PEER) == {}
        ends = host.run("host_info", ssh=PEER)["host"]["network"]
        assert (ends["connection"], ends["connection_ends"]) == ([name], [f"interface {name}"])
        assert take(host, IDLE)["changed"]


@pytest.mark.parametrize(
    ("files", "could"),
    [
        ({f"{ETH1}/flags": UP}, False),
        ({f"{ETH1}/flags": UP, f"{ETH1}/upper_ovs-system/": ""}, True),
        ({f"{ETH1}/flags": "0x1103"}, True),  # promiscuous: a switch of programs takes all frames
        ({f"{ETH1}/flags": DOWN, f"{ETH1}/upper_ovs-system/": ""}, False),
        ({f"{ETH1}/flags": UP, "proc/net/if_inet6": f"{'fd' + '0' * 29}1 02 40 00 80     eth1\n"}, True),
        ({f"{ETH1}/flags": UP, "proc/net/if_inet6": f"fe80{'0' * 27}1 02 40 20 80     eth1\n"}, False),
        ({f"{ETH1}/flags": UP, "proc/net/route": ROUTE + DIRECT.format("br0") + DEFAULT.format("eth1")}, True),
    ],
)
def test_a_card_could_carry_it_if_it_is_up_and_in_use(files: dict[str, str], could: bool) -> None:
    with described_host(machine(DIRECT.format("br0"), "br0", **files)) as host:
        assert ("connection" in host.checks(OTHER, PEER)) == could


@pytest.mark.parametrize(
    "ssh",
    [
        "UNKNOWN 65535 UNKNOWN 65535",  # sshd behind another program, or over vsock
        "127.0.0.1 50000 127.0.0.1 22",  # a tunnel that ends on the host
        "10.9.0.5 50000 172.16.0.9 22",  # an address of another network namespace
        "garbage",
    ],
)
def test_a_connection_that_leads_nowhere_counts_as_carried_by_each_card_that_could(ssh: str) -> None:
    with described_host(machine(DEFAULT.format("eth0") + DIRECT.format("eth0"))) as host:
        assert refused(take(host, CARD, ssh)) == [("connection", CARD)]


def test_a_process_that_the_init_system_started_for_us_has_the_connections_of_the_others() -> None:
    files = {"proc/812/environ": f"HOME=/root\0SSH_CONNECTION={PEER}\0"}
    with described_host(machine(DEFAULT.format("eth0") + DIRECT.format("wg0"), "wg0", **files)) as host:
        assert refused(take(host, CARD, "")) == [("connection", CARD)]


def test_without_any_connection_the_waiver_holds() -> None:
    with described_host(machine(DEFAULT.format("eth0") + DIRECT.format("wg0"), "wg0")) as host:
        assert host.run("host_info")["host"]["network"]["connection"] == []
        assert take(host, CARD, "")["changed"]


@pytest.mark.parametrize("left", [True, False])
def test_a_card_whose_interface_is_in_another_network_namespace_is_in_use(left: bool) -> None:
    described = machine(DEFAULT.format("eth0") + DIRECT.format("veth0"), "veth0")
    with described_host(described) as host:
        # sysfs shows each namespace its own interfaces.
        (host.directory / "sys/class/net/eth1").unlink()
        shutil.rmtree(host.directory / ETH1 if left else (host.directory / ETH1).parent)
        assert host.checks(OTHER) == {"network": True}
        assert host.checks(OTHER, PEER) == {"connection": False, "network": True}
        assert refused(take(host, OTHER)) == [("connection", OTHER)]


def test_a_physical_function_carries_what_its_virtual_ones_carry() -> None:
    described = machine(DIRECT.format("eth5v0") + DEFAULT.format("eth5v0"))
    described["devices"] = [
        *DEVICES,
        {"at": "05:00.0", "model": "igb", "mac": "52:54:00:00:05:01", "name": "eth5", "numvfs": 1},
    ]
    described["files"] = {
        **described["files"],
        "sys/bus/pci/devices/0000:05:00.0/virtfn0/net/eth5v0/flags": UP,
    }
    waive = {"network": "wanted", "virtual-functions": "not needed"}
    catalog = {"card": {"address": "0000:05:00.0", "waive": waive}}
    with described_host(described) as host:
        result = host.run("assignable_devices", ssh=PEER, devices=["card"], catalog=catalog)
        assert refused(result) == [("connection", "0000:05:00.0")]


@pytest.mark.parametrize("beside", [False, True])
def test_no_card_is_taken_from_a_guest_that_is_the_router(beside: bool) -> None:
    links = {"sys/class/net/vif1.0": "sys/devices/vif-1-0/net/vif1.0"}
    described = machine(DIRECT.format("br0"), "br0")
    described["links"] |= links
    described["files"] |= {"sys/devices/vif-1-0/net/vif1.0/flags": UP, "sys/devices/virtual/net/br0/lower_vif1.0/": ""}
    if beside:  # a card in the bridge is the way then
        described["files"]["sys/devices/virtual/net/br0/lower_eth0/"] = ""
    described |= {"hidden": [IDLE, OTHER], "domains": [{"name": "router"}]}
    with described_host(described) as host:
        both = {"router": {"devices": [IDLE, OTHER]}}
        assert host.run("domain_devices", ssh=PEER, domains=both)["changed"], "more may come"
        result = host.run("domain_devices", ssh=PEER, domains={"router": {"devices": [IDLE], "exclusive": True}})
        assert refused(result) == ([] if beside else [("connection", OTHER)])
        assert bool(result.get("changed")) == beside
