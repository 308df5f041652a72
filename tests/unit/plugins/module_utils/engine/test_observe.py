# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a look at a host must not wait for."""

from __future__ import annotations

import threading

import pytest

from ansible_collections.xen.pci.plugins.module_utils.engine import observe
from ansible_collections.xen.pci.plugins.module_utils.model.device_model import DeviceModel
from ansible_collections.xen.pci.plugins.module_utils.model.host import Domain


def test_device_models_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, those that hang would add their times up."""
    meeting = threading.Barrier(3, timeout=5)

    def ask(domid: int, _uuid: str) -> DeviceModel:
        meeting.wait()
        return DeviceModel(free_slots=domid)

    monkeypatch.setattr(observe, "read_device_model", ask)
    guests = [Domain(1, "pv"), *(Domain(domid, "hvm", device_model=DeviceModel()) for domid in (2, 3, 4))]
    seen = observe._with_device_models(guests)
    assert [one.device_model.free_slots if one.device_model else None for one in seen] == [None, 2, 3, 4]
