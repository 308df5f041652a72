# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may go wrong while devices are attached and detached: no `ok` is false, and nothing is left half-done.

What must hold in each scenario is in scenarios.py.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from changes import CHANGES, SLOW, STEPS, each_step
from fault_injection import uncompacted
from scenarios import (
    SHORT,
    Act,
    Meanwhile,
    Scenario,
    State,
    both,
    declared,
    inject,
    lists,
    nothing,
    one_of,
    perform,
)
from simulated import SOUND, TWIN_1, USB, A, B, C, D, Host, answer, end


def pause(paused: bool) -> Act:
    return lambda host: host.ask("pause", domain="g1", paused=paused)


def create(**config: Any) -> Act:
    return lambda host: host.ask("create", config={"name": "g4", **config})


DISTURBANCES = {"pauses": "pause-at", "dies": "die-at", "is made anew": "reboot-at"}


def at_every_step() -> list[Scenario]:
    found = []
    for change, who, where in each_step():
        before, after = CHANGES[change]
        for verb, fault in DISTURBANCES.items():
            found.append(
                Scenario(
                    name=f"{change}: the guest {verb} at {where}",
                    before=before,
                    after=after,
                    disturb=inject(fault, domain=who, step=where, victim="g1"),
                    calm=pause(False) if verb == "pauses" else nothing,
                    outcomes=("ok", "error"),
                    again=verb != "dies",
                )
            )
    return found


