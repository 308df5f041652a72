# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three simulated hosts of the demo: started side by side, reached by Ansible, stopped again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from .interruption import held

CLONE = Path(__file__).resolve().parent.parent.parent
SIMULATOR = CLONE / "roles/simulated_host/files/simulated-xen"
MACHINES = CLONE / "extensions/molecule/machines"
NAMES = tuple(sorted(machine.stem for machine in MACHINES.glob("*.yml")))

# The example inventory says where the hosts really would be; this second one says where they are today.
_INVENTORY = """\
xen:
  vars:
    ansible_connection: local
    ansible_python_interpreter: {directory}/{{{{ inventory_hostname }}}}/bin/ansible-python
"""


class HostsFailed(Exception):
    """A simulated host did not do what it was asked; the text is its own."""


class Hosts:
    """Context manager: the hosts run inside of it, in directories below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._starting: dict[str, subprocess.Popen[str]] = {}

    @property
    def inventory(self) -> Path:
        """The inventory file that leads Ansible to the simulated hosts."""
        return self.directory / "simulated.yml"

    def start(self) -> None:
        """Start all; returns when all of them answer. Raises HostsFailed."""
        for name in NAMES:
            machine = MACHINES / f"{name}.yml"
            options = ("--machine", machine, "--dir", self.directory / name, "--while", str(os.getpid()))
            command = (sys.executable, SIMULATOR, "start", *options)
            with held():
                # In a session of its own: a Ctrl-C meant for the demo must not leave it half started.
                self._starting[name] = subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
                )
        for name, starter in self._starting.items():
            error = starter.communicate()[1]
            if starter.returncode:
                raise HostsFailed(f"{name}: {error.strip()}")
        self.inventory.write_text(_INVENTORY.format(directory=self.directory))

    def stop(self) -> None:
        """Stop all that were started, also those half-way."""
        for name, starter in self._starting.items():
            starter.wait()
            subprocess.run([sys.executable, SIMULATOR, "stop", "--dir", self.directory / name], check=False)
        self._starting.clear()

    def control(self, name: str, *words: str) -> str:
        """One command to a host's simulator; returns what it printed. Raises HostsFailed."""
        return self._output(sys.executable, str(SIMULATOR), words[0], "--dir", str(self.directory / name), *words[1:])

    def guests(self, name: str) -> dict[str, list[str]]:
        """The devices of each guest of a host, as its own kernel sees them, by host address. Raises HostsFailed."""
        listing = json.loads(self.control(name, "domain", "list"))
        return {one["name"]: [seen["host"] for seen in one["devices"].values()] for one in listing}

    def xl(self, name: str, *words: str) -> str:
        """What xl says on a host. Raises HostsFailed."""
        return self._output(str(self.directory / name / "bin/xl"), *words)

    @staticmethod
    def _output(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HostsFailed(done.stderr.strip())
        return done.stdout
