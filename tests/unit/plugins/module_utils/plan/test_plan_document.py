# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan's fingerprint changes with what the plan depends on, and with nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from builders import assignable, connection, device, domain, function, host

from ansible_collections.xen.pci.plugins.module_utils.model.boot_facts import BootFacts, PcibackKind
from ansible_collections.xen.pci.plugins.module_utils.model.device import BlockUse, ConfigFlags, NetInterface, XenOwner
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.notes import Note
from ansible_collections.xen.pci.plugins.module_utils.model.physical_function import PhysicalFunction, VfSettings
from ansible_collections.xen.pci.plugins.module_utils.plan.assignment import read_wanted
from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import checked_catalog
from ansible_collections.xen.pci.plugins.module_utils.plan.declaration import Declaration
from ansible_collections.xen.pci.plugins.module_utils.plan.functions import WantedFunction, WantedFunctions
from ansible_collections.xen.pci.plugins.module_utils.plan.offline import (
    plan_assignable,
    plan_domains,
    plan_virtual_functions,
)
from ansible_collections.xen.pci.plugins.module_utils.plan.plan_document import Document, against_fingerprint
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.declared_domain import read_domain
from ansible_collections.xen.pci.plugins.module_utils.values.identity import Remembered

A, B, C, PF = Sbdf(0, 3, 0, 0), Sbdf(0, 4, 0, 0), Sbdf(0, 5, 0, 0), Sbdf(0, 6, 0, 0)
SERIAL = "52-54-00-ff-ff-00-01-01"
VFS = tuple(Sbdf(0, 6, 0x10, number) for number in range(4))
PHYSICAL = device(
    PF, "i40e", sriov_totalvfs=8, virtfns=VFS, net=(NetInterface("up0", "02:00:00:00:00:02", is_up=True),)
)
CONFIG = 'name = "web01"\ntype = "pv"\n'
HOST = host(
    [
        assignable(A, serial=SERIAL),
        assignable(B),
        device(C, "e1000e", net=(NetInterface("eth0", "02:00:00:00:00:01", is_up=False),)),
        PHYSICAL,
        *(function(sbdf, PF, number) for number, sbdf in enumerate(VFS)),
    ],
    [domain(1, "web01", B, uuid="u-1", configured=(B,)), domain(2, "web02", uuid="u-2")],
    drivers=frozenset({"pciback", "e1000e"}),
    markers={B: 1},
    xen_owners={A: XenOwner.HOST, B: XenOwner.GUEST},
    quarantined=frozenset({A}),
    kernel_connections=frozenset({1}),
    functions={PF: PhysicalFunction(PHYSICAL, True, {0: VfSettings(vlan=0)})},
    boot=BootFacts(PcibackKind.MODULE),
    config_files={"/etc/xen/web01.cfg": CONFIG},
)
CATALOG: dict[str, Any] = {"card": {"serial": SERIAL}, "nic": "0000:05:00.0"}


def of_domains(observed: Host, **changed: Any) -> Document:
    web01 = {"devices": ["0000:03:00.0"], "config": "/etc/xen/web01.cfg", **changed}
    return plan_domains(observed, Declaration((read_domain("web01", web01),), checked_catalog(CATALOG)))


def of_assignable(observed: Host, catalog: Any = None, **changed: Any) -> Document:
    known = checked_catalog(CATALOG if catalog is None else catalog)
    return plan_assignable(observed, read_wanted(["nic"], known, **{"persistent": True, **changed}))


def of_functions(observed: Host, count: int = 4, vlan: int = 7) -> Document:
    wanted = WantedFunction(str(PF), count, settings=((0, VfSettings(vlan=vlan)),))
    return plan_virtual_functions(observed, WantedFunctions((wanted,)))


def shown(value: object) -> str:
    return getattr(value, "__name__", str(value))


def with_device(sbdf: Sbdf, **changed: Any) -> Callable[[Host], Host]:
    return lambda one: replace(one, devices={**one.devices, sbdf: replace(one.devices[sbdf], **changed)})


def with_domain(number: int, /, **changed: Any) -> Callable[[Host], Host]:
    def change(one: Host) -> Host:
        now = replace(one.domains[number], **changed)
        others = {domid: known for domid, known in one.domains.items() if domid != number}
        return replace(one, domains={**others, now.domid: now})

    return change


def with_host(**changed: Any) -> Callable[[Host], Host]:
    return lambda one: replace(one, **changed)


#: What changes on a busy host, or is read otherwise by another look.
ELSEWHERE = [
    with_domain(2, uuid="u-9", domid=9),
    with_host(kernel_errors={1: "22 Error reading number of devices"}),
    with_host(network=replace(HOST.network, connection=frozenset({"wlan0"}))),
    with_host(drivers=HOST.drivers | {"nvme"}),
    with_host(orphaned_connections={77: connection(77)}),
    with_host(groups={one: frozenset({one}) for one in HOST.devices}),
    with_host(config_files={**HOST.config_files, "/etc/xen/other.cfg": ""}),
    with_device(VFS[3], driver=None, config=ConfigFlags(memory=True)),
]
IDENTITY = [
    {"serial": "52-54-00-ff-ff-00-01-02"},
    {"vendor": "15b3"},
    {"device": "10d4"},
    {"subsystem_device": "0001"},
    {"class_code": "020001"},
    {"path": "0000:00/1c.3/00.0"},
    {"nvme_serial": "NV1"},
]


