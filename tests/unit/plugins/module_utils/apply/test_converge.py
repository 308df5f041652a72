# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at when all has been done: devices, evidence, and the ends of the connection."""

from __future__ import annotations

import pytest

from ansible_collections.xen.pci.plugins.module_utils.apply.converge import ConvergeLevel, _shortfall
from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.model.evidence import Evidence
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import DomainPlan
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A = Sbdf(0, 1, 0, 0)
NODES = {"num_devs": "1", "dev-0": str(A), "state-0": "3", "vdev-0": "0000:00:00.00"}


def seen(back: str, front: str, domain_exists: bool = True) -> str:
    backend = PciConnection.from_nodes(1, {**NODES, "state": back}, front)
    (entry,) = backend.entries
    evidence = Evidence(A, entry.guest_address, entry.state, owned_by_guest=True, active=True)
    return _shortfall(DomainPlan(Domain(1, "g1"), add=(A,)), domain_exists, backend, [evidence], ConvergeLevel.ACTIVE)


def test_a_device_that_all_agree_on_is_there() -> None:
    assert seen("4", "4") == ""


def test_a_guest_that_is_gone_has_nothing_whatever_its_connection_says() -> None:
    assert "the guest is gone" in seen("4", "4", domain_exists=False)


@pytest.mark.parametrize(("back", "front"), [("6", "6"), ("4", "5"), ("7", "4"), ("4", "nonsense")])
def test_a_device_in_a_connection_that_is_not_at_rest_is_not(back: str, front: str) -> None:
    """A guest that shuts down closes it, while all entries still look as if it had the devices."""
    assert f"(backend {back}" in seen(back, front)
