# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated host from a machine's description, and the real modules on it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from module_forks import ModuleForks
from short_path import short_directory

from simulated_xen import daemon


class DescribedHost:
    """A running host."""

    def __init__(self, run: daemon.RunDirectory) -> None:
        self.directory = run.path
        variables = run.environment()
        variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], *sys.path])
        self.environment = {**os.environ, **variables}
        self._forks = ModuleForks(self.environment)

    def run(self, module: str, check: bool = False, ssh: str = "", **arguments: Any) -> dict[str, Any]:
        """Run a module; `ssh` is what sshd says of the connection."""
        words = {**arguments, "_ansible_check_mode": check}
        return dict(self._forks.run(module, words, {"SSH_CONNECTION": ssh}))

    def close(self) -> None:
        """End it."""
        self._forks.close()
        daemon.stop(self.directory)

    def device(self, address: str, ssh: str = "") -> dict[str, Any]:
        """What host_info says of a device."""
        return next(one for one in self.run("host_info", ssh=ssh)["devices"] if one["address"] == address)

    def checks(self, address: str, ssh: str = "") -> dict[str, bool]:
        """The checks that refuse a device according to host_info, and whether each may be waived."""
        return {one["check"]: one["waivable"] for one in self.device(address, ssh)["refusals"]}


@contextmanager
def described_host(machine: Mapping[str, Any]) -> Iterator[DescribedHost]:
    """Run a host for as long as the block."""
    with short_directory() as parent:
        file = parent / "machine.json"
        file.write_text(json.dumps(machine))
        host = DescribedHost(daemon.start(str(file), parent / "h"))
        try:
            yield host
        finally:
            host.close()


def refused(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Code and subject of each refusal in a module's result."""
    return [(one["code"], one["subject"]) for one in result.get("refusals", ())]
