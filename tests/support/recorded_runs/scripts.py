# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plays. Each starts and ends with guests that have no device, and tells what the docstring says."""

from __future__ import annotations

from collections.abc import Callable

from recorded_runs.stage import Stage

NIC1, NIC2, NIC3, NIC4 = (f"0000:0{number}:00.0" for number in (1, 2, 3, 4))
DUAL0, DUAL1 = "0000:00:08.0", "0000:00:08.1"
SRIOV = "0000:05:00.0"
VFS = tuple(f"0000:05:00.{number}" for number in (1, 2, 3, 4))
#: pciback gets these before each play; it does not get the next one.
DEVICES = (NIC1, NIC2, NIC3, NIC4, DUAL0, DUAL1)
NOT_HELD = "0000:00:09.0"

Play = Callable[[Stage], None]


def first_device_and_close(stage: Stage) -> None:
    """A guest's first device, and its last one leaves with a close."""
    stage.declare(g1=[NIC1])
    stage.declare(g1=[])


def batches(stage: Stage) -> None:
    """Several devices are added in one cycle, with two functions of one slot; several are removed in one."""
    stage.declare(g1=[NIC1])
    stage.declare(g1=[NIC1, NIC2, NIC3, DUAL0, DUAL1])
    stage.declare(g1=[NIC2, DUAL1])
    stage.declare(g1=[])


def batch_at_creation(stage: Stage) -> None:
    """A first connection with several devices at once."""
    stage.declare(g1=[DUAL0, DUAL1, NIC3])
    stage.declare(g1=[])


def mixed(stage: Stage) -> None:
    """Removals and additions in one cycle."""
    stage.declare(g1=[NIC1, NIC2])
    stage.declare(g1=[NIC2, NIC3, NIC4])
    stage.declare(g1=[])


def move(stage: Stage) -> None:
    """A device goes from one guest to the other in one run."""
    stage.declare(g1=[NIC1, NIC2], g2=[NIC3])
    stage.declare(g1=[NIC1], g2=[NIC2, NIC3])
    stage.declare(g1=[], g2=[])


def functions_of_a_slot(stage: Stage) -> None:
    """A function other than 0 comes alone, keeps its number, and the others join it later."""
    stage.declare(g1=[DUAL1])
    stage.declare(g1=[DUAL0, DUAL1, NIC1])
    stage.declare(g1=[DUAL0, NIC1])
    stage.declare(g1=[])


def virtual_functions(stage: Stage) -> None:
    """Virtual functions share a slot by their host's numbers (Linux 5.14 and later)."""
    stage.virtual_functions(SRIOV, 4)
    stage.xl("pci-assignable-add", VFS[0])
    stage.xl("pci-assignable-add", VFS[2])
    stage.declare(g1=[NIC1, VFS[2]])
    stage.declare(g1=[VFS[0], VFS[2]])
    stage.declare(g1=[])
    for function in (VFS[0], VFS[2]):  # the kernel keeps them all as long as pciback has one
        stage.xl("pci-assignable-remove", function)
    stage.virtual_functions(SRIOV, 0)


def frontend_comes_late(stage: Stage) -> None:
    """xl attaches to a guest whose pcifront is loaded only later."""
    stage.xl("pci-attach", "g3", NIC1)
    stage.until("g3", 3, 1)
    stage.load_frontend("g3")
    stage.until("g3", 4, 4)
    stage.xl("destroy", "g3")
    stage.settle()


def by_xl(stage: Stage) -> None:
    """xl attaches and detaches, one device at a time, and tears the connection down under the guest."""
    stage.xl("pci-attach", "g2", NIC1)
    stage.until("g2", 4, 4)
    stage.xl("pci-attach", "g2", NIC2)
    stage.until("g2", 4, 4)
    stage.xl("pci-attach", "g2", NIC3)
    stage.until("g2", 4, 4)
    stage.xl("pci-detach", "g2", NIC2)
    stage.xl("pci-detach", "g2", NIC1)
    stage.xl("pci-detach", "g2", NIC3)
    stage.settle()


def guest_without_frontend(stage: Stage) -> None:
    """A guest that never connects: its connection is removed again."""
    stage.declare(fails=True, g3=[NIC1, NIC2])
    stage.settle()


def paused_guest(stage: Stage) -> None:
    """A guest that does not answer: additions, removals and a close are withdrawn, and it wakes up unharmed."""
    stage.declare(g2=[NIC1, NIC2])
    stage.xl("pause", "g2")
    stage.declare(fails=True, g2=[NIC1, NIC2, NIC3])
    stage.declare(fails=True, g2=[NIC2])
    stage.declare(fails=True, g2=[])
    stage.xl("unpause", "g2")
    stage.settle()
    stage.declare(g2=[])


