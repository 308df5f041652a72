# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest ends while its devices change: by itself or by xl, in good order or not; or it ends and is kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from changes import CHANGES, SLOW, each_step
from refusal_codes import codes_in
from scenarios import SHORT, Meanwhile, Scenario, finish, inject, lists, nothing, only, perform, recover
from simulated import A, B, Host, marker

ENDS = {"shuts down": "poweroff", "reboots": "reboot", "is reset": "reset"}


def ends_by_itself() -> list[Scenario]:
    """Then xl takes the devices, and builds the guest anew if that reboots. A guest closes only what is connected, so
    at some steps it goes without a word."""
    found = []
    for change, who, where in each_step():
        before, after = CHANGES[change]
        for verb, how in ENDS.items():
            found.append(
                Scenario(
                    name=f"{change}: the guest {verb} at {where}",
                    before=before,
                    after=after,
                    disturb=inject("end-at", domain=who, step=where, how=how, victim="g1"),
                    calm=Host.rest,
                    outcomes=("ok", "error"),
                    says=("guest",),
                    again=how != "poweroff",
                )
            )
    return found


ENDINGS = ends_by_itself()


@pytest.mark.parametrize("scenario", ENDINGS, ids=[scenario.name for scenario in ENDINGS])
def test_a_guest_ends_by_itself(host: Host, scenario: Scenario, record_property: Callable[[str, object], None]) -> None:
    perform(host, scenario, record_property)


@pytest.mark.parametrize("command", ["reboot", "shutdown", "save"])
@pytest.mark.parametrize("change", SLOW)
def test_xl_takes_the_guest_away_in_the_middle(
    host: Host, change: str, command: str, record_property: Callable[[str, object], None]
) -> None:
    """A saved guest is as gone as one that migrated. What our run says was true when it said it; what xl leaves of a
    guest that it could not empty (a connection, a marker) is repaired, and the guest that comes back gets its devices.
    xl itself may crash, since it reads a connection node by node while we change it: then the guest stays.
    """
    record_property("scenario", f"{change}: xl {command} in the middle")
    before, after = CHANGES[change]
    step, state = SLOW[change]
    assert not host.devices(**lists(before)).get("failed")
    slow = inject("late", domain="0", step=f"backend:{step}", seconds=0.5)
    words = (command, "g1", *([str(host.directory / "saved")] if command == "save" else []))
    scenario = Scenario(
        change, before, after, slow, lambda host: host.xl(*words), ("/local/domain/0/backend/pci/1/0/state", state)
    )
    slow(host)
    helper = Meanwhile(host, scenario)
    result = host.devices(SHORT, **lists(after))
    helper.join()
    record_property("happened", result.get("msg", "ok")[:150])
    assert not result.get("failed") or "g1" in result["msg"]
    inject("late", domain="0", step=f"backend:{step}", seconds=0)(host)
    host.rest()
    recover(host)
    if any(domain["name"] == "g1" for domain in host.ask("list")):
        finish(host, scenario, after)
    assert host.settled(only(after, {domain["name"] for domain in host.ask("list")})) == []
    assert [one["fault"] for one in host.repair(check=True)["findings"] if one["fault"] != "leaked_hold"] == []


@pytest.mark.parametrize("stub", [False, True], ids=["", "stub domain"])
@pytest.mark.parametrize("change", ["add", "remove"])
@pytest.mark.parametrize(("verb", "how"), ENDS.items(), ids=ENDS)
def test_an_hvm_guest_ends_by_itself(
    host: Host, change: str, verb: str, how: str, stub: bool, record_property: Callable[[str, object], None]
) -> None:
    """It has nothing to close. While it is given a device, or just before it is asked to let one go."""
    domid = host.ask("create", config={"name": "h1", "type": "hvm", "stubdomain": stub})["domid"]

    def ends(host: Host) -> None:
        host.ask("end", domain="h1", how=how)

    adding = change == "add"
    scenario = Scenario(
        name=f"HVM{', stub domain' if stub else ''}, {change}: the guest {verb}",
        before={"h1": [A] if adding else [A, B]},
        after={"h1": [A, B] if adding else [A]},
        disturb=nothing if adding else ends,
        meanwhile=ends if adding else None,
        when=(marker(B), str(domid)),
        calm=Host.rest,
        outcomes=("ok", "error", "refused"),
        again=how != "poweroff",
    )
    perform(host, scenario, record_property)


def test_a_guest_that_has_shut_down_and_is_kept(host: Host, record_property: Callable[[str, object], None]) -> None:
    """on_poweroff = "preserve". It answers nothing any more; a repair gives its devices back to the pool."""
    record_property("scenario", "a guest that has shut down and is kept")
    host.ask("create", config={"name": "g4", "on_poweroff": "preserve"})
    assert not host.devices(g4=[A]).get("failed")
    host.ask("end", domain="g4", how="poweroff")
    host.rest()
    for devices in ([A, B], [B], []):
        closed = host.devices(SHORT, g4=devices)
        assert codes_in(closed) == [("closed_connection", "g4")]
    record_property("happened", closed["msg"])
    assert [one["fault"] for one in host.repair()["left"]] == ["left_rights"], "it does not connect again"
    recover(host)
    assert host.settled({}) == []
    vain = host.devices(SHORT, g4=[A])
    assert vain["failed"] and not vain["changed"]
    host.xl("destroy", "g4")
    assert host.settled({}) == []
    assert host.repair(check=True)["findings"] == []
