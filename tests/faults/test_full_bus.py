# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device that pciback took for a full virtual bus and keeps for nobody: known until dom0 restarts, and left alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from refusal_codes import codes_in
from simulated import A, B, Host

MORE = tuple(f"0000:{bus:02x}:00.0" for bus in range(0x10, 0x2F))
FULL = (A, *MORE)


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Guest g1 has 32 devices, and xl has attached one more, for which pciback had no slot."""
    running = Host(tmp_path_factory.mktemp("full") / "host", MORE)
    try:
        running.start()
        assert not running.devices(g1=FULL, timeout=60).get("failed")
        running.xl("pci-attach", "g1", B)
        running.rest()
        yield running
    finally:
        running.close()


def faults(findings: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {one["fault"]: one["devices"] for one in findings}


def test_it_is_known_and_left_alone_until_dom0_restarts(host: Host) -> None:
    assert [*faults(host.repair(check=True)["findings"])] == ["refused_cycle"]
    repaired = host.repair()
    assert not repaired.get("failed"), repaired["msg"]
    assert faults(repaired["left"]) == {"leaked_hold": [B]}
    assert host.settled({"g1": FULL}) == []

    assert codes_in(host.devices(g2=[B])) == [("lost-hold", B)]
    released = host.run("assignable_devices", {"devices": [B], "state": "absent"})
    assert codes_in(released) == [("lost-hold", B)]
    assert host.settled({"g1": FULL}) == []
    host.xl("pci-attach", "g2", B)
    host.rest()
    assert "closed_connection" in faults(host.repair(check=True)["findings"])
    assert not host.repair().get("failed"), "nobody tries to give it again"
    assert host.settled({"g1": FULL}) == []
    moved = host.devices(g1=FULL[1:], g2=[A])
    assert not moved.get("failed"), "the others are as before"

    host.restart()
    assert host.repair(check=True)["findings"] == []
    assert not host.devices(g2=[B]).get("failed")


def test_a_run_that_repairs_the_connection_first_remembers_it_too(host: Host) -> None:
    again = host.run(
        "domain_devices", {"domains": {"g1": {"devices": FULL, "exclusive": True}}, "repair": "first", "timeout": 15}
    )
    assert not again.get("failed"), again["msg"]
    assert faults(host.repair(check=True)["findings"]) == {"leaked_hold": [B]}


def test_so_does_one_that_finds_the_guest_gone(host: Host) -> None:
    """Nobody has tidied up behind it."""
    host.ask("destroy", domain="g1")
    repaired = host.repair()
    assert faults(repaired["left"]) == {"leaked_hold": [B]}, repaired
