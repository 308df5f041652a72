# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device that somebody else was given since the host was looked at is neither marked nor reset nor taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.apply.domain_change import Handover
from ansible_collections.xen.pci.plugins.module_utils.apply.handshake import Handshake
from ansible_collections.xen.pci.plugins.module_utils.apply.loop import Clock
from ansible_collections.xen.pci.plugins.module_utils.apply.report import DomainFailed, Recorder
from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.model.store_changes import Write
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import DomainPlan
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B = Sbdf(0, 1, 0, 0), Sbdf(0, 2, 0, 0)
MARKER_A, MARKER_B = "/libxl/pci/0000-01-00-0/domid", "/libxl/pci/0000-02-00-0/domid"


class Store:
    def __init__(self, **nodes: str) -> None:
        self.nodes = nodes

    def transaction(self, body: Callable[[Any], Any]) -> Any:
        return body(self)

    def read_all(self, paths: Sequence[str]) -> list[str | None]:
        return [self.nodes.get(path) for path in paths]

    def apply(self, changes: Iterable[Write]) -> None:
        self.nodes.update({change.path: change.value for change in changes})


def claim(store: Store) -> None:
    access: Any = HostAccess(store, None, None)  # type: ignore[arg-type]
    step = DomainPlan(Domain(1, "g1"), add=(A, B))
    Handshake(access, step, {}, Handover(), Clock(1e9), Recorder())._claim((A, B))


@pytest.mark.parametrize("left", [{}, {MARKER_B: "1"}], ids=["free", "left by a run that was killed"])
def test_devices_that_nobody_has_are_marked(left: dict[str, str]) -> None:
    store = Store(**left)
    claim(store)
    assert store.nodes == {MARKER_A: "1", MARKER_B: "1"}


def test_a_device_of_somebody_else_keeps_its_marker_and_nothing_is_marked() -> None:
    store = Store(**{MARKER_B: "2"})
    with pytest.raises(DomainFailed, match=f"g1: another toolstack gave {B} to domain 2, nothing was changed"):
        claim(store)
    assert store.nodes == {MARKER_B: "2"}
