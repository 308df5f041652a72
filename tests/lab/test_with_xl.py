# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xl and we on one host: each undoes what the other did, and both lists stay right."""

from __future__ import annotations

import time
from collections.abc import Iterator

import playbook
import pytest
from independent_view import attached_by_xl, drivers, traces_of

from xenlab import Host, topology

FIRST, SECOND = topology.NICS[0], topology.NICS[1]
PARTS = (FIRST, SECOND)


def attach_by_xl(host: Host, *parts: topology.Device) -> None:
    """One by one, each until the guest has it: xl does not wait, and its next command may come too early."""
    for part in parts:
        count = len(drivers(host.guest("g2")))
        host.run(["xl", "pci-attach", "g2", part.bdf])
        deadline = time.monotonic() + 120
        while len(drivers(host.guest("g2"))) == count and time.monotonic() < deadline:
            time.sleep(0.5)


def have(host: Host, *parts: topology.Device) -> None:
    """Declare exactly these devices for g2, and see it hold."""
    declared = {"g2": {"devices": [part.bdf for part in parts], "exclusive": True}}
    result = playbook.task(host, "xen.pci.domain_devices", {"domains": declared, "converge": "active", "timeout": 300})
    assert not result["failed"], result["msg"]


@pytest.fixture
def assignable(host: Host) -> Iterator[Host]:
    """Two NICs with pciback; afterwards they are with dom0 again, whoever had them."""
    for part in PARTS:
        host.run(["xl", "pci-assignable-add", part.bdf])
    yield host
    for bdf in attached_by_xl(host, "g2"):
        host.run(["xl", "pci-detach", "g2", bdf])
    for part in PARTS:
        host.run(["xl", "pci-assignable-remove", "-r", part.bdf])


def test_xl_detaches_what_we_attached(assignable: Host) -> None:
    host = assignable
    have(host, FIRST, SECOND)
    assert attached_by_xl(host, "g2") == {FIRST.bdf, SECOND.bdf}
    assert host.run("xl pci-assignable-list").stdout.strip() == ""
    host.run(["xl", "pci-detach", "g2", FIRST.bdf])
    assert attached_by_xl(host, "g2") == {SECOND.bdf}
    assert FIRST.bdf in host.run("xl pci-assignable-list").stdout
    have(host, SECOND)  # we see it too: nothing to change
    host.run(["xl", "pci-detach", "g2", SECOND.bdf])
    assert drivers(host.guest("g2")) == []
    assert traces_of(host, PARTS) == []


def test_we_detach_what_xl_attached(assignable: Host) -> None:
    host = assignable
    attach_by_xl(host, *PARTS)
    have(host, SECOND)
    assert attached_by_xl(host, "g2") == {SECOND.bdf}
    assert drivers(host.guest("g2")) == ["e1000e"]
    have(host)
    assert attached_by_xl(host, "g2") == set()
    assert drivers(host.guest("g2")) == []
    assert traces_of(host, PARTS) == []


def test_both_add_to_what_the_other_began(assignable: Host) -> None:
    host = assignable
    have(host, FIRST)
    attach_by_xl(host, SECOND)
    assert attached_by_xl(host, "g2") == {FIRST.bdf, SECOND.bdf}
    have(host, FIRST, SECOND)
    assert drivers(host.guest("g2")) == ["e1000e", "e1000e"]
    have(host)


def test_xl_destroys_a_guest_that_has_our_devices(assignable: Host) -> None:
    host = assignable
    have(host, FIRST, SECOND)
    host.run(["xl", "destroy", "g2"])
    host.run(["xl", "create", "/etc/xen/g2.cfg"])
    host.guest("g2").run("true", timeout=120)
    assert traces_of(host, PARTS) == []
    have(host, FIRST)
    have(host)
