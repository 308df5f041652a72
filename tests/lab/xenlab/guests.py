# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest, seen through its agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xenlab import logs, ssh
from xenlab.errors import CommandFailed

if TYPE_CHECKING:
    from xenlab.host import Host


@dataclass(frozen=True)
class Guest:
    """A guest by name; it need not run yet."""

    host: Host
    name: str

    def run(self, words: str | Sequence[str], *, timeout: float = 60, check: bool = True) -> ssh.Result:
        """Run a command in the guest, by its shell; both output streams are in `stdout`.

        Exit status 124 means no answer within `timeout` seconds; CommandFailed on any but 0 if `check`.
        """
        text = ssh.shell_words(words)
        command = ["lab-guest", "-t", str(int(timeout)), self.name, text]
        result = self.host.run(command, timeout=timeout + 60, check=False)
        if check and result.status:
            said = (result.stderr.strip() or result.stdout.strip())[-2000:]
            raise CommandFailed(f"guest {self.name}: `{text}` ended with {result.status}: {said}")
        return result

    @property
    def domid(self) -> int:
        """Its domain number at the moment."""
        return int(self.host.run(["xl", "domid", self.name]).stdout)

    def pci(self) -> dict[str, str | None]:
        """The PCI devices that it sees, with the driver of each (None: no driver)."""
        devices: dict[str, str | None] = {}
        address = ""
        for line in self.run("lspci").lines:
            if line.startswith("\t"):
                devices[address] = line.rpartition(" ")[2]
            else:
                address = line.split()[0]
                devices[address] = None
        return devices

    def interrupts(self, name: str) -> int:
        """How often the interrupts whose line in /proc/interrupts holds `name` have come."""
        lines = [line.split() for line in self.run("cat /proc/interrupts").lines if name in line]
        return sum(int(words[1]) for words in lines)

    def kernel_log(self) -> logs.Log:
        """Its kernel's log."""
        return logs.linux(self.run("dmesg -r").lines)
