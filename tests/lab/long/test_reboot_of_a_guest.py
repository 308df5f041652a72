# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's devices over its reboot, its end and its save: with ours as with xl's own.

xl builds a rebooted guest from libxl's stored configuration, so what is not in there does not come back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import playbook
import pytest
from guest_lifecycle import (
    NIC,
    PARTS,
    STORED,
    TWIN,
    by_us,
    by_xl,
    eventually,
    from_inside,
    from_outside,
    listed,
    reboot,
    saved,
    stored,
)
from independent_view import attached_by_xl, drivers, traces_of

from xenlab import Host, topology


@pytest.mark.parametrize("attach", [by_us, by_xl])
@pytest.mark.parametrize("way", [from_outside, from_inside])
def test_devices_come_back_after_a_reboot_whoever_attached_them(
    assignable: Host, attach: Callable[..., None], way: Callable[[Host], None]
) -> None:
    host = assignable
    attach(host, *PARTS)
    assert stored(host) == listed(host) == STORED
    reboot(host, way)
    eventually(lambda: drivers(host.guest("g2")) == ["e1000e", "e1000e"])
    assert attached_by_xl(host, "g2") == {part.bdf for part in PARTS}
    assert stored(host) == listed(host) == STORED
    # The new guest's devices can be changed like any.
    by_us(host, TWIN)
    assert drivers(host.guest("g2")) == ["e1000e"]
    assert stored(host) == listed(host) == STORED[1:]
    by_us(host, TWIN, NIC)
    assert stored(host) == listed(host) == [STORED[1], STORED[0]]


@pytest.mark.parametrize("attach", [by_us, by_xl])
def test_what_we_detached_does_not_come_back(assignable: Host, attach: Callable[..., None]) -> None:
    host = assignable
    attach(host, *PARTS)
    by_us(host, NIC)
    assert stored(host) == listed(host) == STORED[:1]
    reboot(host, from_outside)
    eventually(lambda: drivers(host.guest("g2")) == ["e1000e"])
    assert attached_by_xl(host, "g2") == {NIC.bdf}
    by_us(host)
    assert stored(host) == listed(host) == []
    reboot(host, from_inside)
    assert drivers(host.guest("g2")) == []
    assert attached_by_xl(host, "g2") == set()


def test_an_attach_that_was_taken_back_does_not_come_back(assignable: Host) -> None:
    host = assignable
    by_us(host, NIC)
    host.run(["xl", "pause", "g2"])
    declared = {"g2": {"devices": [TWIN.bdf]}}
    result = playbook.task(host, "xen.pci.domain_devices", {"domains": declared, "timeout": 10})
    host.run(["xl", "unpause", "g2"])
    assert result["failed"] and not result["changed"]
    assert stored(host) == STORED[:1]
    reboot(host, from_outside)
    eventually(lambda: drivers(host.guest("g2")) == ["e1000e"])
    assert attached_by_xl(host, "g2") == {NIC.bdf}


@pytest.mark.parametrize("attach", [by_us, by_xl])
def test_destroy_ends_all_of_it(assignable: Host, attach: Callable[..., None]) -> None:
    host = assignable
    attach(host, *PARTS)
    host.run("xl destroy g2")
    assert traces_of(host, PARTS) == []
    assert set(host.run("xl pci-assignable-list").stdout.split()) == {part.bdf for part in PARTS}
    host.run("xl create -q /etc/xen/g2.cfg")
    assert host.guest("g2").run("lspci", timeout=120).stdout == ""
    assert stored(host) == []


@pytest.mark.parametrize("attach", [by_us, by_xl])
@pytest.mark.parametrize(("kept", "expected"), [(PARTS, STORED), ((), [])])
def test_a_save_takes_along_what_is_attached_at_the_time(
    assignable: Host,
    attach: Callable[..., None],
    kept: Sequence[topology.Device],
    expected: list[dict[str, Any]],
) -> None:
    """Restoring is another matter: Linux 6.1 dies of it as soon as it has ever had a device with an interrupt line."""
    host = assignable
    attach(host, *PARTS)
    if not kept:
        by_us(host)
    assert saved(host) == expected