def refused_by_pciback(stage: Stage) -> None:
    """pciback gives a batch up at a device that it does not hold, and both ends are restarted."""
    stage.declare(g2=[NIC1])
    stage.refused_cycle("g2", NIC2, NOT_HELD, NIC3)
    stage.declare(g2=[NIC1, NIC3])
    stage.declare(g2=[])


def destroyed_guest(stage: Stage) -> None:
    """xl destroys a guest that has devices."""
    for nic in (NIC1, NIC2):
        stage.xl("pci-attach", "g2", nic)
        stage.until("g2", 4, 4)
    stage.xl("destroy", "g2")
    stage.settle()


def shut_down_guest(stage: Stage) -> None:
    """A guest with devices is asked to shut down and does so in good order; xl leaves the closed connection."""
    for nic in (NIC1, NIC2):
        stage.xl("pci-attach", "g2", nic)
        stage.until("g2", 4, 4)
    stage.xl("shutdown", "g2")
    stage.until_gone("g2")
    stage.settle()


def _ends_and_comes_back(stage: Stage, how: str) -> None:
    """g2 has its device again once xl has built it anew; then it gives it away."""
    stage.ends("g2", how)
    again = stage.reborn("g2")
    stage.until(again, 4, 4)
    stage.xl("pci-detach", "g2", NIC1)
    stage.settle()


def rebooted_guest(stage: Stage) -> None:
    """A guest with a device reboots in good order, first because it is asked to, then by itself; it comes back with it.

    With one device: xl adds a second one while pciback exports the first, sometimes before and sometimes after it.
    """
    stage.xl("pci-attach", "g2", NIC1)
    stage.until("g2", 4, 4)
    stage.xl("reboot", "g2")
    again = stage.reborn("g2")
    stage.until(again, 4, 4)
    _ends_and_comes_back(stage, "reboot")


def reset_guest(stage: Stage) -> None:
    """A guest with a device reboots without a word, so that xl takes the device from a connection that looks alive."""
    stage.xl("pci-attach", "g2", NIC1)
    stage.until("g2", 4, 4)
    _ends_and_comes_back(stage, "reset")


def paused_guest_by_xl(stage: Stage) -> None:
    """xl adds to a paused guest and says all is well; then it waits in vain, takes rights, and leaves entries."""
    stage.xl("pci-attach", "g2", NIC1)
    stage.until("g2", 4, 4)
    stage.xl("pause", "g2")
    stage.xl("pci-attach", "g2", NIC2)
    stage.xl("pci-attach", "g2", NIC3, fails=True)
    stage.xl("pci-detach", "g2", NIC1)
    stage.xl("destroy", "g2")
    stage.settle()


def hvm_guest(stage: Stage) -> None:
    """Devices of an HVM guest come one after the other, one of them goes, then the others."""
    stage.declare(h1=[NIC1])
    stage.declare(h1=[NIC1, NIC2, NIC3])
    stage.declare(h1=[NIC1, NIC3])
    stage.declare(h1=[])


def hvm_guest_by_xl(stage: Stage) -> None:
    """xl gives an HVM guest two devices and takes them away."""
    stage.xl("pci-attach", "h1", NIC1)
    stage.xl("pci-attach", "h1", NIC2)
    stage.xl("pci-detach", "h1", NIC2)
    stage.xl("pci-detach", "h1", NIC1)


PLAYS: dict[str, Play] = {
    play.__name__: play
    for play in (
        first_device_and_close,
        batches,
        batch_at_creation,
        mixed,
        move,
        functions_of_a_slot,
        virtual_functions,
        by_xl,
        frontend_comes_late,
        guest_without_frontend,
        paused_guest,
        refused_by_pciback,
        destroyed_guest,
        shut_down_guest,
        rebooted_guest,
        reset_guest,
        paused_guest_by_xl,
    )
}

#: Those of an HVM guest, which need a host of their own on the lab.
HVM_PLAYS: dict[str, Play] = {
    play.__name__: play
    for play in (
        hvm_guest,
        hvm_guest_by_xl,
    )
}

#: Those in which xl alone ends a guest, or waits for one: the longest.
ENDS_BY_XL = (
    "frontend_comes_late",
    "destroyed_guest",
    "shut_down_guest",
    "rebooted_guest",
    "reset_guest",
    "paused_guest_by_xl",
)

#: Those in which the product has no part.
BY_XL = ("by_xl", *ENDS_BY_XL)
