# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A declaration that no repair makes possible is refused before anything is repaired, in check mode as well."""

from __future__ import annotations

from typing import Any

import pytest
from fault_injection import uncompacted
from simulated import OTHERS, A, B, C, Host

IMPOSSIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "no devices": ({"g1": {"devices": []}}, "empty-devices"),
    "no devices to take away": ({"g1": {"devices": [], "state": "absent"}}, "empty-devices"),
    "one device for two domains": ({"g1": {"devices": [C]}, "g2": {"devices": [C]}}, "declared-twice"),
    "a device twice": ({"g1": {"devices": [C, C]}}, "listed-twice"),
    "no such domain": (
        {"g1": {"devices": [A]}, "g9": {"devices": [C], "when_halted": "fail"}},
        "unknown-domain",
    ),
    "no such name": ({"g1": {"devices": ["nothing"]}}, "unknown-device"),
    "a number": ({"g1": {"devices": [60.0]}}, "device-request"),
    "exclusive and absent": ({"g1": {"devices": [A], "exclusive": True, "state": "absent"}}, "exclusive-absent"),
    "a device of the host": ({"g1": {"devices": [A, OTHERS[0]]}}, "not-assignable"),
}


@pytest.mark.parametrize("repair", ["never", "first"])
@pytest.mark.parametrize("declared", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_it_is_refused_before_a_repair(host: Host, declared: tuple[dict[str, Any], str], repair: str) -> None:
    begun = host.devices(g1=[A, B])
    assert not begun.get("failed"), begun["msg"]
    uncompacted(host)
    host.rest()
    domains, code = declared
    before = dict(host.nodes())
    for check in (True, False):
        refused = host.run("domain_devices", {"domains": domains, "repair": repair, "timeout": 5}, check=check)
        assert code in {refusal["code"] for refusal in refused["refusals"]}, refused["msg"]
        assert (refused["changed"], refused["repaired"]) == (False, [])
        assert "epaired first" not in refused["msg"]
    assert host.nodes() == before, "something was repaired"


def test_a_possible_one_repairs_first(host: Host) -> None:
    host.devices(g1=[A, B])
    uncompacted(host)
    host.rest()
    done = host.devices(g1=[B, C])
    assert not done.get("failed"), done["msg"]
    assert done["repaired"]
    assert host.settled({"g1": [B, C]}) == []
