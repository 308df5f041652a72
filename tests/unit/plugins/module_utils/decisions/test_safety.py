# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host refuses to lose, with the evidence."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.decisions.safety import refusals
from ansible_collections.xen.pci.plugins.module_utils.model.host import BlockUse, NetInterface, PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.usage import NetworkUse
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

ROUTED = NetworkUse(default_route=frozenset({"xenbr0"}), connection=frozenset({"eth1"}))


def device(**facts: Any) -> PciDevice:
    ids = {"vendor": "8086", "device": "10d3", "subsystem_vendor": "", "subsystem_device": "", "revision": "00"}
    return PciDevice(Sbdf.parse("0000:03:00.0"), **{**ids, "class_code": "020000", **facts})


def test_an_idle_device_may_go() -> None:
    idle = device(block=(BlockUse("nvme0n1"),), net=(NetInterface("eth9", "", is_up=True, upper=("br9",)),))
    assert refusals(idle, ROUTED) == []


def test_bridges_stay_by_class_by_header_and_by_what_is_behind_them() -> None:
    assert "is a bridge" in refusals(device(class_code="060400"), NetworkUse())[0]
    assert "is a bridge" in refusals(device(header_type=1), NetworkUse())[0]
    assert "1 device behind it" in refusals(device(children=(Sbdf.parse("0000:04:00.0"),)), NetworkUse())[0]


def test_every_use_of_a_disk_is_told() -> None:
    disk = BlockUse("nvme0n1", ("nvme0n1p1 is mounted on /data", "nvme0n1p2 is in use as swap"))
    reasons = refusals(device(class_code="010802", block=(disk,)), NetworkUse())
    assert [use in reason for use, reason in zip(disk.used_by, reasons, strict=True)] == [True, True]


def test_a_physical_function_with_virtual_functions_stays() -> None:
    assert "1 virtual function" in refusals(device(virtfns=(Sbdf.parse("0000:03:10.0"),)), NetworkUse())[0]


def test_the_connection_of_ansible_and_the_default_route_stay() -> None:
    (direct,) = refusals(device(net=(NetInterface("eth1", "", is_up=True),)), ROUTED)
    assert "eth1, which carries the connection that Ansible uses;" in direct
    (through,) = refusals(device(net=(NetInterface("eth0", "", is_up=True, upper=("bond0", "xenbr0")),)), ROUTED)
    assert "the host's default route through xenbr0" in through


def test_an_interface_that_is_down_carries_nothing() -> None:
    assert refusals(device(net=(NetInterface("eth1", "", is_up=False, upper=("xenbr0",)),)), ROUTED) == []


names = st.sampled_from(["eth0", "bond0", "xenbr0", "eth1", "eth9"])


@given(names, st.lists(names).map(tuple), st.booleans(), st.frozensets(names), st.frozensets(names))
def test_an_interface_is_refused_exactly_if_it_or_what_is_above_it_is_needed(
    name: str, upper: tuple[str, ...], up: bool, default: frozenset[str], connection: frozenset[str]
) -> None:
    reasons = refusals(device(net=(NetInterface(name, "", up, upper),)), NetworkUse(default, connection))
    stack = {name, *upper}
    assert len(reasons) == (bool(stack & default) + bool(stack & connection) if up else 0)