def test_all_these_plans_can_be_carried_out() -> None:
    assert of_domains(HOST)["steps"]["domains"][0]["add"] == [str(A)]
    assert of_domains(HOST)["steps"]["files"][0]["before"] == CONFIG
    assert [one["action"] for one in of_assignable(HOST)["steps"]["devices"]] == ["take"]
    assert [one["action"] for one in of_functions(HOST, count=4)["steps"]] == ["configure"]
    for document in (of_domains(HOST), of_assignable(HOST), of_functions(HOST)):
        assert document["refusals"] == []
        assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize("plan", [of_domains, of_assignable, of_functions])
@pytest.mark.parametrize("change", ELSEWHERE)
def test_what_the_plan_does_not_depend_on_changes_no_fingerprint(
    plan: Callable[[Host], Document], change: Callable[[Host], Host]
) -> None:
    assert plan(change(HOST))["fingerprint"] == plan(HOST)["fingerprint"]


@pytest.mark.parametrize(
    ("plan", "sbdf"), [(of_domains, A), (of_domains, B), (of_assignable, C), (of_functions, PF)], ids=shown
)
@pytest.mark.parametrize("changed", IDENTITY, ids=lambda changed: next(iter(changed)))
def test_another_device_at_the_address_is_another_plan(
    plan: Callable[[Host], Document], sbdf: Sbdf, changed: dict[str, Any]
) -> None:
    assert plan(with_device(sbdf, **changed)(HOST))["fingerprint"] != plan(HOST)["fingerprint"]


@pytest.mark.parametrize(
    ("plan", "change"),
    [
        (of_domains, with_domain(1, uuid="u-9")),
        (of_domains, with_domain(1, domid=5, own_connection=connection(5, B))),
        (of_domains, with_domain(1, own_connection=connection(1, B, A))),
        (of_domains, with_domain(1, own_connection=None)),
        (of_domains, with_host(config_files={"/etc/xen/web01.cfg": f"{CONFIG}memory = 64\n"})),
        (of_assignable, with_device(C, driver=None)),
        (of_assignable, with_device(C, net=(NetInterface("eth0", "02:00:00:00:00:09", is_up=False),))),
        (of_assignable, with_device(C, block=(BlockUse("sda", ("sda1 is mounted on /",)),))),
        (of_assignable, with_host(boot=replace(HOST.boot_facts, pciback=PcibackKind.BUILT_IN, has_grub=True))),
        (of_functions, with_host(functions={PF: replace(HOST.functions[PF], settings={0: VfSettings(vlan=7)})})),
    ],
)
def test_what_the_plan_depends_on_changes_its_fingerprint(
    plan: Callable[[Host], Document], change: Callable[[Host], Host]
) -> None:
    assert plan(change(HOST))["fingerprint"] != plan(HOST)["fingerprint"]


def test_another_declaration_is_another_plan() -> None:
    waived = {**CATALOG, "nic": {"address": "0000:05:00.0", "waive": {"disk": "it is not in use"}}}
    documents = [
        of_domains(HOST),
        of_domains(HOST, devices=["0000:03:00.0", "0000:04:00.0"]),
        of_domains(HOST, devices=["card"]),
        of_domains(HOST, exclusive=True),
        of_domains(HOST, config=None),
        of_domains(HOST, devices=["0000:04:00.0"], state="absent"),
        of_assignable(HOST),
        of_assignable(HOST, persistent=None),
        of_assignable(HOST, require_reset=True),
        of_assignable(HOST, waived),
        of_functions(HOST),
        of_functions(HOST, vlan=8),
        of_functions(HOST, count=5),
    ]
    assert len({document["fingerprint"] for document in documents}) == len(documents)


def test_a_device_that_pciback_has_by_now_is_the_same() -> None:
    """Its driver told MAC address and serial number before, and what was noted tells them since."""
    sight = device(C, "nvme", nvme_serial="NV1", net=(NetInterface("eth0", "02:00:00:00:00:01", is_up=False),))
    before = replace(HOST, devices={**HOST.devices, C: sight})
    note = Note(identity=Remembered("NV1", ("02:00:00:00:00:01",)))
    after = replace(HOST, devices={**HOST.devices, C: assignable(C)}, notes={C: note}, quarantined=frozenset({A, C}))
    assert of_assignable(before)["basis"] == of_assignable(after)["basis"]
    assert of_assignable(before)["fingerprint"] != of_assignable(after)["fingerprint"], "there is nothing left to do"


def test_only_the_approved_plan_goes_on() -> None:
    document = of_domains(HOST)
    assert against_fingerprint(document, None) == against_fingerprint(document, document["fingerprint"]) == ()
    (refusal,) = against_fingerprint(document, "0" * 32)
    assert (refusal.code, refusal.waivable) == ("fingerprint", False)
    assert document["fingerprint"] in refusal.reason


def test_a_host_on_which_nothing_is_left_to_do_is_as_approved() -> None:
    document = of_domains(HOST, devices=["0000:04:00.0"], config=None)
    assert document["changes"] is False
    assert against_fingerprint(document, "0" * 32) == ()
    for changing in (of_domains(HOST), of_assignable(HOST), of_functions(HOST), of_domains(HOST, devices=[str(B)])):
        assert changing["changes"] is True
