# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A scenario: a state before, a disturbance, and a declaration; and how it is performed and judged.

Whatever happens, these hold: an answer without failure means that guests, Xen, xenstore and libxl's markers are
exactly as declared; a failure says why in words and leaves each guest all old or all new; and once the disturbance is
over, the same task succeeds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from simulated import Host

State = Mapping[str, Collection[str]]
Act = Callable[[Host], object]
SHORT = 2


def nothing(_host: Host) -> None:
    """No disturbance, or none that must be ended."""


@dataclass(frozen=True)
class Scenario:
    """`disturb` comes before the task, `meanwhile` once the node `when` has its value, `calm` after the task.

    `outcomes`: how the task may end (ok, error, refused). `refused`: the codes of its refusals. `says`: what its
    message must name, such as the device and the side that failed: errors have no codes.
    `again`: whether the same task succeeds once all is calm; a guest that died is not there any more. `also`: a state
    that is neither old nor new, because what was asked of a guest, or done by another one, cannot be taken back.
    """

    name: str
    before: State
    after: State
    disturb: Act = nothing
    meanwhile: Act | None = None
    when: tuple[str, str] = ("", "")
    calm: Act = nothing
    outcomes: Collection[str] = ("error",)
    refused: Collection[str] = ()
    says: Collection[str] = ()
    again: bool = True
    timeout: int = SHORT
    level: str = "connected"
    also: State | None = None


def inject(fault: str, **arguments: Any) -> Act:
    return lambda host: host.inject(fault, **arguments)


def both(*acts: Act) -> Act:
    def act(host: Host) -> None:
        for one in acts:
            one(host)

    return act


def perform(host: Host, scenario: Scenario, record_property: Callable[[str, object], None]) -> None:
    """Play it and judge it."""
    record_property("scenario", scenario.name)
    start = {name: devices for name, devices in scenario.before.items() if devices}
    if start:
        begun = host.devices(**{name: list(devices) for name, devices in start.items()})
        assert not begun.get("failed"), begun["msg"]
    numbers = {domain["name"]: domain["domid"] for domain in host.ask("list")}
    scenario.disturb(host)

    helper = Meanwhile(host, scenario)
    task = {"domains": declared(scenario.after), "timeout": scenario.timeout, "converge": scenario.level}
    result = host.run("domain_devices", task)
    helper.join()
    outcome = "ok" if not result.get("failed") else "refused" if "refusals" in result else "error"
    record_property("happened", f"{outcome}: {result.get('msg', '')[:150]}".rstrip(": "))
    assert outcome in scenario.outcomes, result.get("msg")
    assert result["elapsed"] < scenario.timeout + 30, "the task did not end in time"
    if scenario.refused:
        assert {one["code"] for one in result["refusals"]} == set(scenario.refused), result["msg"]
    if outcome != "ok":
        assert all(word in result["msg"] for word in scenario.says), result["msg"]
        assert "Traceback" not in result["msg"] and result["msg"]
    if outcome == "error":
        asked = {device for state in (scenario.before, scenario.after) for one in state.values() for device in one}
        assert any(device in result["msg"] for device in asked), result["msg"]
        assert {domain["name"] for domain in result["domains"]} == set(scenario.after), "the fate of each is told"

    scenario.calm(host)
    alive = {domain["name"] for domain in host.ask("list")}
    old, new = only(scenario.before, alive), only(scenario.after, alive)
    rebooted = {name: devices for name, devices in old.items() if host.guest(name)["domid"] != numbers.get(name)}
    ended = {*scenario.before, *scenario.after} - alive
    if outcome == "ok" and not rebooted and not ended:
        assert host.settled(new) == []
    elif scenario.again and not rebooted:
        recover(host)
        states = (old, new) if scenario.also is None else (old, new, only(scenario.also, alive))
        assert one_of(host, *states) == []
    if scenario.again:
        finish(host, scenario, new)
    recover(host)
    if ended:  # it was there when the run said ok, and xl leaves the connection that such a guest has closed
        assert host.settled(new) == []
    assert [one["fault"] for one in host.repair(check=True)["findings"] if one["fault"] != "leaked_hold"] == []


def recover(host: Host) -> None:
    """Whatever a run could not finish, since its guest died or its store was gone, a repair can."""
    repaired = host.repair(settle=1.0)
    assert not repaired.get("failed"), repaired["msg"]


def finish(host: Host, scenario: Scenario, new: State) -> None:
    again = host.devices(**{name: list(devices) for name, devices in scenario.after.items()})
    assert not again.get("failed"), again["msg"]
    assert host.settled(new) == []


def one_of(host: Host, *states: State) -> list[str]:
    """The old state first, then the new one."""
    deadline = time.monotonic() + 10
    while True:
        problems = [host.wrong(state) for state in states]
        if [] in problems:
            return []
        if time.monotonic() > deadline:
            return [f"neither all old ({problems[0]}) nor all new ({problems[1]})"]
        time.sleep(0.02)


def only(state: State, alive: Collection[str]) -> dict[str, Collection[str]]:
    return {name: devices for name, devices in state.items() if name in alive}


def declared(state: State) -> dict[str, Any]:
    return {name: {"devices": list(devices), "exclusive": True} for name, devices in state.items()}


def lists(state: State) -> dict[str, list[str]]:
    return {name: list(devices) for name, devices in state.items()}


class Meanwhile:
    """Acts once a node has its value, beside the task."""

    def __init__(self, host: Host, scenario: Scenario) -> None:
        self._host, self._scenario = host, scenario
        self._thread = threading.Thread(target=self._act) if scenario.meanwhile else None
        self._start = len(host.ask("trace"))
        if self._thread is not None:
            self._thread.start()

    def _act(self) -> None:
        path, value = self._scenario.when
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            entries = self._host.ask("trace", start=self._start)
            if any(f"{path} {value}" in " ".join(entry.split()) for entry in entries):
                break
            time.sleep(0.005)
        assert self._scenario.meanwhile is not None
        self._scenario.meanwhile(self._host)

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()
