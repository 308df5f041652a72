# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine against the simulated host: what works, what is refused, what fails, and what is left then."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from engine_host import QUARANTINE, SHORT, TWINS, A, B, C, D, Simulated, eventually, wants

from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

# ---- what works


def test_a_first_device(host: Simulated) -> None:
    run = host.run(wants("g1", A))
    assert run.changed
    assert run.domains["g1"].error == ""
    assert run.domains["g1"].connected == run.domains["g1"].after == [A]
    assert run.domains["g1"].states == [4, 4]
    host.has("g1", A)


def test_first_devices_at_once_are_one_cycle(host: Simulated) -> None:
    run = host.run(wants("g1", A, B, *TWINS))
    assert run.domains["g1"].cycles == [{"added": [A, B, *TWINS], "removed": []}]
    host.has("g1", A, B, *TWINS)


def test_more_devices_at_once_are_one_cycle(host: Simulated) -> None:
    host.run(wants("g1", A))
    run = host.run(wants("g1", B, C, D))
    assert run.domains["g1"].error == ""
    assert run.domains["g1"].cycles == [{"added": [B, C, D], "removed": []}]
    assert run.domains["g1"].connected == [A, B, C, D]
    host.has("g1", A, B, C, D)


def test_adding_and_removing_together_is_one_cycle(host: Simulated) -> None:
    host.run(wants("g1", A, B, C))
    run = host.run(wants("g1", D, B, exclusive=True))
    assert run.domains["g1"].error == ""
    assert run.domains["g1"].cycles == [{"added": [D], "removed": [A, C]}]
    host.has("g1", B, D)
    assert {host.owner(A), host.owner(C)} == {QUARANTINE}


def test_the_last_device_takes_the_connection_along_and_a_new_one_can_follow(host: Simulated) -> None:
    host.run(wants("g1", A))
    run = host.run(wants("g1", exclusive=True))
    assert (run.changed, run.domains["g1"].error, run.domains["g1"].after) == (True, "", [])
    host.has("g1")
    assert host.owner(A) == QUARANTINE
    assert host.run(wants("g1", A)).domains["g1"].error == ""
    host.has("g1", A)


