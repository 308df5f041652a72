# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a guest ends: in good order it closes what is connected, and nothing else; without order it says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from simulated_xen.faults import BadFault, Faults
from simulated_xen.kernel import pcifront

NIC = "0000:01:00.0"
SECOND = "0000:02:00.0"
REQUEST = "/local/domain/1/control/shutdown"


async def connected(toolstack: Any) -> Any:
    """A guest with one device, a second one ready to be added; the guest as a domain."""
    toolstack.bind(NIC, SECOND)
    toolstack.grant(NIC, SECOND)
    toolstack.create(NIC)
    await toolstack.until_states(4, 4)
    return toolstack.host.domains.find("g1")


async def ended(toolstack: Any, guest: Any) -> list[str]:
    """Which states were written until the guest has ended and nobody does anything more."""
    start = len(toolstack.host.trace.entries)
    await toolstack.until(lambda: guest.shutdown is not None)
    await toolstack.settle()
    return [line for line in toolstack.written(start) if "/state " in line]


@pytest.mark.parametrize(("request_", "reason"), [("poweroff", "poweroff"), ("halt", "poweroff"), ("reboot", "reboot")])
def test_a_guest_that_is_asked_closes_its_connection(play: Any, request_: str, reason: str) -> None:
    async def script(toolstack: Any) -> None:
        guest = await connected(toolstack)
        toolstack.xs.write(REQUEST, request_)
        assert await ended(toolstack, guest) == ["D1 fe/state 5", "D0 be/state 5", "D1 fe/state 6", "D0 be/state 6"]
        assert (guest.shutdown, toolstack.xs.read(REQUEST)) == (reason, "")
        assert toolstack.of(0)[0] == "3", "pciback keeps the device until the domain is destroyed"
        await toolstack.host.domains.destroy(guest)
        await toolstack.until(lambda: not toolstack.host.kernel.backends)
        assert toolstack.states() == (6, None)

    play(script)


@pytest.mark.parametrize("who", ["g1", "0"])
def test_only_what_is_connected_is_closed(play: Any, who: str) -> None:
    async def script(toolstack: Any) -> None:
        guest = await connected(toolstack)
        step = {"g1": "frontend:8", "0": "backend:7"}[who]
        await Faults(toolstack.host).inject("silent", {"domain": who, "step": step})
        toolstack.add(SECOND)
        await toolstack.settle()
        before = toolstack.states()
        await guest.guest.obey("poweroff")
        assert await ended(toolstack, guest) == []
        assert toolstack.states() == before

    play(script)


def test_a_backend_that_does_not_answer_is_waited_for_a_while(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcifront, "SHUTDOWN_SECONDS", 0.05)

    async def script(toolstack: Any) -> None:
        guest = await connected(toolstack)
        await Faults(toolstack.host).inject("silent", {"domain": "0", "step": "backend:5"})
        await guest.guest.obey("poweroff")
        assert await ended(toolstack, guest) == ["D1 fe/state 5"]

    play(script)


def test_while_it_shuts_down_it_does_not_follow_a_toolstack(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        guest = await connected(toolstack)
        for word in ({"domain": "g1", "step": "guest:shutdown"}, {"domain": "0", "step": "backend:5"}):
            await Faults(toolstack.host).inject("silent", word)
        await guest.guest.obey("reboot")
        await Faults(toolstack.host).inject("resume", {"domain": "g1", "step": "guest:shutdown"})
        await toolstack.until_states(4, 5)
        toolstack.add(SECOND)
        await toolstack.until_states(7, 5)
        await Faults(toolstack.host).inject("resume", {"domain": "0", "step": "backend:5"})
        await toolstack.until_states(6, 6)

    play(script)


def test_a_paused_guest_shuts_down_when_it_goes_on(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        guest = await connected(toolstack)
        toolstack.host.domains.pause(guest, True)
        toolstack.xs.write(REQUEST, "poweroff")
        await toolstack.settle()
        assert (toolstack.xs.read(REQUEST), guest.shutdown) == ("poweroff", None)
        toolstack.host.domains.pause(guest, False)
        await ended(toolstack, guest)

    play(script)


def test_a_reset_says_nothing(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        guest = await connected(toolstack)
        await guest.guest.obey("reset")
        assert await ended(toolstack, guest) == []
        assert (guest.shutdown, toolstack.states()) == ("reboot", (4, 4))

    play(script)


@pytest.mark.parametrize("first", ["poweroff", "reset"])
def test_a_guest_ends_once(play: Any, first: str) -> None:
    async def script(toolstack: Any) -> None:
        guest = await connected(toolstack)
        reasons: list[str] = []
        guest.guest.on_end = reasons.append
        for how in (first, "reset", "poweroff"):
            await guest.guest.obey(how)
            await toolstack.until(lambda: reasons != [])
            await toolstack.settle()
        assert len(reasons) == 1

    play(script)


@pytest.mark.parametrize("kind", ["hvm", "pvh"])
def test_a_guest_without_pcifront_has_nothing_to_close(play: Any, kind: str) -> None:
    async def script(toolstack: Any) -> None:
        guest = toolstack.host.domains.find("g1")
        toolstack.xs.write(REQUEST, "poweroff")
        assert await ended(toolstack, guest) == []
        assert toolstack.xs.read(REQUEST) == ""

    play(script, {"type": kind})


def test_it_begins_to_end_at_a_step_before_that_goes_on(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        guest = await connected(toolstack)
        faults = Faults(toolstack.host)
        with pytest.raises(BadFault, match="not sleep"):
            await faults.inject("end-at", {"domain": "g1", "step": "frontend:7", "how": "sleep"})
        await faults.inject("end-at", {"domain": "g1", "step": "frontend:7", "how": "reboot"})
        toolstack.add(SECOND)
        assert await ended(toolstack, guest) == ["D1 fe/state 5", "D0 be/state 5", "D1 fe/state 6", "D0 be/state 6"]

    play(script)
