# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HVM guests that work, and somebody damages what libxl lists of them; and what check mode expects after a kill."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from fault_injection import back
from simulated import A, B, C, Host, answer, end, marker

Steps = list[tuple[str, ...]]


def number(host: Host) -> int:
    """The domain whose connection lists the devices."""
    guest = host.guest("h1")
    return int(guest["stub"] or guest["domid"])


def task(*devices: str) -> dict[str, object]:
    return {"domains": {"h1": {"devices": list(devices), "exclusive": True}}, "timeout": 15}


def uses(host: Host) -> dict[str, str | None]:
    return {one["host"]: one["driver"] for one in host.guest("h1")["devices"].values()}


#: Nodes and what is written to them (None: removed).
DAMAGES: dict[str, dict[str, str | None]] = {
    **{f"dev-0 is {value}": {"dev-0": value} for value in (None, "zzz", C, B)},
    "key-0 is another's": {"key-0": C},
    **{f"dev-0 and key-0 are {value}": {"dev-0": value, "key-0": value} for value in (None, "zzz", C)},
    **{f"num_devs is {value}": {"num_devs": value} for value in ("1", "3", "x", "", None)},
    "a hole": dict.fromkeys(("dev-0", "key-0", "state-0", "opts-0", "vdevfn-0")),
    "a stray node": {"dev-5": C},
}
#: A stub domain has its connection by a handshake, whose places must be known.
ONLY_PLAIN = {
    "one entry is gone": {**dict.fromkeys(("dev-1", "key-1", "state-1", "opts-1", "vdevfn-1")), "num_devs": "1"},
    "all entries are unreadable": {"dev-0": "", "key-0": "", "dev-1": "", "key-1": ""},
}


def damage(host: Host, nodes: dict[str, str | None]) -> int:
    """Returns the length of the trace before it."""
    assert not host.devices(h1=[A, B]).get("failed")
    start = len(host.ask("trace"))
    domid = number(host)
    host.act(*(("remove", back(domid, n)) if v is None else ("write", back(domid, n), v) for n, v in nodes.items()))
    return start


def untouched(host: Host, start: int) -> bool:
    words = [line.split("]", 1)[1].split() for line in host.ask("trace", start=start)]
    return not any(action in ("reset", "deassign", "eject") for _writer, action, *_rest in words)


@pytest.mark.parametrize("nodes", DAMAGES.values(), ids=DAMAGES)
def test_a_repair_costs_a_guest_that_works_nothing(hvm: Host, nodes: dict[str, str | None]) -> None:
    repaired_without_loss(hvm, nodes)


@pytest.mark.parametrize("nodes", ONLY_PLAIN.values(), ids=ONLY_PLAIN)
def test_nor_where_entries_are_gone(plain: Host, nodes: dict[str, str | None]) -> None:
    repaired_without_loss(plain, nodes)


def repaired_without_loss(host: Host, nodes: dict[str, str | None]) -> None:
    start, before = damage(host, nodes), uses(host)
    expected = host.repair(check=True)
    assert "disordered_entries" in {one["fault"] for one in expected["findings"]}
    assert host.run("host_info", {"gather": []})["findings"] == expected["findings"]
    for check in (True, False):
        refused = host.run("domain_devices", task(A, B), check=check)
        assert refused["failed"] and not refused["changed"], "nothing shows that a killed run of ours left it"
    told = host.run("domain_devices", {**task(A, B), "repair": "first"}, check=True)
    repaired = host.repair()
    assert not repaired.get("failed"), repaired["msg"]
    assert not told.get("failed") and told["actions"] == [], told
    assert untouched(host, start) and uses(host) == before
    assert host.settled({"h1": [A, B]}) == []
    assert host.repair(check=True)["findings"] == []
    for wanted in ([B], [B, C], []):
        assert not host.devices(h1=wanted).get("failed")
        assert host.settled({"h1": wanted}) == []


@pytest.mark.parametrize("level", ["", "above"])
def test_a_connection_that_is_gone_costs_a_guest_nothing_unless_that_is_asked_for(plain: Host, level: str) -> None:
    assert not plain.devices(h1=[A, B]).get("failed")
    before, start = uses(plain), len(plain.ask("trace"))
    directory = back(number(plain), "")[:-1]
    plain.act(("remove", directory.rpartition("/")[0] if level else directory))
    plain.rest()
    for done in (
        plain.run("domain_devices", task(A, B)),
        plain.run("domain_devices", {**task(A, B), "repair": "first"}, check=True),
        plain.run("domain_devices", {**task(A, B), "repair": "first"}),
        plain.repair(),
    ):
        assert done["failed"] and f"{A}, {B}" in done["msg"] and "faults of xen.pci.repair" in done["msg"]
    assert not any("deassign" in line for line in plain.ask("trace", start=start)) and uses(plain) == before


# ---- after a kill


@pytest.mark.parametrize("wanted", [[], [B], [A, B, C], [B, C]], ids=["none", "fewer", "more", "both"])
def test_check_mode_expects_what_the_run_after_a_kill_does(hvm: Host, wanted: list[str]) -> None:
    for kill_at in itertools.count(1, 4):
        assert not hvm.devices(h1=[A, B]).get("failed")
        killed = hvm.run("domain_devices", task(*wanted), kill_at=kill_at)
        told, done = (hvm.run("domain_devices", task(*wanted), check=check) for check in (True, False))
        assert not done.get("failed"), (kill_at, done["msg"])
        assert not told.get("failed"), (kill_at, told["msg"])
        assert (told["actions"], told["changed"]) == (done["actions"], done["changed"]), kill_at
        assert hvm.settled({"h1": wanted}) == [], kill_at
        if "killed" not in killed:
            break
    assert kill_at > 4


def child_of(process: int) -> int:
    while not (found := Path(f"/proc/{process}/task/{process}/children").read_text().split()):
        time.sleep(0.01)
    return int(found[0])


def test_the_next_run_waits_for_an_xl_that_outlives_ours(plain: Host) -> None:
    """xl begins late here, so it certainly works when the run that started it is killed."""
    program = plain.directory / "bin" / "xl"
    begun, go_on = plain.directory / "begun", plain.directory / "go-on"
    first, rest = program.read_text().split("\n", 1)
    waits = f"touch {begun}; until [ -e {go_on} ]; do sleep 0.05; done"
    program.write_text(f"{first}\n{waits}\n{rest}")
    other = plain.modules()
    try:
        assert other.stdin is not None
        killed = threading.Thread(target=lambda: answer(other, "domain_devices", task(A, B)))
        killed.start()
        run = child_of(other.pid)
        while not begun.exists():
            time.sleep(0.01)
        os.kill(run, signal.SIGKILL)
        killed.join()
        refused = plain.run("domain_devices", {**task(A, B), "timeout": 1})
        assert refused["failed"] and "outlived" in refused["msg"]
        timer = threading.Timer(0.3, go_on.touch)
        timer.start()
        done = plain.run("domain_devices", task(A, B))
        assert not done.get("failed"), done["msg"]
    finally:
        go_on.touch()
        end(other)
    assert plain.settled({"h1": [A, B]}) == []
    assert plain.nodes().get(marker(A)) == str(plain.guest("h1")["domid"])