def slow_sides() -> list[Scenario]:
    found = []
    for change, steps in STEPS.items():
        before, after = CHANGES[change]
        who, _space, where = steps[len(steps) // 2].partition(" ")
        late = inject("late", domain=who, step=where, seconds=0.3)
        found.append(Scenario(f"{change}: slow at {where}", before, after, late, outcomes=("ok",), timeout=15))
        silent = inject("silent", domain=who, step=where)
        found.append(
            Scenario(
                f"{change}: silent at {where}",
                before,
                after,
                silent,
                calm=inject("resume", domain=who, step=where),
                outcomes=("ok", "error"),
            )
        )
    return found


def store_troubles() -> list[Scenario]:
    found = []
    for change in ("first device", "more", "fewer", "last device"):
        before, after = CHANGES[change]
        step = {"first device": "0 backend:export", "last device": "g1 frontend:5"}.get(change, "g1 frontend:7")
        who, _space, where = step.partition(" ")
        slow = inject("late", domain=who, step=where, seconds=0.7)
        node = {"first device": "1", "last device": "5"}.get(change, "7")
        when = ("/local/domain/0/backend/pci/1/0/state", node)
        found += [
            Scenario(
                f"{change}: xenstored is restarted in the middle",
                before,
                after,
                slow,
                both(inject("store-down"), inject("store-up")),
                when,
                outcomes=("ok", "error"),
                says=("xenstored",),
                calm=inject("late", domain=who, step=where, seconds=0),
            ),
            Scenario(
                f"{change}: xenstored stops answering in the middle",
                before,
                after,
                slow,
                inject("store-frozen"),
                when,
                calm=both(inject("store-frozen", frozen=False), inject("late", domain=who, step=where, seconds=0)),
                says=("xenstored",),
            ),
        ]
    before, after = CHANGES["both"]
    found += [
        Scenario("both: 60 conflicts", before, after, inject("conflicts", count=60), outcomes=("ok",), timeout=15),
        Scenario(
            "both: a store gone wild",
            before,
            after,
            inject("conflicts", count=100000),
            calm=inject("conflicts", count=0),
            says=("xenstore",),
            timeout=15,
        ),
    ]
    return found


def refusals() -> list[Scenario]:
    return [
        Scenario(
            "pciback refuses a first device", *CHANGES["first device"], inject("refuse-export", device=A),
            calm=inject("refuse-export", device=A, refuse=False), says=("pciback",), timeout=15,
        ),
        Scenario(
            "pciback refuses one of two", {"g1": [A]}, {"g1": [A, B, C]}, inject("refuse-export", device=C),
            calm=inject("refuse-export", device=C, refuse=False), says=("pciback", C), timeout=15,
        ),
        Scenario(
            "Xen refuses a device", *CHANGES["more"], inject("broken", device=B),
            calm=inject("broken", device=B, broken=False), says=(B, "Xen"),
        ),
        Scenario(
            "a reset fails before an attach", *CHANGES["more"], inject("reset-fails", device=B),
            calm=inject("reset-fails", device=B, fails=False), says=(B, "reset"),
        ),
        Scenario(
            "a guest without pcifront", {"g3": []}, {"g3": [A]}, says=("pcifront",),
            calm=lambda host: host.ask("load-pcifront", domain="g3"),
        ),
        Scenario(
            "a guest created without passthrough", {"g1": []}, {"g4": [A]}, create(passthrough=False),
            outcomes=("refused",), refused=("not-ready",), again=False,
        ),
        Scenario(
            "a PVH guest", {"g1": []}, {"g4": [A]}, create(type="pvh"),
            outcomes=("refused",), refused=("wrong-kind",), again=False,
        ),
        Scenario(
            "a guest that is not there is skipped", {"g1": []}, {"g9": [A]}, outcomes=("ok",),
        ),
        Scenario(
            "a device of another guest", {"g2": [A]}, {"g1": [A]},
            outcomes=("refused",), refused=("held",), again=False,
        ),
        Scenario(
            "a device that pciback does not have", {"g1": []}, {"g1": ["0000:00:03.0"]},
            outcomes=("refused",), refused=("not-assignable",), again=False,
        ),
        Scenario(
            "a driver that does not let go", *CHANGES["fewer"], inject("driver", domain="g1", manner="keep"),
            calm=both(
                inject("driver", domain="g1", manner="bind"), inject("resume", domain="g1", step=f"guest:{A}")
            ),
            outcomes=("ok", "error"),
        ),
        Scenario(
            "a driver that hangs", *CHANGES["more"], inject("driver", domain="g1", manner="hang", device=B),
            calm=inject("resume", domain="g1", step=f"guest:{B}"), outcomes=("ok", "error"),
        ),
        Scenario(
            "a driver that does not bind, active wanted", *CHANGES["more"],
            inject("driver", domain="g1", manner="refuse", device=B), says=("driver", B), level="active", again=False,
        ),
    ]  # fmt: skip


def half_moves() -> list[Scenario]:
    """A domain that has given up what another waits for, and then does not get what it waits for itself."""

    def silent(paused: bool) -> Act:
        return lambda host: host.ask("pause", domain="g2", paused=paused)

    return [
        Scenario(
            "a swap with a guest that is silent", {"g1": [A, B], "g2": [C]}, {"g1": [B, C], "g2": [A]},
            silent(True), calm=silent(False), says=("g2", A),
        ),
        Scenario(
            "a swap of only devices with a guest that is silent", {"g1": [A], "g2": [C]}, {"g1": [C], "g2": [A]},
            silent(True), calm=silent(False), says=("g2", A),
        ),
        Scenario(
            "a move behind which pciback refuses a device", {"g1": [A, B], "g2": [C]}, {"g1": [B, D], "g2": [A, C]},
            inject("refuse-export", device=D), calm=inject("refuse-export", device=D, refuse=False),
            says=("pciback", D, A), also={"g1": [B], "g2": [A, C]}, timeout=15,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("silent", ["g1", "g2", "g3"])
def test_a_swap_of_three_is_all_or_nothing(
    host: Host, silent: str, record_property: Callable[[str, object], None]
) -> None:
    """Each waits for the next one; nobody takes what another one then could not get back."""
    record_property("scenario", f"a swap of three with {silent} silent")
    host.ask("load-pcifront", domain="g3")
    before, after = {"g1": [A], "g2": [B], "g3": [C]}, {"g1": [C], "g2": [A], "g3": [B]}
    assert not host.devices(**before).get("failed")
    host.ask("pause", domain=silent, paused=True)
    failed = host.devices(SHORT, **after)
    record_property("happened", failed["msg"])
    assert failed["failed"] and not failed["changed"] and silent in failed["msg"]
    host.ask("pause", domain=silent, paused=False)
    assert host.settled(before) == []
    assert not host.devices(**after).get("failed")
    assert host.settled(after) == []


SCENARIOS = [*at_every_step(), *slow_sides(), *store_troubles(), *refusals(), *half_moves()]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_no_false_ok(host: Host, scenario: Scenario, record_property: Callable[[str, object], None]) -> None:
    perform(host, scenario, record_property)


# ---- more than one at once


RACES: dict[str, tuple[State, State]] = {
    "the same twice": ({"g1": [A, B]}, {"g1": [A, B]}),
    "another device": ({"g1": [A]}, {"g1": [A, B]}),
    "opposite": ({"g1": [A, B]}, {"g1": []}),
    "two guests": ({"g1": [A, B]}, {"g2": [C, D]}),
}


@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
def test_two_runs_at_once(
    host: Host,
    race: tuple[State, State],
    record_property: Callable[[str, object], None],
    request: pytest.FixtureRequest,
) -> None:
    record_property("scenario", f"race of two runs: {request.node.callspec.id}")
    other = host.modules()
    try:
        results: dict[int, dict[str, Any]] = {}
        runs = [
            threading.Thread(target=lambda: results.update({0: host.devices(**lists(race[0]))})),
            threading.Thread(
                target=lambda: results.update(
                    {1: answer(other, "domain_devices", {"domains": declared(race[1]), "timeout": 15})}
                )
            ),
        ]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
    finally:
        end(other)
    assert [results[number].get("msg", "") for number in (0, 1)] == ["", ""]
    record_property("happened", "both ok, one after the other")
    assert one_of(host, {**race[0], **race[1]}, {**race[1], **race[0]}) == []


def test_a_second_run_gives_up_in_time(host: Host, record_property: Callable[[str, object], None]) -> None:
    record_property("scenario", "race of two runs: the first takes too long")
    host.inject("late", domain="g1", step="frontend:1", seconds=8)
    other = host.modules()
    try:
        first = threading.Thread(target=lambda: host.devices(g1=[A]))
        first.start()
        while f"{A} 1" not in " ".join(host.ask("trace")[-40:]):
            time.sleep(0.01)
        second = answer(other, "domain_devices", {"domains": declared({"g2": [B]}), "timeout": 1})
        first.join()
    finally:
        end(other)
    record_property("happened", second.get("msg", "ok")[:150])
    assert second["failed"] and not second["changed"]
    assert host.settled({"g1": [A]}) == []


def test_the_failure_of_a_late_guest_is_short(host: Host) -> None:
    """All that a person needs is in the message; what was seen in which order comes with -vv."""
    assert not host.devices(g1=[A]).get("failed")
    host.inject("late", domain="g1", step="frontend:7", seconds=30)
    task = {"domains": {"g1": {"devices": [A, B, C]}}, "timeout": SHORT}
    failed, told = (host.run("domain_devices", {**task, "_ansible_verbosity": verbosity}) for verbosity in (1, 2))
    shown = {key: value for key, value in failed.items() if key not in ("diff", "invocation")}
    assert failed["failed"] and "g1" in failed["msg"] and len(failed["msg"]) < 400, failed["msg"]
    assert len(json.dumps(shown)) < 2000, shown
    assert told["domains"][0]["timeline"] and "timeline" not in failed["domains"][0]


@pytest.mark.parametrize("command", ["pci-attach", "pci-detach"])
@pytest.mark.parametrize("guest", ["g1", "g2"])
def test_xl_at_the_same_time(
    host: Host, command: str, guest: str, record_property: Callable[[str, object], None]
) -> None:
    """xl holds no lock that could keep us out: each of us notices, and what one did is not lost.

    But one thing nobody can prevent: xl reads how many entries there are before it takes any lock, so its
    entry may overwrite one of ours that came in between. Then no repair is safe, and a repair says so.
    """
    record_property("scenario", f"race with xl {command} {guest}")
    # Twin 1 shares its interrupt with no other device: libxl's detach takes a shared one away from both.
    device = TWIN_1 if guest == "g1" else D
    attaching = command == "pci-attach"
    before = {"g1": [A] if attaching or guest == "g2" else [A, device], "g2": [C]}
    if guest == "g2" and not attaching:
        before["g2"] = [C, device]
    assert not host.devices(**before).get("failed")
    xl = threading.Thread(target=lambda: host.xl(command, guest, device))
    xl.start()
    task = {"g1": {"devices": [A, B]}}
    result = host.devices(**task)
    xl.join()
    record_property("happened", result.get("msg", "ok")[:150])
    repaired = host.repair(settle=1.0)
    if attaching and repaired.get("failed"):
        assert {one["fault"] for one in repaired["findings"]} == {"lost_entry"}
        return
    assert not repaired.get("failed"), repaired["msg"]
    again = host.devices(**task)
    assert not again.get("failed"), again["msg"]
    new: dict[str, list[str]] = {"g1": [A, B], "g2": [C]}
    with_it = {**new, guest: [*new[guest], device]}
    assert one_of(host, new, with_it) == []


def test_a_pci_error_is_told_with_every_outcome_until_the_connection_ends(
    host: Host, record_property: Callable[[str, object], None]
) -> None:
    record_property("scenario", "a PCI error that the guest could not handle")

    def warnings(result: Mapping[str, Any]) -> str:
        return " ".join(warning for domain in result["domains"] for warning in domain["warnings"])

    assert warnings(host.devices(g1=[A], g2=[C])) == ""
    host.inject("aer", domain="g1")
    more = host.devices(g1=[A, B], g2=[C])
    assert not more.get("failed")
    assert "AER" in warnings(more) and "g1" in warnings(more) and "g2" not in warnings(more)
    pause(True)(host)
    fewer = host.devices(SHORT, g1=[A])
    record_property("happened", fewer["msg"])
    assert fewer["failed"] and "AER" in fewer["msg"]
    pause(False)(host)
    assert not host.devices(g1=[]).get("failed")
    assert warnings(host.devices(g1=[A])) == ""
    assert host.settled({"g1": [A], "g2": [C]}) == []


def test_every_change_is_a_line_in_the_log(host: Host, record_property: Callable[[str, object], None]) -> None:
    record_property("scenario", "the log tells which device went where, and what shows it")

    def lines(result: Mapping[str, Any]) -> list[str]:
        return [line for line in result["log"] if "; by " in line]

    (added,) = lines(host.devices(g1=[A]))
    assert added.startswith(f"{A} (8086:10d3, serial ") and "from the pool to g1: domain 1, backend 4" in added
    (moved,) = lines(host.devices(g1=[], g2=[A]))
    assert "from g1 to g2: domain 2" in moved and "a guest owns it" in moved
    assert lines(host.devices(g1=[], g2=[A])) == []
    assert lines(host.devices(how={"check": True}, g1=[A], g2=[])) == []
    pause(True)(host)
    (failed,) = lines(host.devices(SHORT, g1=[B]))
    assert "g1 (domain 1) failed: guest g1 did not connect in time" in failed
    record_property("happened", moved)


@pytest.mark.parametrize("by", ["us", "xl"])
def test_the_line_of_a_device_that_uses_msi_is_given_and_taken(
    host: Host, by: str, record_property: Callable[[str, object], None]
) -> None:
    """While a guest uses it, sysfs shows the number of the message in place of the line."""
    record_property("scenario", f"a device that uses MSI, attached by {by}")
    line = host.ask("devices")[SOUND]["irq"]
    if by == "us":
        assert not host.devices(g1=[SOUND]).get("failed")
    else:
        host.xl("pci-attach", "g1", SOUND)
    assert host.settled({"g1": [SOUND]}) == []
    assert host.rights.irqs[host.guest("g1")["domid"]] == {line}
    shown = (host.directory / "sys" / "bus" / "pci" / "devices" / SOUND / "irq").read_text()
    assert int(shown) != line
    done = host.devices(g1=[])
    record_property("happened", f"error: {done['msg'][:150]}" if done.get("failed") else "ok")
    assert not done.get("failed"), done["msg"]
    assert host.settled({}) == [], "the right to the line as well"


@pytest.mark.parametrize("by", ["us", "a repair"])
def test_a_page_with_registers_of_two_devices_stays_until_both_are_gone(
    host: Host, by: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("scenario", f"one of two devices with registers in one page is removed by {by}")
    assert not host.devices(g1=USB).get("failed")
    if by == "us":
        assert not host.devices(g1=USB[1:]).get("failed")
    else:
        uncompacted(host)
        assert not host.repair().get("failed")
    wrong = host.settled({"g1": USB[1:]})
    record_property("happened", "; ".join(wrong) or "ok")
    assert wrong == []
    assert not host.devices(g1=[]).get("failed")
    assert host.settled({}) == []


def test_names_are_utf_8(host: Host, record_property: Callable[[str, object], None]) -> None:
    record_property("scenario", "a guest and a device with names that are not ASCII")
    host.ask("create", config={"name": "gäst-网"})
    task = {"catalog": {"网卡": {"path": "0000:00/1c.0/00.0"}}, "timeout": 15}
    held = host.run("domain_devices", {"domains": {"gäst-网": {"devices": ["网卡"]}}, **task})
    record_property("happened", held.get("msg", "ok"))
    assert not held.get("failed"), held["msg"]
    assert host.settled({"gäst-网": [A]}) == []
    assert host.nodes()[f"/local/domain/0/backend/pci/{host.guest('gäst-网')['domid']}/0/domain"] == "gäst-网"
    assert not host.repair(domains=["gäst-网"]).get("failed")


@pytest.mark.parametrize("check", [True, False], ids=["check mode", "run"])
def test_a_guest_that_may_have_no_room_for_a_device(
    host: Host, check: bool, record_property: Callable[[str, object], None]
) -> None:
    record_property("scenario", f"a guest created without e820_host, {'check mode' if check else 'run'}")
    create(e820_host=False)(host)
    told = host.devices(how={"check": check}, g4=[A])
    assert not told.get("failed")
    warning = str(told.get("warnings"))
    record_property("happened", warning[:150])
    assert "g4 was created without the host's memory map" in warning and "set e820_host=1" in warning


@pytest.mark.parametrize("change", ["more", "fewer"])
def test_a_device_falls_off_the_bus_in_the_middle(
    host: Host, change: str, record_property: Callable[[str, object], None]
) -> None:
    """The run says what came of the others, in the same domain and in the next one."""
    record_property("scenario", f"{change}: a device of the guest falls off the bus in the middle")
    before, after = ({**state, "g2": devices} for state, devices in zip(CHANGES[change], ([C], []), strict=True))
    assert not host.devices(**lists(before)).get("failed")
    step, state = SLOW[change]
    slow = inject("late", domain="0", step=f"backend:{step}", seconds=0.5)
    when = ("/local/domain/0/backend/pci/1/0/state", state)
    scenario = Scenario(change, before, after, slow, lambda host: host.pull_out(B), when)
    slow(host)
    helper = Meanwhile(host, scenario)
    result = host.devices(**lists(after))
    helper.join()
    record_property("happened", f"error: {result['msg'][:150]}")
    assert result["failed"] and "g1: " in result["msg"] and B in result["msg"]
    assert {one["name"]: bool(one["error"]) for one in result["domains"]} == {"g1": True, "g2": False}
    assert any(f"{C} " in line and "from g2 to the pool" in line for line in result["log"])
    assert not host.repair().get("failed")
    assert host.settled({"g1": [A] if change == "more" else [], "g2": []}) == []
