# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection through a tunnel or Open vSwitch: no card that may carry it is given away, on a real kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import module_runner
import playbook
import pytest
from independent_view import driver_in_dom0

from xenlab import Host, topology

CARD, IDLE = topology.NICS[0], topology.NICS[1]
PEER, HERE = "10.77.0.9", "10.77.0.1"
SSH = f"{PEER} 50000 {HERE} 22"
TUNNELS = {
    "wireguard": "type wireguard",
    "vxlan": "type vxlan id 7 remote 10.66.0.2 dstport 4789",
    "gre": "type gre remote 10.66.0.2",
}
ARGUMENTS = {"devices": ["card"], "catalog": {"card": {"address": CARD.bdf, "waive": {"network": "tried"}}}}


def interface_of(host: Host, card: topology.Nic) -> str:
    return host.run(["ls", f"/sys/bus/pci/devices/{card.bdf}/net"]).stdout.strip()


@pytest.fixture
def card_in_use(host: Host) -> Iterator[str]:
    """The interface of a card while it is up and has an address."""
    name = interface_of(host, CARD)
    host.run(f"ip link set {name} up; ip address add 10.66.0.1/24 dev {name}")
    yield name
    host.run(f"ip address flush dev {name}; ip link set {name} down")


@pytest.mark.parametrize("kind", TUNNELS)
def test_no_card_below_a_tunnel_is_given_away(host: Host, card_in_use: str, kind: str) -> None:
    host.run(f"ip link add tun7 {TUNNELS[kind]} && ip address add {HERE}/24 dev tun7 && ip link set tun7 up")
    try:
        result = playbook.task(host, "xen.pci.assignable_devices", ARGUMENTS, {"SSH_CONNECTION": SSH})
        facts = playbook.task(host, "xen.pci.host_info", {}, {"SSH_CONNECTION": SSH})
        host.run(f"ip link set {card_in_use} down")
        down = playbook.task(host, "xen.pci.assignable_devices", ARGUMENTS, {"SSH_CONNECTION": SSH}, ["--check"])
    finally:
        host.run("ip link delete tun7")
    assert result["failed"] and playbook.codes(result) == [("connection", CARD.bdf)]
    assert driver_in_dom0(host, CARD.bdf) == "e1000e"
    assert facts["host"]["network"]["connection_ends"] == ["interface tun7"]
    refused = {one["address"]: [why["check"] for why in one["refusals"]] for one in facts["devices"]}
    assert "connection" in refused[topology.MANAGEMENT_NIC], "its route may lead to the other end"
    assert "connection" not in refused[IDLE.bdf], "nothing goes through it"
    assert not down["failed"], "a card that is down carries nothing"


def test_a_port_of_open_vswitch_leads_to_the_cards_in_the_switch(host: Host, card_in_use: str) -> None:
    script = (Path(__file__).parent / "open_vswitch.py").read_text()
    host.run(f"cat > /root/open_vswitch.py <<'EOF'\n{script}\nEOF\nmodprobe openvswitch")
    other = interface_of(host, IDLE)
    host.run(f"ip link set {other} up; python3 /root/open_vswitch.py make br7 {other}")
    try:
        host.run(f"ip address add {HERE}/24 dev br7; ip link set br7 up")
        facts = playbook.task(host, "xen.pci.host_info", {}, {"SSH_CONNECTION": SSH})
        arguments = {"devices": ["card"], "catalog": {"card": {"address": IDLE.bdf, "waive": {"network": "tried"}}}}
        result = playbook.task(host, "xen.pci.assignable_devices", arguments, {"SSH_CONNECTION": SSH})
    finally:
        host.run(f"python3 /root/open_vswitch.py remove; ip link set {other} down")
    network = facts["host"]["network"]
    assert (network["connection"], network["connection_ends"]) == (sorted(["br7", other]), [])
    assert result["failed"] and playbook.codes(result) == [("connection", IDLE.bdf)]
    assert driver_in_dom0(host, IDLE.bdf) == "e1000e"
    refused = {one["address"]: [why["check"] for why in one["refusals"]] for one in facts["devices"]}
    assert "connection" not in refused[CARD.bdf], "it is not in the switch"


def test_a_real_connection_through_vxlan_is_followed(host: Host) -> None:
    """sshd itself says which connection it is: a network namespace of dom0 is the other end of the tunnel."""
    module_runner.send(host, "/root/tunnel", [])
    setup = f"""
set -e
ip netns add peer
ip link add outer0 type veth peer name outer1 netns peer
ip address add 10.66.0.1/24 dev outer0; ip link set outer0 up
ip -n peer address add 10.66.0.2/24 dev outer1; ip -n peer link set outer1 up
ip link add tun7 type vxlan id 7 remote 10.66.0.2 dstport 4789
ip address add {HERE}/24 dev tun7; ip link set tun7 up
ip -n peer link add tun7 type vxlan id 7 remote 10.66.0.1 dstport 4789
ip -n peer address add {PEER}/24 dev tun7; ip -n peer link set tun7 up
test -e /root/tunnel.key || ssh-keygen -q -t ed25519 -N '' -f /root/tunnel.key
cat /root/tunnel.key.pub >> /root/.ssh/authorized_keys
"""
    way = "ssh -i /root/tunnel.key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    module = "PYTHONPATH=/root/tunnel/lib python3 -m ansible_collections.xen.pci.plugins.modules.assignable_devices"
    arguments = json.dumps(
        {"ANSIBLE_MODULE_ARGS": {**ARGUMENTS, "devices": [topology.MANAGEMENT_NIC], "_ansible_check_mode": True}}
    )
    try:
        host.run(setup)
        said = host.run(
            f"echo '{arguments}' | ip netns exec peer {way} root@{HERE} '{module}'", check=False, timeout=900
        ).stdout
    finally:
        host.run(
            "ip link delete tun7; ip link delete outer0; ip netns delete peer; sed -i '$d' /root/.ssh/authorized_keys"
        )
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    assert result["failed"] and ("connection", topology.MANAGEMENT_NIC) in playbook.codes(result)
    assert "tun7" in result["msg"]
