# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated hosts with devices in place, and commands of Ansible that reach them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkouts import SMALL_SERVER, collections_of, simulated_host

DEVICES = ["0000:01:00.0", "0000:02:00.0"]
PING = "ansible.builtin.ping"
#: Runs that find everything in place.
NO_OPS: Mapping[str, Mapping[str, Any]] = {
    "xen.pci.domain_devices": {"domains": {"g1": {"devices": DEVICES}}},
    "xen.pci.assignable_devices": {"devices": DEVICES},
    "xen.pci.host_state": {"domains": {"g1": {"devices": DEVICES}}},
    "xen.pci.host_info": {},
}
_DECLARED = {"xen_pci_devices": {}, "xen_pci_domains": {"g1": {"devices": DEVICES}}}
_PING_PLAY = [{"hosts": "all", "gather_facts": False, "tasks": [{PING: {}}]}]


@dataclass(frozen=True)
class Fleet:
    """Running simulated hosts on which a checkout has done what is declared."""

    directory: Path
    collections: Path

    def has(self, module: str) -> bool:
        """Whether the checkout has a module."""
        place = self.collections / "ansible_collections/xen/pci/plugins/modules"
        return (place / f"{module.rpartition('.')[2]}.py").exists()

    def module(self, name: str, arguments: Mapping[str, Any], program: Path | None = None, **variables: str) -> None:
        """Run a module on the first host. Raises SystemExit unless it succeeds and changes nothing.

        `program` runs in place of the command `ansible`, with its arguments.
        """
        words = ["-m", name, *(["-a", json.dumps(arguments)] if arguments else [])]
        command = ["ansible"] if program is None else [sys.executable, str(program)]
        output = self._run([*command, "-i", str(self.directory / "inventory.json"), "host0", *words], variables)
        if '"changed": false' not in output:
            raise SystemExit(f"{name} changed something: {output}")

    def playbook(self, name: str, hosts: int, changes: bool = False) -> None:
        """Run a playbook on some of the hosts. Raises SystemExit unless it succeeds, with changes or without."""
        limit = ":".join(f"host{number}" for number in range(hosts))
        words = ["-i", str(self.directory / "inventory.json"), "--limit", limit, "--forks", str(hosts), name]
        output = self._run(["ansible-playbook", *words], {})
        if output.count("changed=0") != (0 if changes else hosts):
            raise SystemExit(f"{name}: not the run that was meant: {output}")

    def python(self, number: int) -> str:
        """The Python that sees a host."""
        inventory = json.loads((self.directory / "inventory.json").read_text())
        return str(inventory["all"]["hosts"][f"host{number}"]["ansible_python_interpreter"])

    @property
    def ping_playbook(self) -> str:
        """A playbook with one task, which does nothing."""
        return str(self.directory / "ping.json")

    def _run(self, words: Sequence[str], variables: Mapping[str, str]) -> str:
        done = subprocess.run(
            [Path(sys.executable).parent / words[0], *words[1:]],
            env={**os.environ, **self._settings(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} failed: {done.stdout}")
        return done.stdout

    def _settings(self) -> dict[str, str]:
        return {
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_HOME": str(self.directory / "home"),
            "ANSIBLE_REMOTE_TEMP": str(self.directory / "remote"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "1",
        }


@contextmanager
def fleet(checkout: Path, hosts: int) -> Iterator[Fleet]:
    """Simulated hosts with two devices in a guest, brought there by this checkout's playbook."""
    with ExitStack() as stack:
        collections = stack.enter_context(collections_of(checkout))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-")))
        running = [stack.enter_context(simulated_host(SMALL_SERVER)) for _number in range(hosts)]
        pythons = {
            f"host{number}": {"ansible_python_interpreter": f"{run.programs}/ansible-python"}
            for number, run in enumerate(running)
        }
        inventory = {"all": {"hosts": pythons, "vars": {"ansible_connection": "local", **_DECLARED}}}
        (directory / "inventory.json").write_text(json.dumps(inventory))
        made = Fleet(directory, collections)
        Path(made.ping_playbook).write_text(json.dumps(_PING_PLAY))
        made.playbook("xen.pci.apply", hosts, changes=True)
        yield made
