# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What we attach comes back after a guest's reboot, what we detach does not, and a save has what is attached.

And the guest beside it works on with its own device. One story, for its time's sake; tests/lab/long has more ways
through it, and xl's own beside ours.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from guest_lifecycle import (
    NIC,
    PARTS,
    STORED,
    by_us,
    eventually,
    from_inside,
    from_outside,
    listed,
    reboot,
    saved,
    store,
    stored,
)
from independent_view import attached_by_xl, drivers, nic_works

from xenlab import Guest, Host, topology

NEIGHBOURS = topology.NICS[1]


@pytest.fixture
def neighbour(host: Host) -> Iterator[Guest]:
    """Guest g1 while it has a NIC of its own."""
    host.run(["xl", "pci-assignable-add", NEIGHBOURS.bdf])
    try:
        by_us(host, NEIGHBOURS, guest="g1")
        yield host.guest("g1")
    finally:
        by_us(host, guest="g1")
        host.run(["xl", "pci-assignable-remove", "-r", NEIGHBOURS.bdf])


def test_two_reboots_and_a_save(assignable: Host, neighbour: Guest) -> None:
    host = assignable
    assert nic_works(neighbour, NEIGHBOURS)
    by_us(host, *PARTS)
    assert stored(host) == listed(host) == STORED
    reboot(host, from_inside)
    eventually(lambda: drivers(host.guest("g2")) == ["e1000e", "e1000e"])
    assert attached_by_xl(host, "g2") == {part.bdf for part in PARTS}
    by_us(host, NIC)
    assert stored(host) == listed(host) == STORED[:1]
    store(host, STORED)
    assert listed(host) == STORED[:1], "libxl believes the connection where its own file says more"
    reboot(host, from_outside)
    eventually(lambda: drivers(host.guest("g2")) == ["e1000e"])
    assert attached_by_xl(host, "g2") == {NIC.bdf}
    assert saved(host) == STORED[:1]
    assert nic_works(neighbour, NEIGHBOURS), "what happens to one guest's devices is nothing to another's"
