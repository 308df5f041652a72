# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readiness: each thing that speaks against a domain, alone; its verdict and the lines that change it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device_model import DeviceModel
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain, DomainKind
from ansible_collections.xen.pci.plugins.module_utils.model.stored_config import Creation
from ansible_collections.xen.pci.plugins.module_utils.plan.readiness import (
    Ready,
    Reason,
    only_at_creation,
    readiness,
    reasons_against,
)

CREATED = Creation(passthrough="enabled", e820_host=True, memory=160, maximum=160)
NODES = {"state": "4", "num_devs": "1", "dev-0": "0000:03:00.0", "state-0": "3", "vdev-0": "0000:00:00.00"}
CONNECTED = PciConnection.from_nodes(1, NODES, "4")
UNANSWERED = PciConnection.from_nodes(1, {**NODES, "state": "3"}, "1")
GOOD = Domain(1, "web", kind=DomainKind.PV, own_connection=CONNECTED, creation=CREATED, uses_iommu=True)


def test_a_guest_that_has_shown_all_it_needs_is_ready() -> None:
    assert reasons_against(GOOD) == []
    assert readiness([]) is Ready.YES


ASKED_NOTHING = replace(CREATED, passthrough="default")


@pytest.mark.parametrize(
    ("domain", "verdict", "fact", "lines"),
    [
        (replace(GOOD, uses_iommu=False), Ready.NO, "IOMMU", ['passthrough="enabled"']),
        (
            replace(GOOD, uses_iommu=None, own_connection=None, creation=replace(CREATED, passthrough="disabled")),
            Ready.NO,
            "IOMMU",
            ['passthrough="enabled"'],
        ),
        (
            replace(GOOD, uses_iommu=None, own_connection=None, creation=ASKED_NOTHING),
            Ready.UNKNOWN,
            "IOMMU",
            ['passthrough="enabled"'],
        ),
        (replace(GOOD, creation=ASKED_NOTHING), Ready.YES, "IOMMU", ['passthrough="enabled"']),
        (replace(GOOD, creation=replace(CREATED, e820_host=False)), Ready.UNKNOWN, "memory map", ["e820_host=1"]),
        (replace(GOOD, own_connection=UNANSWERED), Ready.UNKNOWN, "xen-pcifront", []),
        (replace(GOOD, own_connection=None), Ready.UNKNOWN, "xen-pcifront", []),
        (replace(GOOD, kind=DomainKind.PVH), Ready.NO, "PVH", ['type="pv"']),
        (
            replace(GOOD, kind=DomainKind.HVM),
            Ready.NO,
            "device model",
            ['device_model_version="qemu-xen"'],
        ),
        (replace(GOOD, kind=DomainKind.UNKNOWN), Ready.NO, "libxl", []),
        (replace(GOOD, serves=3), Ready.NO, "domain 3", []),
        (
            replace(GOOD, kind=DomainKind.HVM, device_model=DeviceModel(None, problem="web's QEMU is deaf")),
            Ready.UNKNOWN,
            "web's QEMU is deaf",
            [],
        ),
    ],
)
def test_each_obstacle_has_its_verdict_and_its_lines(
    domain: Domain, verdict: Ready, fact: str, lines: list[str]
) -> None:
    reasons = reasons_against(domain)
    assert readiness(reasons) is verdict
    [found] = [one for one in reasons if fact in one.text]
    assert found.verdict is verdict
    assert list(found.lines) == lines
    assert "web" in found.text
    assert all(line in found.advice for line in lines) and bool(found.advice) is bool(lines)
    assert found.remedy.startswith(found.text) and found.remedy.endswith(found.advice)


def test_an_hvm_guest_needs_neither_a_memory_map_nor_pcifront() -> None:
    creation = replace(CREATED, e820_host=False)
    domain = replace(GOOD, kind=DomainKind.HVM, own_connection=None, creation=creation, device_model=DeviceModel())
    assert reasons_against(domain) == []


def test_an_hvm_guest_that_populates_on_demand_has_its_memory_in_the_advice() -> None:
    creation = Creation(passthrough="default", memory=512, maximum=1024)
    domain = replace(
        GOOD, kind=DomainKind.HVM, own_connection=None, creation=creation, uses_iommu=False, device_model=DeviceModel()
    )
    assert [line for one in reasons_against(domain) for line in one.lines] == ['passthrough="enabled"', "maxmem=512"]
    assert not [one for one in reasons_against(replace(domain, kind=DomainKind.PV)) if "demand" in one.text]


def test_the_worst_reason_decides() -> None:
    reasons = reasons_against(replace(GOOD, own_connection=None, uses_iommu=False, creation=ASKED_NOTHING))
    assert [one.verdict for one in reasons] == [Ready.NO, Ready.UNKNOWN]
    assert readiness(reasons) is Ready.NO
    assert readiness(reasons[1:]) is Ready.UNKNOWN


def test_of_a_domain_without_records_only_the_iommu_and_the_frontend_are_unknown() -> None:
    reasons = reasons_against(Domain(1, "web", kind=DomainKind.PV))
    assert [one.verdict for one in reasons] == [Ready.UNKNOWN, Ready.UNKNOWN]


@pytest.mark.parametrize(
    ("found", "decided"),
    [
        ([], False),
        ([Reason("no memory map", Ready.UNKNOWN, ("e820_host=1",))], False),
        ([Reason("no IOMMU use", Ready.NO, ('passthrough="enabled"',))], True),
        ([Reason("no IOMMU use", Ready.NO, ('passthrough="enabled"',)), Reason("unknown", Ready.UNKNOWN)], True),
        ([Reason("PVH", Ready.NO, ('type="pv"',))], False),
        ([Reason("memory", Ready.NO, ("maxmem=1024",)), Reason("", Ready.NO, ('passthrough="enabled"',))], False),
        ([Reason("no IOMMU", Ready.NO, of_host="switch it on")], False),
    ],
)
def test_a_file_ends_only_what_we_write_into_it(found: list[Reason], decided: bool) -> None:
    assert only_at_creation(found) is decided
