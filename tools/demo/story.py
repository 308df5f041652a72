# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenes of the demo. Each shows something, and checks that what it shows is so."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from .hosts import NAMES, Hosts
from .inventory import ORIGINAL, Inventory
from .play import PLAYBOOK, Run, run
from .screen import Screen

_SILENCE = 2  # seconds that the scene with the silent guest waits for it
_UPLINK_B = "0000:02:00.0"  # on cedar


class StoryFailed(Exception):
    """Something did not happen as told; the text says what, and what Ansible said."""


class Story:
    """All scenes in their order, on hosts that run, with an inventory to edit."""

    def __init__(self, screen: Screen, hosts: Hosts, inventory: Inventory) -> None:
        self._screen = screen
        self._hosts = hosts
        self._inventory = inventory

    def tell(self) -> None:
        """From the plan to the repair; raises StoryFailed."""
        self.introduction()
        self.plan()
        self.first_run()
        self.second_run()
        self.move()
        self.mistakes()
        self.silent_guest()
        self.fault()
        self.end()

    # -- scenes --------------------------------------------------------------------------------------

    def introduction(self) -> None:
        """What there is, and the declaration of one host."""
        screen = self._screen
        screen.heading("Three Xen hosts with seven guests, and what they are to have")
        screen.say(
            "xen.pci gives PCI devices to Xen guests while they run. You declare which guest has which device; one "
            "playbook makes it so on all hosts, and proves it. The hosts here are simulated, the collection is not. "
            "What Ansible prints is shown as it is (display_skipped_hosts is off)."
        )
        screen.command(f"cat {self._inventory.name('alder')}")
        for line in self._inventory.file("alder").read_text().splitlines()[1:]:
            screen.line(f"  {line}")

    def plan(self) -> None:
        """Check mode, as a difference."""
        self._screen.heading("The plan: what would change, nothing is touched")
        planned = self._run("--check", "--diff")
        self._expect(planned.status == 0 and planned.changed == set(NAMES), planned)
        self._expect(not any(self._attached(host) for host in NAMES), planned)

    def first_run(self) -> None:
        """The run, and what xl says."""
        self._screen.heading("The run: devices leave the host's drivers, guests get them and use them")
        done = self._run("--diff")
        self._expect(done.status == 0 and done.changed == set(NAMES), done)
        self._screen.say("The usual tools see the same:")
        self._list("alder", "web01")

    def second_run(self) -> None:
        """Nothing is left to do."""
        self._screen.heading("The second run: everything is as declared")
        again = self._run("--diff")
        self._expect(again.status == 0 and not again.changed, again)

    def move(self) -> None:
        """One line of the inventory, one device."""
        self._screen.heading("One line moves, and the device moves, while both guests run")
        self._screen.difference(
            self._inventory.name("alder"), *self._inventory.move_line("alder", "- scratch", below="- uplink-b")
        )
        moved = self._run("--diff", hosts=["alder"])
        self._expect(moved.status == 0 and moved.changed == {"alder"}, moved)

    def mistakes(self) -> None:
        """Two of them, on two hosts: refused with a sentence each, nothing touched."""
        self._screen.heading("Two mistakes: refused before anything is touched")
        state = {host: self._attached(host) for host in NAMES}
        double = self._inventory.change_line("alder", "- uplink-b", into="- uplink-a")
        disk = self._inventory.add_line("birch", '- "0000:00:1f.2"', below="- {from: scratch, count: 2}")
        self._screen.difference(self._inventory.name("alder"), *double)
        self._screen.difference(self._inventory.name("birch"), *disk)
        refused = self._run(hosts=["alder", "birch"])
        self._expect(refused.failed == {"alder", "birch"} and not refused.changed, refused)
        self._expect(state == {host: self._attached(host) for host in NAMES}, refused)
        self._inventory.restore("alder", double[0])
        self._inventory.restore("birch", disk[0])

    def silent_guest(self) -> None:
        """A guest that does not answer: an error in time, the state before."""
        screen = self._screen
        screen.heading("A guest that does not answer: an error in time, and the state from before")
        screen.difference(
            self._inventory.name("cedar"), *self._inventory.add_line("cedar", "- uplink-b", below="- uplink-a")
        )
        screen.command("xl pause fw01                # on cedar")
        self._hosts.control("cedar", "domain", "pause", "fw01")
        before = self._attached("cedar")
        failed = self._run("-e", f"xen_pci_timeout={_SILENCE}", hosts=["cedar"])
        self._expect(failed.failed == {"cedar"} and "guest fw01 did not answer in time" in failed.text, failed)
        self._list("cedar", "fw01")
        self._expect(self._attached("cedar") == before, failed)
        screen.command("xl unpause fw01              # on cedar")
        self._hosts.control("cedar", "domain", "unpause", "fw01")

    def fault(self) -> None:
        """What xl leaves when pciback refuses a device: named by the next run, repaired when asked."""
        screen = self._screen
        screen.heading("A fault that xl calls success: named, and repaired")
        screen.say("An administrator attaches the device by hand. dom0's kernel refuses it, and xl does not check:")
        screen.command(f"xl pci-attach fw01 {_UPLINK_B}; echo $?          # on cedar")
        self._hosts.control("cedar", "inject", "refuse-export", f"device={_UPLINK_B}")
        self._hosts.xl("cedar", "pci-attach", "fw01", _UPLINK_B)
        screen.line("  0")
        self._list("cedar", "fw01")
        self._hosts.control("cedar", "inject", "refuse-export", f"device={_UPLINK_B}", "refuse=false")
        before = self._attached("cedar")
        screen.say("The guest does not get it, and waits for dom0. No tool can give it another device in this state:")
        named = self._run(hosts=["cedar"])
        self._expect(named.failed == {"cedar"} and "refused_cycle" in named.text and not named.changed, named)
        repaired = self._run("--diff", "-e", "xen_pci_repair=first", hosts=["cedar"])
        self._expect(repaired.status == 0 and "repaired first" in repaired.text, repaired)
        self._expect(len(self._attached("cedar")) == len(before) + 1, repaired)

    def end(self) -> None:
        """What to do next."""
        self._screen.heading("That is what the collection is for")
        self._screen.say(
            f"Copy {ORIGINAL} and write your own hosts into it. To try a declaration without hardware, see "
            "docs/test-your-inventory-without-hardware.md."
        )

    # -- helpers -------------------------------------------------------------------------------------

    def _run(self, *options: str, hosts: Sequence[str] = ()) -> Run:
        """Run the playbook, on these hosts or on all, and show what it prints."""
        words = [*options, *(["--limit", ",".join(hosts)] if hosts else [])]
        self._screen.command(shlex.join(["ansible-playbook", "-i", str(ORIGINAL), PLAYBOOK, *words]))
        inventories = (self._inventory.path, self._hosts.inventory)
        done = run(inventories, words, self._hosts.directory / "ansible", self._screen.coloured)
        for line in done.output.strip().splitlines():
            self._screen.line(line.rstrip())
        self._screen.pause(2)
        if done.hosts != set(hosts or NAMES):
            raise StoryFailed(f"The playbook did not reach all hosts.\n{done.complaints}")
        return done

    def _list(self, host: str, guest: str) -> None:
        self._screen.command(f"{f'xl pci-list {guest}':<27} # on {host}")
        for line in self._hosts.xl(host, "pci-list", guest).splitlines():
            self._screen.line(f"  {line}")

    def _attached(self, host: str) -> set[str]:
        """The devices of all guests of a host, as the guests' own kernels have them, with their guests."""
        listing = self._hosts.guests(host)
        return {f"{guest} {device}" for guest, devices in listing.items() for device in devices}

    def _expect(self, holds: bool, seen: Run) -> None:
        if not holds:
            raise StoryFailed(f"This is not how it should end (status {seen.status}).\n{seen.complaints}")
