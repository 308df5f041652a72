# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that hang together go to one owner, or the plan is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain, DomainKind
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import DesiredDomain, make_plan
from ansible_collections.xen.pci.plugins.module_utils.plan.isolation import splits
from ansible_collections.xen.pci.plugins.module_utils.plan.safety import Check
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import DevicePolicy

A, B = (Sbdf.parse(f"0000:0{number}:00.0") for number in (1, 2))
LINE: dict[str, Any] = {"irq": 17, "interrupt_pin": 1}


def device(sbdf: Sbdf, **facts: Any) -> PciDevice:
    facts = {"driver": "pciback", "reset_methods": ("flr",), **facts}
    return PciDevice(sbdf, "8086", "10d3", "", "", "020000", "00", **facts)


def domain(domid: int, name: str, *devices: Sbdf) -> Domain:
    nodes = {"state": "4", "num_devs": str(len(devices))}
    for number, sbdf in enumerate(devices):
        nodes |= {f"dev-{number}": str(sbdf), f"state-{number}": "3"}
    return Domain(
        domid, name, kind=DomainKind.PV, own_connection=PciConnection.from_nodes(domid, nodes, "4") if devices else None
    )


def checks(
    devices: list[PciDevice],
    wanted: dict[str, tuple[Sbdf, ...]],
    *,
    domains: tuple[Domain, ...] = (domain(1, "a"), domain(2, "b")),
    groups: dict[Sbdf, frozenset[Sbdf]] | None = None,
    device_policies: dict[Sbdf, DevicePolicy] | None = None,
) -> list[Check]:
    host = Host({one.sbdf: one for one in devices}, {one.domid: one for one in domains})
    plan = make_plan(host, [DesiredDomain(name, having, exclusive=True) for name, having in wanted.items()])
    assert plan.conflicts == ()
    host = replace(host, groups=groups or {})
    return [one.check for one in splits(host, plan, device_policies or {})]


def test_a_line_is_not_split_between_domains_or_between_a_domain_and_the_host() -> None:
    both = [device(A, **LINE), device(B, **LINE)]
    assert checks(both, {"a": (A,), "b": (B,)}) == [Check.SHARED_INTERRUPT] * 2
    assert checks(both, {"a": (A, B)}) == []
    assert checks([both[0], device(B, driver="e1000e", **LINE)], {"a": (A,)}) == [Check.SHARED_INTERRUPT]


def test_a_partner_in_quarantine_is_no_other_owner() -> None:
    assert checks([device(A, **LINE), device(B, **LINE)], {"a": (A,)}) == []


def test_a_partner_of_a_domain_outside_the_plan_counts_and_one_that_is_released_does_not() -> None:
    both, domains = [device(A, **LINE), device(B, **LINE)], (domain(1, "a"), domain(2, "b", B))
    assert checks(both, {"a": (A,)}, domains=domains) == [Check.SHARED_INTERRUPT]
    assert checks(both, {"a": (A,), "b": ()}, domains=domains) == []


def test_what_a_domain_has_already_is_not_questioned() -> None:
    both = [device(A, **LINE), device(B, driver="e1000e", **LINE)]
    assert checks(both, {"a": (A,)}, domains=(domain(1, "a", A),)) == []


def test_groups_are_not_split() -> None:
    groups = {A: frozenset({A, B})}
    assert checks([device(A), device(B)], {"a": (A,), "b": (B,)}, groups=groups) == [Check.GROUP]
    assert checks([device(A), device(B)], {"a": (A, B)}, groups=groups) == []


def test_a_reason_overrules() -> None:
    both = [device(A, **LINE), device(B, driver="e1000e", **LINE)]
    assert checks(both, {"a": (A,)}, device_policies={A: DevicePolicy("nic", {"shared-interrupt": "unused"})}) == []


def test_permissive_from_before_is_not_passed_on() -> None:
    assert checks([device(A, permissive=True)], {"a": (A,)}) == [Check.PERMISSIVE]
    assert (
        checks(
            [device(A, permissive=True)], {"a": (A,)}, device_policies={A: DevicePolicy("gpu", permissive="firmware")}
        )
        == []
    )
    assert (
        checks(
            [device(A, permissive=True)], {"a": (A,)}, device_policies={A: DevicePolicy("gpu", {"permissive": "no"})}
        )
        != []
    )
