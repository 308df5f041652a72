# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Something else happens to a guest in the midst of our run, on real Xen: no false success, nothing is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from disposable_host import Ward, marker, ward
from guest_lifecycle import eventually
from independent_view import attached_by_xl
from module_runner import Modules, modules

from xenlab import Host, topology

PARTS = (topology.NICS[0], topology.NICS[1], topology.EDUS[0])
A, B, E = (part.bdf for part in PARTS)


@pytest.fixture(scope="module")
def lab(host: Host) -> Iterator[Ward]:
    with ward(host, PARTS) as running:
        yield running


@pytest.fixture(scope="module")
def others(host: Host, lab: Ward) -> Iterator[Modules]:
    """A second process that runs modules."""
    with modules(host, "/root/more-modules") as running:
        yield running


def adding(running: Modules, *devices: str) -> None:
    """Start a run that gives g1 these devices, besides those that it has."""
    running.ask("domain_devices", {"domains": {"g1": {"devices": list(devices)}}, "timeout": 120})


def can_have(lab: Ward, *devices: str) -> None:
    """After whatever has happened: all is as it must be once g1 is declared to have these."""
    result = lab.modules.devices({"g1": devices})
    assert not result.get("failed"), result["msg"]
    assert lab.wrong({"g1": devices}) == []
    assert lab.modules.repair(check=True)["findings"] == []


def said(result: Mapping[str, Any]) -> str:
    return f"error: {result['msg']}" if result.get("failed") else "ok"


def test_two_runs_of_ours(lab: Ward, others: Modules, happened: Callable[[str], None]) -> None:
    can_have(lab)
    adding(lab.modules, A)
    adding(others, E)
    results: list[dict[str, Any]] = [lab.modules.answer(), others.answer()]
    assert [result.get("msg") for result in results if result.get("failed")] == []
    happened("both ok, one after the other")
    assert lab.wrong({"g1": [A, E]}) == []


def test_xl_attaches_while_we_do(lab: Ward, happened: Callable[[str], None]) -> None:
    """xl takes no lock for as long as it looks, so it may overwrite our entry: then we must say so."""
    can_have(lab, A)
    adding(lab.modules, E)
    lab.xl("pci-attach", "g1", B)
    result = lab.modules.answer()
    listed = attached_by_xl(lab.host, "g1")
    assert A in listed
    assert result.get("failed") or E in listed
    happened(said(result))
    repaired = lab.modules.repair()
    assert not repaired.get("failed"), repaired["msg"]
    can_have(lab, A, B, E)


def in_the_midst_of_adding(lab: Ward, others: Modules, device: str) -> int:
    """g1, which has A, is about to get another device; returns its number."""
    can_have(lab, A)
    others.ask("act", [("until", marker(device), str(lab.g1))])
    adding(lab.modules, device)
    others.answer()
    return lab.g1


def is_over(lab: Ward, old: int, happened: Callable[[str], None]) -> None:
    """Our run says no false ok, xl has ended g1, and nothing is left of it; a new one can have its devices, and one
    more.
    """
    result = lab.modules.answer()
    assert result.get("failed") or result["changed"]
    happened(said(result))
    eventually(lambda: lab.host.run(["xl", "domid", "g1"], check=False).status != 0)
    repaired = lab.modules.repair()
    assert not repaired.get("failed"), repaired["msg"]
    assert f"pci/{old}" not in lab.host.run("xenstore-ls -f /local/domain/0/backend", check=False).stdout
    assert lab.wrong({"g2": []}) == []
    lab.new_guest("g1")
    can_have(lab, A, B)


def test_the_guest_is_destroyed_while_it_answers(lab: Ward, others: Modules, happened: Callable[[str], None]) -> None:
    old = in_the_midst_of_adding(lab, others, B)
    lab.xl("destroy", "g1")
    is_over(lab, old, happened)


def test_the_guest_shuts_down_and_answers_at_once(lab: Ward, others: Modules, happened: Callable[[str], None]) -> None:
    """It is paused until both are due: the change, and what it has begun itself. xl then waits in vain for each of its
    devices, 10 s each.
    """
    can_have(lab, A)
    old = lab.g1
    lab.host.guest("g1").run("(sleep 2; poweroff -f) > /dev/null 2>&1 &")
    lab.xl("pause", "g1")
    adding(lab.modules, B)
    others.run("act", [("until", lab.back("state"), "7")])
    time.sleep(2)
    lab.xl("unpause", "g1")
    is_over(lab, old, happened)


def test_the_guest_is_saved_while_it_answers(lab: Ward, others: Modules, happened: Callable[[str], None]) -> None:
    """A saved guest is as gone as one that has migrated."""
    old = in_the_midst_of_adding(lab, others, B)
    lab.host.run("xl save g1 /root/g1.save; rm -f /root/g1.save", timeout=300)
    is_over(lab, old, happened)


def test_the_guest_reboots_while_it_answers(lab: Ward, others: Modules, happened: Callable[[str], None]) -> None:
    """libxl builds it anew with what is in its stored configuration by then."""
    old = in_the_midst_of_adding(lab, others, E)
    lab.xl("reboot", "g1")
    happened(said(lab.modules.answer()))
    eventually(lambda: lab.host.run("xl domid g1", check=False).stdout.strip() not in ("", str(old)))
    lab.host.guest("g1").run("true", timeout=240)
    lab.know()
    repaired = lab.modules.repair()
    assert not repaired.get("failed"), repaired["msg"]
    can_have(lab, A, E)
