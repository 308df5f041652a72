# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be done, on real Xen: refused before anything is touched, or taken back without a trace."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import playbook
import pytest
from independent_view import attached_by_xl, driver_in_dom0, drivers, traces_of

from xenlab import Host, topology

HELD = (topology.NICS[0], topology.NICS[1])
NOT_HELD = topology.NICS[2]
BEHIND = topology.RootPort(1)
TIMEOUT = 15


def declare(host: Host, guest: str, *parts: topology.Device, **more: Any) -> Mapping[str, Any]:
    arguments = {"domains": {guest: {"devices": [part.bdf for part in parts], "exclusive": True}}, **more}
    return playbook.task(host, "xen.pci.domain_devices", arguments)


@pytest.fixture
def assignable(host: Host) -> Iterator[Host]:
    for part in HELD:
        host.run(["xl", "pci-assignable-add", part.bdf])
    yield host
    for part in HELD:
        host.run(["xl", "pci-assignable-remove", "-r", part.bdf])


def test_a_guest_without_pcifront_is_named_within_its_time_and_nothing_stays(assignable: Host) -> None:
    host = assignable
    began = time.monotonic()
    result = declare(host, "g3", *HELD, timeout=TIMEOUT)
    taken = time.monotonic() - began
    assert result["failed"]
    assert not result["changed"]
    assert "g3" in result["msg"] and "xen-pcifront" in result["msg"]
    assert TIMEOUT <= result["seconds"] <= TIMEOUT + 10 < taken + 10  # the grace for taking back is 10 s
    assert traces_of(host, HELD) == []
    assert host.run(f"ls -d /sys/bus/xen-backend/devices/pci-{host.guest('g3').domid}-0", check=False).status != 0
    # Xen lets another guest have them at once.
    assert not declare(host, "g2", *HELD, converge="active")["failed"]
    assert drivers(host.guest("g2")) == ["e1000e", "e1000e"]
    assert not declare(host, "g2")["failed"]


def test_a_paused_guest_keeps_what_it_had_and_finishes_nothing_later(assignable: Host) -> None:
    host = assignable
    assert not declare(host, "g2", HELD[0], converge="active")["failed"]
    mark = host.guest("g2").kernel_log().mark
    host.run(["xl", "pause", "g2"])
    try:
        add = declare(host, "g2", *HELD, timeout=TIMEOUT)
        remove = declare(host, "g2", timeout=TIMEOUT)
    finally:
        host.run(["xl", "unpause", "g2"])
    for result in (add, remove):
        assert result["failed"] and not result["changed"]
        assert "g2" in result["msg"]
    assert attached_by_xl(host, "g2") == {HELD[0].bdf}
    assert drivers(host.guest("g2")) == ["e1000e"]
    assert host.guest("g2").kernel_log().since(mark).matching("Oops|BUG|WARNING") == []
    assert not declare(host, "g2", HELD[0])["changed"]
    assert declare(host, "g2")["changed"]
    assert drivers(host.guest("g2")) == []
    assert traces_of(host, HELD) == []


def test_a_device_not_held_by_pciback_in_a_batch_is_refused_and_nothing_is_touched(assignable: Host) -> None:
    host = assignable
    assert not declare(host, "g2", HELD[0])["failed"]
    nodes = host.run("xenstore-ls -f /local/domain/0/backend/pci; xenstore-ls -f /libxl").stdout
    result = declare(host, "g2", HELD[0], NOT_HELD, HELD[1])
    assert result["failed"] and not result["changed"]
    assert playbook.codes(result) == [("not-assignable", NOT_HELD.bdf)]
    assert host.run("xenstore-ls -f /local/domain/0/backend/pci; xenstore-ls -f /libxl").stdout == nodes
    assert drivers(host.guest("g2")) == ["e1000e"]
    assert driver_in_dom0(host, NOT_HELD.bdf) == "e1000e"
    declare(host, "g2")


@pytest.mark.parametrize(
    ("domains", "reasons"),
    [
        (
            {
                "g1": {"devices": ["0000:77:00.0", "01:00:0"]},
                "g2": {"device": [HELD[0].bdf]},
            },
            [("absent", "0000:77:00.0"), ("unknown-device", "01:00:0"), ("domain-options", "g2")],
        ),
        (
            {
                "nobody": {"devices": [HELD[1].bdf], "when_halted": "fail"},
                "g1": {"devices": [HELD[0].bdf, BEHIND.bdf]},
                "g2": {"devices": [HELD[0].bdf]},
                "g3": {"devices": []},
            },
            [
                ("unknown-domain", "nobody"),
                ("declared-twice", HELD[0].bdf),
                ("bridge", BEHIND.bdf),
                ("empty-devices", "g3"),
            ],
        ),
    ],
    ids=["unreadable", "impossible"],
)
def test_wrong_input_gets_a_refusal_for_each_mistake(
    assignable: Host, domains: Mapping[str, Any], reasons: list[tuple[str, str]]
) -> None:
    result = playbook.task(assignable, "xen.pci.domain_devices", {"domains": domains})
    assert result["failed"] and not result["changed"]
    assert [reason for reason in reasons if reason not in playbook.codes(result)] == []
    assert traces_of(assignable, HELD) == []


def test_a_device_of_another_guest_is_not_taken_away(assignable: Host) -> None:
    host = assignable
    assert not declare(host, "g2", HELD[0])["failed"]
    arguments = {"domains": {"g1": {"devices": [HELD[0].bdf]}}}
    result = playbook.task(host, "xen.pci.domain_devices", arguments)
    assert result["failed"] and playbook.codes(result) == [("held", HELD[0].bdf)]
    assert attached_by_xl(host, "g2") == {HELD[0].bdf}
    declare(host, "g2")


def test_what_the_host_needs_is_not_given_away(host: Host) -> None:
    needed = {topology.ROOT_DISK: "disk", topology.MANAGEMENT_NIC: "connection", BEHIND.bdf: "bridge"}
    before = {bdf: driver_in_dom0(host, bdf) for bdf in needed}
    result = playbook.task(host, "xen.pci.assignable_devices", {"devices": list(needed)})
    assert result["failed"]
    found = playbook.codes(result)
    assert [bdf for bdf, check in needed.items() if (check, bdf) not in found] == [], found
    assert {bdf: driver_in_dom0(host, bdf) for bdf in needed} == before
