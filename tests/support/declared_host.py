# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated host of any description, on which modules and the playbook xen.pci.apply run as users run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from checkouts import ROOT
from module_forks import ModuleForks
from short_path import short_directory

from simulated_xen import daemon

_PLAYBOOK = ROOT / "playbooks/apply.yml"
BASE = (
    {"at": "00:00.0", "model": "host-bridge"},
    {"at": "00:03.0", "model": "e1000e", "mac": "52:54:00:0a:00:01", "name": "mgmt0", "up": True},
)


class DeclaredHost:
    """The host, what is declared on it, and what others do to it."""

    def __init__(self, directory: Path, devices: Sequence[dict[str, Any]], **machine: Any) -> None:
        self.directory = directory / "h"
        description = {"name": "machine", "devices": [*BASE, *devices], **machine}
        (directory / "machine.json").write_text(json.dumps(description))
        variables = daemon.start(str(directory / "machine.json"), self.directory).environment()
        variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], *sys.path])
        self.environment = {**os.environ, **variables}
        self._forks = ModuleForks(self.environment)

    def close(self) -> None:
        """End it, and all that is below its directory."""
        self._forks.close()
        daemon.stop(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, module: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        """Run a module as Ansible does."""
        words = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}
        return dict(self._forks.run(module, words))

    def apply(self, inventory: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the playbook with these variables, which are the text of a YAML file; `words` are options."""
        file = self.directory.parent / "inventory.yml"
        file.write_text(inventory)
        return subprocess.run(
            [
                *(Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "-c", "local"),
                *("-e", f"@{file}", "-e", f"ansible_python_interpreter={self.directory}/bin/ansible-python"),
                *(*words, _PLAYBOOK),
            ],
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build/collections")},
            check=False,
            capture_output=True,
            text=True,
        )

    def xl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run xl."""
        program = self.directory / "bin/xl"
        return subprocess.run([program, *words], env=self.environment, check=False, capture_output=True, text=True)

    def write(self, file: str, text: str) -> None:
        """Write to a file of sysfs, below bus/pci."""
        script = f"open({str(self.directory / 'sys/bus/pci' / file)!r}, 'w').write({text!r})"
        subprocess.run([sys.executable, "-c", script], env=self.environment, check=True)

    def driver(self, device: str) -> str | None:
        """The driver of a device."""
        link = self.directory / "sys/bus/pci/devices" / device / "driver"
        return link.resolve().name if link.exists() else None

    def domain(self, name: str) -> dict[str, Any]:
        """What host_info says of a domain."""
        return next(one for one in self.run("host_info")["domains"] if one["name"] == name)

    def device(self, address: str) -> dict[str, Any]:
        """What host_info says of a device."""
        return next(one for one in self.run("host_info")["devices"] if one["address"] == address)


@contextmanager
def declared_host(devices: Sequence[dict[str, Any]], **machine: Any) -> Iterator[DeclaredHost]:
    """Start a host with these devices besides a host bridge and a network card in use."""
    with short_directory() as directory:
        host = DeclaredHost(directory, devices, **machine)
        try:
            yield host
        finally:
            host.close()


def codes(result: dict[str, Any]) -> list[str]:
    """Codes of the refusals of a run."""
    assert result.get("failed"), result
    return [refusal["code"] for refusal in result.get("refusals", [])]
