# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault has the effect that its description promises, and ends when it is told to."""

from __future__ import annotations

from typing import Any

import pytest

from simulated_xen.faults import BadFault, Faults

NIC = "0000:01:00.0"
SECOND = "0000:02:00.0"
BACKEND = "/local/domain/0/backend/pci/1/0"


async def connected(toolstack: Any) -> Faults:
    """A guest with one device, a second one ready to be added."""
    toolstack.bind(NIC, SECOND)
    toolstack.grant(NIC, SECOND)
    toolstack.create(NIC)
    await toolstack.until_states(4, 4)
    return Faults(toolstack.host)


@pytest.mark.parametrize(
    ("domain", "step", "states"),
    [
        ("g1", "frontend:7", (7, 4)),
        ("0", "backend:7", (7, 7)),
        ("0", "backend:export", (7, 7)),
        ("g1", "frontend:8", (8, 7)),
        ("g1", "guest:bind", (8, 7)),
        ("0", "backend:4", (8, 4)),
    ],
)
def test_a_side_that_is_silent_at_a_step(play: Any, domain: str, step: str, states: tuple[int, int]) -> None:
    async def script(toolstack: Any) -> None:
        faults = await connected(toolstack)
        await faults.inject("silent", {"domain": domain, "step": step})
        toolstack.add(SECOND)
        await toolstack.until_states(*states)
        await faults.inject("resume", {"domain": domain, "step": step})
        await toolstack.until_states(4, 4)
        assert toolstack.of(1)[0] == "3"

    play(script)


def test_a_side_that_is_late_arrives(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        faults = await connected(toolstack)
        await faults.inject("late", {"domain": "g1", "step": "frontend:8", "seconds": 0.05})
        toolstack.add(SECOND)
        await toolstack.until(lambda: toolstack.states() == (8, 7))
        await toolstack.until_states(4, 4)

    play(script)


@pytest.mark.parametrize("step", ["frontend:7", "frontend:8", "guest:bind"])
def test_a_guest_that_dies_at_a_step_leaves_the_devices_to_dom0(play: Any, step: str) -> None:
    async def script(toolstack: Any) -> None:
        faults = await connected(toolstack)
        await faults.inject("die-at", {"domain": "g1", "step": step})
        toolstack.add(SECOND)
        await toolstack.until(lambda: 1 not in toolstack.host.domains.running)
        await toolstack.until(lambda: not toolstack.host.kernel.backends)
        assert all(held.owner is None for held in toolstack.host.pciback.held.values())

    play(script)


def test_a_guest_that_reboots_is_another_domain(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        faults = await connected(toolstack)
        await faults.inject("reboot-at", {"domain": "0", "step": "backend:7", "victim": "g1"})
        toolstack.add(SECOND)
        await toolstack.until(lambda: toolstack.host.domains.find("g1").domid != 1)
        assert 1 not in toolstack.host.domains.running

    play(script)


def test_a_guest_that_is_paused_at_a_step_goes_on_later(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        faults = await connected(toolstack)
        await faults.inject("pause-at", {"domain": "0", "step": "backend:7", "victim": "g1"})
        toolstack.add(SECOND)
        await toolstack.until_states(8, 7)
        toolstack.host.domains.pause(toolstack.host.domains.find("g1"), False)
        await toolstack.until_states(4, 4)

    play(script)


def test_somebody_else_writes_in_the_middle(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        faults = await connected(toolstack)
        write = {"path": f"{BACKEND}/online", "value": "0"}
        await faults.inject("write-at", {"domain": "g1", "step": "frontend:7", **write})
        toolstack.add(SECOND)
        await toolstack.until_states(4, 4)
        assert toolstack.xs.read(f"{BACKEND}/online") == "0"

    play(script)


@pytest.mark.parametrize(
    ("manner", "states", "driver"),
    [("bind", (4, 4), "e1000e"), ("refuse", (4, 4), None), ("hang", (8, 7), None), ("crash", (8, 7), None)],
)
def test_manners_of_a_driver(play: Any, manner: str, states: tuple[int, int], driver: str | None) -> None:
    async def script(toolstack: Any) -> None:
        faults = await connected(toolstack)
        await faults.inject("driver", {"domain": "g1", "manner": manner, "device": SECOND})
        toolstack.add(SECOND)
        if states == (4, 4):
            await toolstack.until(lambda: toolstack.of(1)[0] == "3")
        await toolstack.until_states(*states)
        kernel = toolstack.host.domains.running[1].kernel
        found = [seen.driver for seen in kernel.devices.values() if str(seen.device) == SECOND]
        assert found == [driver]

    play(script)


def test_a_driver_that_keeps_its_device(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        faults = await connected(toolstack)
        await faults.inject("driver", {"domain": "g1", "manner": "keep"})
        toolstack.mark(0)
        await toolstack.until_states(7, 4)
        await faults.inject("driver", {"domain": "g1", "manner": "bind"})
        await faults.inject("resume", {"domain": "g1", "step": f"guest:{NIC}"})
        await toolstack.until_states(4, 4)
        assert toolstack.guest_sees() == {}

    play(script)


def test_pciback_refuses_one_device(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        faults = await connected(toolstack)
        await faults.inject("refuse-export", {"device": SECOND})
        toolstack.add(SECOND)
        await toolstack.until_states(5, 7)

    play(script)


def test_faults_of_devices_can_be_taken_back(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        faults = Faults(toolstack.host)
        device = toolstack.host.bus.find(NIC)
        await faults.inject("reset-fails", {"device": NIC})
        with pytest.raises(OSError):
            toolstack.host.bus.reset(device, "dom0")
        await faults.inject("reset-fails", {"device": NIC, "fails": False})
        toolstack.host.bus.reset(device, "dom0")
        await faults.inject("broken", {"device": NIC})
        with pytest.raises(OSError):
            toolstack.host.hypervisor.assign(1, device.address.sbdf)
        await faults.inject("broken", {"device": NIC, "broken": False})
        toolstack.host.hypervisor.assign(1, device.address.sbdf)

    play(script)


def test_what_makes_no_sense_is_refused(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        faults = Faults(toolstack.host)
        for name, arguments, part in (
            ("earthquake", {}, "no fault earthquake"),
            ("late", {"domain": "g1"}, "seconds"),
            ("driver", {"domain": "g1", "manner": "sulk"}, "not sulk"),
            ("reset-fails", {"device": "0000:77:00.0"}, "no device"),
            ("aer", {"domain": "g1"}, "no PCI backend"),
        ):
            with pytest.raises(BadFault, match=part):
                await faults.inject(name, arguments)

    play(script)