def test_what_is_as_declared_is_left_alone(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    before = host.acts()
    run = host.run(wants("g1", B, A, exclusive=True), wants("g2", C, present=False))
    assert (run.changed, run.domains["g1"].error, run.domains["g2"].error) == (False, "", "")
    assert host.acts() == before


def test_a_device_moves_between_domains_in_one_run(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    run = host.run(wants("g2", A), wants("g1", B, exclusive=True))
    assert [run.domains[name].error for name in ("g1", "g2")] == ["", ""]
    host.has("g1", B)
    host.has("g2", A)


def test_two_domains_swap_their_only_devices(host: Simulated) -> None:
    host.run(wants("g1", A), wants("g2", B))
    run = host.run(wants("g1", B, exclusive=True), wants("g2", A, exclusive=True))
    assert [run.domains[name].error for name in ("g1", "g2")] == ["", ""]
    host.has("g1", B)
    host.has("g2", A)


def test_a_device_is_reset_on_its_way_between_guests_and_not_twice(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    trace = len(host.acts())
    host.run(wants("g2", A), wants("g1", B, exclusive=True))
    ours = [line for line in host.acts()[trace:] if "reset" in line and A in line]
    assert ours, "given to another guest without a reset"


def test_before_a_guest_can_see_a_device_it_has_all_rights(host: Simulated) -> None:
    host.run(wants("g1", A))
    acts = host.trace()
    assigned = next(number for number, line in enumerate(acts) if f"assign {A} 1" in line)
    asked = next(number for number, line in enumerate(acts) if "/backend/pci/1/0/state 1" in line)
    assert assigned < asked
    host.run(wants("g1", B))
    host.run(wants("g1", B, exclusive=True))
    acts = host.trace()
    taken = max(number for number, line in enumerate(acts) if f"deassign {A} 1" in line)
    let_go = max(number for number, line in enumerate(acts) if "/backend/pci/1/0/state 8" in line)
    assert let_go < taken


def test_a_reset_begins_when_pciback_has_let_go_and_ends_before_xen_takes_the_device(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    before = len(host.trace())
    host.run(wants("g1", B, exclusive=True))
    acts = host.trace()[before:]
    let_go = next(number for number, line in enumerate(acts) if "/backend/pci/1/0/state 8" in line)
    # pciback's own reset comes before it lets go, ours after it.
    own, ours = (number for number, line in enumerate(acts) if line.split()[1:] == ["reset", A])
    taken = next(number for number, line in enumerate(acts) if f"deassign {A} 1" in line)
    assert own < let_go < ours < taken


def test_a_domain_that_another_toolstack_has_locked_holds_up_no_other(host: Simulated) -> None:
    lock = host.lock("g1")

    def release_behind_the_other() -> None:
        try:
            eventually(lambda: bool(host.guest("g2")["devices"]))
        finally:
            os.close(lock)

    with ThreadPoolExecutor() as pool:
        watching = pool.submit(release_behind_the_other)
        run = host.run(wants("g1", A), wants("g2", B))
        watching.result()
    assert [run.domains[name].error for name in ("g1", "g2")] == ["", ""]
    host.has("g1", A)
    host.has("g2", B)


def test_a_busy_store_delays_and_does_no_harm(host: Simulated) -> None:
    host.inject("conflicts", count=20)
    assert host.run(wants("g1", A, B)).domains["g1"].error == ""
    host.has("g1", A, B)


@pytest.mark.parametrize("step", ["backend:export", "backend:8", "frontend:7", "frontend:4"])
def test_a_slow_side_is_waited_for(host: Simulated, step: str) -> None:
    host.run(wants("g1", A))
    host.inject("late", domain="0" if step.startswith("backend") else "g1", step=step, seconds=0.2)
    assert host.run(wants("g1", B, C, exclusive=True)).domains["g1"].error == ""
    host.has("g1", B, C)


def test_active_means_that_the_guests_driver_runs(host: Simulated) -> None:
    run = host.run(wants("g1", A, B), level="active")
    assert run.domains["g1"].error == ""
    assert run.domains["g1"].active == [A, B]
    host.inject("driver", domain="g2", manner="refuse", device=C)
    run = host.run(wants("g2", C, D), level="active", timeout=6.0)
    assert C in run.domains["g2"].error and D not in run.domains["g2"].error
    assert "driver" in run.domains["g2"].error
    host.has("g2", C, D)


# ---- what is refused


def test_a_refused_plan_touches_nothing(host: Simulated) -> None:
    host.run(wants("g2", D))
    before = host.trace()
    run = host.run(wants("g1", A, D), wants("g2", "0000:00:1c.0"), wants("g4", B))
    assert len(run.refused) == 3
    assert host.trace() == before


@pytest.mark.parametrize("recorded", [True, False])
def test_a_domain_created_without_passthrough_is_refused_before_anything_is_touched(
    host: Simulated, recorded: bool
) -> None:
    host.ask("create", config={"name": "g4", "passthrough": False})
    if not recorded:
        host.forget_creation("g4")  # another toolstack's domain: only Xen knows
    before = host.trace()
    run = host.run(wants("g4", A), wants("g1", B))
    assert len(run.refused) == 1
    assert "g4" in run.refused[0] and "passthrough" in run.refused[0]
    assert "without IOMMU use" in run.refused[0]
    assert host.trace() == before


def test_a_stored_configuration_that_cannot_be_read_is_told_and_nothing_is_attached(host: Simulated) -> None:
    guest = host.guest("g1")
    good = host.record(guest).read_bytes()
    host.record(guest).write_text("{")
    run = host.run(wants("g1", A))
    assert "libxl-json" in run.domains["g1"].error and not run.changed
    assert host.record(guest).read_text() == "{"
    host.record(guest).write_bytes(good)
    host.has("g1")
    assert host.owner(A) == QUARANTINE


def test_a_domain_of_another_toolstack_gets_devices_without_a_stored_configuration(host: Simulated) -> None:
    host.forget_creation("g1")
    assert host.run(wants("g1", A, B)).domains["g1"].error == ""
    assert host.run(wants("g1", B, exclusive=True)).domains["g1"].error == ""
    assert not host.record(host.guest("g1")).exists()


# ---- what fails, and what is left then


def test_a_guest_without_a_frontend_is_left_as_it_was(host: Simulated) -> None:
    run = host.run(wants("g3", A, B), timeout=SHORT)
    assert "pcifront" in run.domains["g3"].error and "g3" in run.domains["g3"].error
    assert (run.changed, run.domains["g3"].after) == (False, [])
    host.has("g3")
    host.ask("load-pcifront", domain="g3")
    assert host.run(wants("g3", A, B)).domains["g3"].error == ""
    host.has("g3", A, B)


CHANGES: dict[str, dict[str, Any]] = {
    "add": wants("g1", A, B, C),
    "remove": wants("g1", A, exclusive=True),
    "both": wants("g1", A, C, exclusive=True),
    "close": wants("g1", exclusive=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_paused_guest_keeps_what_it_has_and_wakes_up_unharmed(host: Simulated, change: dict[str, Any]) -> None:
    host.run(wants("g1", A, B))
    before = {path: value for path, value in host.nodes().items() if "/pci/" in path}
    host.pause("g1")
    run = host.run(change, timeout=SHORT)
    assert "paused" in run.domains["g1"].error
    assert (run.changed, run.domains["g1"].after) == (False, [A, B])
    assert {path: value for path, value in host.nodes().items() if "/pci/" in path} == before
    assert host.owner(C) in (0, QUARANTINE)
    host.pause("g1", False)
    host.has("g1", A, B)
    assert host.run(change).domains["g1"].error == ""
    host.has("g1", *(change["devices"]))


def test_a_first_device_for_a_paused_guest_is_taken_back(host: Simulated) -> None:
    host.pause("g1")
    run = host.run(wants("g1", A), timeout=SHORT)
    assert "g1" in run.domains["g1"].error
    assert host.owner(A) in (0, QUARANTINE)
    host.pause("g1", False)
    host.has("g1")
    assert host.run(wants("g1", A)).domains["g1"].error == ""
    host.has("g1", A)


@pytest.mark.parametrize("bad", [B, C, D])
def test_a_device_that_pciback_refuses_costs_the_guest_nothing(host: Simulated, bad: str) -> None:
    host.run(wants("g1", A))
    host.inject("refuse-export", device=bad)
    run = host.run(wants("g1", B, C, D))
    assert "pciback" in run.domains["g1"].error
    assert (run.domains["g1"].after, run.domains["g1"].states) == ([A], [4, 4])
    host.has("g1", A)
    host.inject("refuse-export", device=bad, refuse=False)
    assert host.run(wants("g1", B, C, D)).domains["g1"].error == ""
    host.has("g1", A, B, C, D)


def test_removals_stay_done_when_pciback_refuses_the_adds(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    host.inject("refuse-export", device=D)
    run = host.run(wants("g1", B, C, D, exclusive=True))
    assert "pciback" in run.domains["g1"].error
    assert run.domains["g1"].after == [B]
    host.has("g1", B)
    assert host.owner(A) == QUARANTINE


def test_a_first_device_that_pciback_refuses_leaves_nothing(host: Simulated) -> None:
    host.inject("refuse-export", device=B)
    run = host.run(wants("g1", A, B))
    assert "pciback" in run.domains["g1"].error
    host.has("g1")
    assert host.run(wants("g1", A)).domains["g1"].error == ""
    host.has("g1", A)


def test_a_device_that_xen_refuses_leaves_no_right_behind(host: Simulated) -> None:
    host.run(wants("g1", A))
    host.inject("broken", device=C)
    run = host.run(wants("g1", B, C))
    assert C in run.domains["g1"].error
    assert (run.changed, run.domains["g1"].cycles) == (False, [])
    host.has("g1", A)
    host.inject("broken", device=C, broken=False)
    assert host.run(wants("g1", B, C)).domains["g1"].error == ""
    host.has("g1", A, B, C)


def test_a_reset_that_fails_stops_an_add_before_anything_is_given(host: Simulated) -> None:
    host.inject("reset-fails", device=B)
    run = host.run(wants("g1", A, B))
    assert B in run.domains["g1"].error
    host.has("g1")


def test_a_reset_that_fails_after_a_removal_is_told_and_the_guest_keeps_no_right(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    host.inject("reset-fails", device=B)
    run = host.run(wants("g1", A, exclusive=True))
    assert B in run.domains["g1"].error
    host.has("g1", A)
    assert host.owner(B) == QUARANTINE


def test_a_move_from_a_guest_that_does_not_let_go_changes_neither(host: Simulated) -> None:
    host.run(wants("g1", A, B), wants("g2", C))
    host.pause("g1")
    run = host.run(wants("g2", A, D), wants("g1", B, exclusive=True), timeout=SHORT)
    assert "paused" in run.domains["g1"].error
    assert A in run.domains["g2"].error and "g1" in run.domains["g2"].error
    host.pause("g1", False)
    host.has("g1", A, B)
    host.has("g2", C)


def test_one_domain_that_fails_holds_up_no_other(host: Simulated) -> None:
    run = host.run(wants("g3", A), wants("g1", B), wants("g2", C), timeout=6.0)
    assert [bool(run.domains[name].error) for name in ("g1", "g2", "g3")] == [False, False, True]
    host.has("g1", B)
    host.has("g2", C)
    host.has("g3")


DEATHS: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "first device": ([], wants("g1", B), "frontend:1"),
    "more devices": ([A], wants("g1", B), "frontend:7"),
    "last device": ([B], wants("g1", exclusive=True), "frontend:5"),
}


@pytest.mark.parametrize(("before", "change", "step"), DEATHS.values(), ids=DEATHS)
def test_a_guest_that_dies_in_the_cycle_is_told_as_dead_and_keeps_nothing(
    host: Simulated, before: list[str], change: dict[str, Any], step: str
) -> None:
    if before:
        host.run(wants("g1", *before))
    host.inject("die-at", domain="g1", step=step)
    run = host.run(change, wants("g2", C), timeout=20.0)
    assert "died" in run.domains["g1"].error
    assert run.domains["g2"].error == ""
    host.has("g2", C)
    assert host.owner(B) in (0, QUARANTINE)
    # xl hands no device out that is marked as taken.
    assert f"/libxl/pci/{Sbdf.parse(B).libxl_key}/domid" not in host.nodes()


def test_a_toolstack_that_is_faster_is_noticed_at_the_commit(host: Simulated) -> None:
    host.run(wants("g1", A, B), wants("g2", C))
    # While g2 waits for A, somebody else marks its device for removal.
    node = "/local/domain/0/backend/pci/2/0/state-0"
    host.inject("write-at", domain="g1", step="frontend:7", path=node, value="5")
    run = host.run(wants("g2", A), wants("g1", B, exclusive=True))
    assert "another toolstack" in run.domains["g2"].error
    assert run.domains["g1"].error == ""
    host.has("g1", B)
    assert host.owner(A) == QUARANTINE
    assert host.windows_given(2) == host.windows_of([C])
    assert host.nodes()[node] == "5"
