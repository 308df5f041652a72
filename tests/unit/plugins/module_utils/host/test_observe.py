# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a look at a host must not wait for."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host import observe
from ansible_collections.xen.pci.plugins.module_utils.model.device_model import DeviceModel
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain, DomainKind


class Versions:
    """As much of a store as tells that domain 5 has the device model that does not speak QMP."""

    def read_all(self, paths: Sequence[str]) -> list[str]:
        return ["qemu_xen_traditional" if path.startswith("/libxl/5/") else "qemu_xen" for path in paths]


def test_device_models_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, those that hang would add their times up."""
    meeting = threading.Barrier(3, timeout=60)

    def ask(domid: int, _uuid: str) -> DeviceModel:
        meeting.wait()
        return DeviceModel(free_slots=domid)

    monkeypatch.setattr(observe, "read_device_model", ask)
    guests = [
        Domain(1, "pv", kind=DomainKind.PV),
        *(Domain(domid, "hvm", kind=DomainKind.HVM) for domid in (2, 3, 4, 5)),
    ]
    seen = observe._with_device_models(Versions(), guests)  # type: ignore[arg-type]
    assert [one.device_model.free_slots if one.device_model else None for one in seen] == [None, 2, 3, 4, None]
