# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pciback and pcifront: what a toolstack sees of each state machine (protocol.md sections 2.1 to 2.7)."""

from __future__ import annotations

from typing import Any

import pytest

BACKEND = "/local/domain/0/backend/pci/1/0"
FRONTEND = "/local/domain/1/device/pci/0"
ERROR = "/local/domain/0/error/backend/pci/1/0/error"


async def connected(toolstack: Any, *addresses: str) -> int:
    """Attach the first devices; where the trace stands afterwards."""
    toolstack.bind(*addresses)
    toolstack.grant(*addresses)
    toolstack.create(*addresses)
    await toolstack.until_states(4, 4)
    return len(toolstack.host.trace.entries)


def test_first_devices_in_the_order_of_linux(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0", "0000:02:00.0")
        lines = toolstack.written()
        assert [line for line in lines if line.startswith("D0 ")] == [
            "D0 be/state 2",
            "D0 be/vdev-0 0000:00:00.00",
            "D0 be/state-0 3",
            "D0 be/vdev-1 0000:00:01.00",
            "D0 be/state-1 3",
            "D0 be/root-0 0000:00",
            "D0 be/root_num 1",
            "D0 be/state 3",
            "D0 be/state 4",
        ]
        assert [line for line in lines if line.startswith("D1 ")] == [
            "D1 fe/pci-op-ref 8",
            "D1 fe/event-channel 8",
            "D1 fe/magic 7",
            "D1 fe/state 3",
            "D1 fe/state 4",
        ]
        in_turn = ["D1 fe/state 3", "D0 be/state 4", "D1 fe/state 4"]
        assert sorted(in_turn, key=lines.index) == in_turn, "the kernels wait for each other"
        assert toolstack.guest_sees() == {"0000:00:00.0": "0000:01:00.0", "0000:00:01.0": "0000:02:00.0"}

    play(script)


def test_a_hot_add_as_on_the_lab(play: Any) -> None:
    """The order of traces/xl-hotadd-hotremove.txt, attach2-hotadd."""

    async def script(toolstack: Any) -> None:
        start = await connected(toolstack, "0000:01:00.0")
        toolstack.bind("0000:02:00.0")
        toolstack.grant("0000:02:00.0")
        toolstack.add("0000:02:00.0")
        await toolstack.until_states(4, 4)
        assert [line for line in toolstack.written(start) if not line.startswith("A1")] == [
            "D1 fe/state 7",
            "D0 be/vdev-1 0000:00:01.00",
            "D0 be/state-1 3",
            "D0 be/state 8",
            "D1 fe/state 4",
            "D0 be/state 4",
        ]

    play(script)


def test_a_hot_removal_leaves_the_nodes(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        start = await connected(toolstack, "0000:01:00.0", "0000:02:00.0")
        toolstack.mark(0)
        await toolstack.until_states(4, 4)
        assert [line for line in toolstack.written(start) if not line.startswith("A1")] == [
            "D1 fe/state 7",
            "D0 be/state 8",
            "D1 fe/state 4",
            "D0 be/state 4",
        ]
        assert toolstack.of(0) == ("5", "0000:00:00.00")
        assert toolstack.guest_sees() == {"0000:00:01.0": "0000:02:00.0"}
        toolstack.drop(0)
        assert toolstack.of(0) == ("3", "0000:00:01.00")

    play(script)


def test_adds_and_removals_in_one_cycle_reuse_the_slot(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0", "0000:02:00.0")
        toolstack.bind("0000:03:00.0")
        toolstack.grant("0000:03:00.0")
        toolstack.xs.write(f"{BACKEND}/state-0", 5)
        toolstack.add("0000:03:00.0")
        await toolstack.until_states(4, 4)
        assert toolstack.of(2) == ("3", "0000:00:00.00")
        assert toolstack.guest_sees() == {"0000:00:00.0": "0000:03:00.0", "0000:00:01.0": "0000:02:00.0"}

    play(script)


def test_functions_of_a_slot_stay_together(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0", "0000:00:08.1", "0000:00:08.0")
        assert [toolstack.of(number)[1] for number in range(3)] == [
            "0000:00:00.00",
            "0000:00:01.01",
            "0000:00:01.00",
        ]

    play(script)


@pytest.mark.parametrize(
    ("linux", "expected", "seen"),
    [
        ("6.1", ["0000:00:00.01", "0000:00:00.02"], ["0000:00:00.1", "0000:00:00.2"]),
        # Before 5.14 each VF has a slot of its own and is published as function 0, where it does not answer.
        ("5.13", ["0000:00:00.00", "0000:00:01.00"], ["0000:00:00.1", "0000:00:01.2"]),
    ],
)
def test_virtual_functions_are_placed_as_linux_does(
    play: Any, linux: str, expected: list[str], seen: list[str]
) -> None:
    async def script(toolstack: Any) -> None:
        physical = toolstack.host.bus.find("0000:05:00.0")
        toolstack.host.bus.set_numvfs(physical, 2)
        await connected(toolstack, "0000:05:00.1", "0000:05:00.2")
        assert [toolstack.of(number)[1] for number in range(2)] == expected
        assert list(toolstack.guest_sees()) == seen

    play(script, linux=linux)


def test_a_virtual_function_0_stays_alone(play: Any) -> None:
    """Guests would take it for a multi-function device and look for the others."""
    machine = [{"at": "3b:00.0", "model": "i40e", "mac": "52:54:00:3b:00:00"}]

    async def script(toolstack: Any) -> None:
        toolstack.host.bus.set_numvfs(toolstack.host.bus.find("0000:3b:00.0"), 3)
        await connected(toolstack, "0000:3b:02.0", "0000:3b:02.1", "0000:3b:02.2")
        expected = ["0000:00:00.00", "0000:00:01.01", "0000:00:01.02"]
        assert [toolstack.of(number)[1] for number in range(3)] == expected

    play(script, devices=machine)


def test_a_device_unbound_under_a_guest_cannot_be_removed_from_it(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0", "0000:02:00.0")
        toolstack.host.bus.unbind(toolstack.host.bus.find("0000:01:00.0"))
        toolstack.mark(0)
        await toolstack.until_states(7, 7)
        assert toolstack.xs.read(ERROR) is None

    play(script)


def test_passthrough_mode_shows_host_addresses_and_several_roots(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0", "0000:02:00.0")
        assert toolstack.of(1) == ("3", "0000:02:00.00")
        assert toolstack.xs.read(f"{BACKEND}/root-0") == "0000:01"
        assert toolstack.xs.read(f"{BACKEND}/root-1") == "0000:02"
        assert toolstack.xs.read(f"{BACKEND}/root_num") == "2"

    play(script, passthrough=True)


def test_the_33rd_slot_is_fatal_and_its_device_is_leaked(play: Any) -> None:
    many = [{"at": f"{bus:02x}:00.0", "model": "edu"} for bus in range(1, 34)]

    async def script(toolstack: Any) -> None:
        names = [f"0000:{bus:02x}:00.0" for bus in range(1, 34)]
        await connected(toolstack, *names[:32])
        toolstack.bind(names[32])
        toolstack.add(names[32])
        await toolstack.until_states(5, 7)
        assert toolstack.xs.read(ERROR) == "12 No more space on root virtual PCI bus"
        held = toolstack.host.pciback.held[toolstack.host.bus.find(names[32]).address]
        assert held.owner == 1, "Linux does not put it back"

    play(script, devices=many)


# -- failures ----------------------------------------------------------------------------------------


async def bad_batch(toolstack: Any) -> None:
    """Three devices in one cycle, of which the second is not bound to pciback."""
    await connected(toolstack, "0000:01:00.0")
    toolstack.bind("0000:02:00.0", "0000:00:09.0")
    toolstack.grant("0000:02:00.0", "0000:00:09.0")
    toolstack.add("0000:02:00.0", "0000:03:00.0", "0000:00:09.0")
    await toolstack.until_states(5, 7)


def test_an_unbound_device_is_fatal_in_the_middle_of_a_batch(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await bad_batch(toolstack)
        assert [toolstack.of(number)[0] for number in range(4)] == ["3", "3", "1", "1"]
        assert toolstack.of(2)[1] is None
        assert toolstack.xs.read(ERROR) == "22 Couldn't locate PCI device (0000:03:00.0)! perhaps already in-use?"

    play(script)


def test_recovery_r1_from_a_fatal(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await bad_batch(toolstack)
        toolstack.drop(3)
        toolstack.drop(2)
        toolstack.xs.write_all({f"{BACKEND}/state": 7, f"{FRONTEND}/state": 7})
        await toolstack.until_states(4, 4)
        assert set(toolstack.guest_sees().values()) == {"0000:01:00.0", "0000:02:00.0"}

    play(script)


def test_a_device_of_another_guest_is_fatal(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0")
        toolstack.bind("0000:02:00.0")
        toolstack.host.pciback.take_for(toolstack.host.bus.find("0000:02:00.0").address, 2)
        toolstack.add("0000:02:00.0")
        await toolstack.until_states(5, 7)

    play(script)


def test_a_stale_5_is_silent_and_dropping_its_entry_repairs_it(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0", "0000:02:00.0")
        toolstack.mark(0)
        await toolstack.until_states(4, 4)
        # The toolstack dies here; the next one adds a device without compaction.
        toolstack.bind("0000:03:00.0")
        toolstack.grant("0000:03:00.0")
        toolstack.add("0000:03:00.0")
        await toolstack.until_states(7, 7)
        assert toolstack.xs.read(ERROR) is None
        assert toolstack.of(2)[0] == "1", "the walk ended at the stale entry"
        toolstack.drop(0)
        toolstack.xs.write(f"{FRONTEND}/state", 7)
        await toolstack.until_states(4, 4)
        assert toolstack.of(1)[0] == "3"

    play(script)


def test_a_removal_without_vdev_makes_both_ends_close(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0", "0000:02:00.0")
        toolstack.xs.remove(f"{BACKEND}/vdev-0")
        toolstack.mark(0)
        await toolstack.until(lambda: toolstack.states()[0] in (5, 6))
        await toolstack.settle()
        error = toolstack.xs.read("/local/domain/1/error/device/pci/0/error")
        assert error == "2 Error reading PCI device 0"
        assert toolstack.states() == (5, 5)

    play(script)


def test_a_paused_guest_leaves_7_and_4_and_r3_withdraws(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0")
        domain = toolstack.host.domains.running[1]
        toolstack.host.domains.pause(domain, True)
        toolstack.bind("0000:02:00.0")
        toolstack.grant("0000:02:00.0")
        toolstack.add("0000:02:00.0")
        await toolstack.until_states(7, 4)
        toolstack.drop(1)
        toolstack.xs.write(f"{BACKEND}/state", 4)
        toolstack.host.domains.pause(domain, False)
        await toolstack.until_states(4, 4)
        assert set(toolstack.guest_sees().values()) == {"0000:01:00.0"}

    play(script)


def test_rights_revoked_before_the_entries_hang_the_guest_that_wakes_up(play: Any) -> None:
    """traces/fail2.txt: backend 8, frontend 7 for ever."""

    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0")
        domain = toolstack.host.domains.running[1]
        toolstack.host.domains.pause(domain, True)
        toolstack.bind("0000:02:00.0")
        toolstack.add("0000:02:00.0")
        toolstack.host.domains.pause(domain, False)
        await toolstack.until_states(8, 7)
        assert "0000:02:00.0" in domain.kernel.oops

    play(script)


def test_no_rights_at_the_first_attach_leave_the_frontend_at_3(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        toolstack.bind("0000:01:00.0")
        toolstack.create("0000:01:00.0")
        await toolstack.until_states(4, 3)

    play(script)


def test_without_assignment_there_are_no_message_interrupts(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        toolstack.bind("0000:01:00.0")
        toolstack.grant("0000:01:00.0")
        device = toolstack.host.bus.find("0000:01:00.0")
        toolstack.host.hypervisor.deassign(1, device.address.sbdf)
        toolstack.create("0000:01:00.0")
        await toolstack.until_states(4, 4)
        assert device.command == 0x0107

    play(script)


def test_a_guest_without_pcifront_stays_at_1_until_it_loads(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        toolstack.bind("0000:01:00.0")
        toolstack.grant("0000:01:00.0")
        toolstack.create("0000:01:00.0")
        await toolstack.until_states(3, 1)
        toolstack.host.domains.running[1].kernel.load_pcifront()
        await toolstack.until_states(4, 4)

    play(script, guest={"pcifront": False})


def test_a_guest_that_wakes_up_without_its_directory_has_an_error_and_no_oops(play: Any) -> None:
    """xenbus_dev_fatal and the failed probe after it; the node is absent, so there is no state to set."""

    async def script(toolstack: Any) -> None:
        guest = toolstack.host.domains.running[1].kernel
        guest.steps.hang("frontend:1")
        toolstack.bind("0000:01:00.0")
        toolstack.grant("0000:01:00.0")
        toolstack.create("0000:01:00.0")
        await toolstack.until_states(3, 1)
        toolstack.xs.remove(FRONTEND)
        toolstack.xs.remove(BACKEND)
        start = len(toolstack.host.trace.entries)
        guest.steps.release("frontend:1")
        await toolstack.settle()
        said = [entry.value for entry in toolstack.host.trace.entries[start:] if entry.writer == "D1"]
        assert said == ["13 Error writing configuration for backend", "13 xenbus_dev_probe on device/pci/0"]
        assert guest.oops is None
        toolstack.create("0000:01:00.0")
        await toolstack.until_states(4, 4)

    play(script)


@pytest.mark.parametrize(("linux", "picked_up"), [("6.1", "3"), ("5.12", "1")])
def test_devices_appended_at_state_3_are_seen_since_5_13(play: Any, linux: str, picked_up: str) -> None:
    async def script(toolstack: Any) -> None:
        toolstack.bind("0000:01:00.0", "0000:02:00.0")
        toolstack.create("0000:01:00.0")
        await toolstack.until_states(3, 1)
        toolstack.xs.write_all({**toolstack.entry(1, "0000:02:00.0"), f"{BACKEND}/num_devs": 2})
        await toolstack.settle()
        assert toolstack.of(1)[0] == picked_up

    play(script, guest={"pcifront": False}, linux=linux)


@pytest.mark.parametrize(("linux", "states"), [("6.1", (4, 4)), ("6.0", (7, 3))])
def test_a_missed_connect_is_made_up_since_6_1(play: Any, linux: str, states: tuple[int, int]) -> None:
    async def script(toolstack: Any) -> None:
        toolstack.bind("0000:01:00.0", "0000:02:00.0")
        toolstack.grant("0000:01:00.0", "0000:02:00.0")
        guest = toolstack.host.domains.running[1]

        async def pause() -> None:
            toolstack.host.domains.pause(guest, True)

        toolstack.host.kernel.steps.once("backend:3", pause)
        toolstack.create("0000:01:00.0")
        await toolstack.until_states(4, 3)
        toolstack.add("0000:02:00.0")
        toolstack.host.domains.pause(guest, False)
        await toolstack.until_states(*states)

    play(script, guest={"linux": linux})


def test_a_state_that_the_toolstack_wrote_is_not_in_the_kernels_cache(play: Any) -> None:
    """After a cycle pciback's cache says 4: with 8 written by hand, its switch to 4 is a no-op."""

    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0")
        toolstack.xs.write(f"{BACKEND}/state", 8)
        toolstack.xs.write(f"{FRONTEND}/state", 4)
        await toolstack.until_states(8, 4)
        toolstack.xs.write(f"{BACKEND}/state", 4)
        await toolstack.until_states(4, 4)

    play(script)


def test_writing_the_same_state_again_makes_the_other_end_look(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0")
        kernel = toolstack.host.domains.running[1].kernel
        toolstack.bind("0000:02:00.0")
        toolstack.grant("0000:02:00.0")
        toolstack.xs.write_all({**toolstack.entry(1, "0000:02:00.0"), f"{BACKEND}/num_devs": 2})
        kernel.steps.hang("frontend:7")
        toolstack.xs.write(f"{BACKEND}/state", 7)
        await toolstack.until_states(7, 4)
        # In the guest's place: pciback answers to 7, whoever wrote it, and again when it is written again.
        start = len(toolstack.host.trace.entries)
        toolstack.xs.write(f"{FRONTEND}/state", 7)
        await toolstack.until(lambda: toolstack.states()[0] == 8)
        assert toolstack.of(1)[0] == "3"
        assert "D0 be/state 8" in toolstack.written(start)

    play(script)


# -- closing -----------------------------------------------------------------------------------------


def in_sysfs(toolstack: Any) -> bool:
    return (toolstack.host.run.sys / "bus/xen-backend/devices/pci-1-0").exists()


def test_a_proper_close_ends_at_6_and_unregisters(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0")
        assert in_sysfs(toolstack)
        toolstack.xs.write_all({f"{BACKEND}/online": 0, f"{BACKEND}/state": 5})
        await toolstack.until(lambda: not in_sysfs(toolstack))
        assert toolstack.states() == (6, 6)
        assert toolstack.guest_sees() == {}
        assert toolstack.host.pciback.held[toolstack.host.bus.find("0000:01:00.0").address].owner is None

    play(script)


def test_a_close_while_online_keeps_the_device_registered(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0")
        toolstack.xs.write(f"{BACKEND}/state", 5)
        await toolstack.until_states(6, 6)
        assert in_sysfs(toolstack)

    play(script)


def test_directories_removed_under_the_guest_unregister_both_ends(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0")
        toolstack.xs.remove(FRONTEND)
        toolstack.xs.remove(BACKEND)
        await toolstack.until(lambda: not in_sysfs(toolstack) and toolstack.guest_sees() == {})
        await toolstack.settle()
        assert toolstack.xs.read("/local/domain/1/error/device/pci/0/error") == "22 freeing event channel 8"

    play(script)


def test_a_backend_made_anew_too_early_stays_at_1(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0")
        toolstack.host.kernel.pause(True)
        toolstack.xs.remove(FRONTEND)
        toolstack.xs.remove(BACKEND)
        toolstack.create("0000:01:00.0")
        toolstack.host.kernel.pause(False)
        await toolstack.settle()
        assert toolstack.states()[0] == 1
        assert in_sysfs(toolstack), "dom0 has not noticed that it was another one"

    play(script)


def test_a_guest_that_dies_gives_its_devices_back(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0")
        device = toolstack.host.bus.find("0000:01:00.0")
        resets = device.reset_count
        await toolstack.host.domains.destroy(toolstack.host.domains.running[1])
        await toolstack.until(lambda: not in_sysfs(toolstack))
        assert device.reset_count > resets
        assert toolstack.host.hypervisor.owner(device.address) == 0x7FF1
        # Directories are left to the toolstack, and say Closed (recorded/paused_guest_by_xl.txt).
        assert toolstack.xs.read(f"{BACKEND}/state") == "6"

    play(script)


def test_an_aer_error_is_written_and_nothing_else_happens(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        await connected(toolstack, "0000:01:00.0")
        toolstack.host.kernel.backend_of(1).kill_domain()
        assert toolstack.xs.read(f"{BACKEND}/aerState") == "aerfail"
        assert toolstack.states() == (4, 4)

    play(script)


def test_a_driver_shows_in_configuration_space(play: Any) -> None:
    """COMMAND 0103, with the driver 0507, afterwards 0103 again (seen on the lab)."""

    async def script(toolstack: Any) -> None:
        config = toolstack.host.run.sys / "bus/pci/devices/0000:01:00.0/config"

        def command() -> int:
            return int.from_bytes(config.read_bytes()[4:6], "little")

        toolstack.bind("0000:01:00.0")
        assert command() == 0x0103
        await connected(toolstack)
        toolstack.grant("0000:01:00.0")
        toolstack.add("0000:01:00.0")
        await toolstack.until_states(4, 4)
        assert command() == 0x0507
        toolstack.mark(0)
        await toolstack.until_states(4, 4)
        assert command() == 0x0103

    play(script)
