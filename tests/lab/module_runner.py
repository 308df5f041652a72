# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our modules in dom0 without Ansible: sent there once, and run by a process that stays.

Under emulation, starting Python and importing Ansible takes longer than most runs; here each run is a fork.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ansible

from xenlab import Host, ssh

ROOT = Path(__file__).resolve().parents[2]
PLACE = "/root/modules"
#: Also used by the fault suite on the simulator, which tells what it understands.
PROCESS = ROOT / "tests" / "support" / "module_process.py"


def send(host: Host, place: str, scripts: Iterable[Path]) -> None:
    """Put the product into `place`/lib of dom0, and these scripts beside it; whatever was there is gone."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        collection = "lib/ansible_collections/xen/pci/plugins"
        for source, target in (
            (ROOT / "plugins/module_utils", f"{collection}/module_utils"),
            (ROOT / "plugins/modules", f"{collection}/modules"),
            (Path(ansible.__path__[0]) / "module_utils", "lib/ansible/module_utils"),
            (Path(ansible.__path__[0]) / "module_utils/__init__.py", "lib/ansible/__init__.py"),
            *((path, path.name) for path in scripts),
        ):
            archive.add(source, target, filter=lambda one: None if one.name.endswith("__pycache__") else one)
    words = [*ssh.command(host.directory), f"rm -rf {place}; mkdir {place}; tar -x -C {place}"]
    subprocess.run(words, input=content.getvalue(), check=True)


class Modules:
    """The process in dom0 that runs modules."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, module: str, parameters: Any, **how: Any) -> dict[str, Any]:
        """What the module answers; `how`: check, count, kill_at. After a kill, `killed` and nothing else."""
        self.ask(module, parameters, **how)
        return self.answer()

    def ask(self, module: str, parameters: Any, **how: Any) -> None:
        """Start a run; `answer` waits for its end."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"module": module, "parameters": parameters, **how}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The result of the run that `ask` started."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that runs modules has ended"
        result: dict[str, Any] = json.loads(line)
        assert "crashed" not in result, "the module crashed; see its traceback in the output of this test"
        return result

    def devices(
        self, guests: Mapping[str, Collection[str]], timeout: int = 120, how: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Declare that these guests have exactly these devices."""
        domains = {name: {"devices": sorted(devices), "exclusive": True} for name, devices in guests.items()}
        return self.run("domain_devices", {"domains": domains, "timeout": timeout}, **(how or {}))

    def repair(self, check: bool = False, **parameters: Any) -> dict[str, Any]:
        return self.run("repair", {"settle": 0.5, "timeout": 120, **parameters}, check=check)

    def act(self, *steps: tuple[object, ...]) -> None:
        """Somebody else's hands, see the process."""
        self.run("act", steps)


@contextmanager
def modules(host: Host, place: str = PLACE) -> Iterator[Modules]:
    """Send the product to dom0 and start a process there; it ends with the context. Each needs a place of its own."""
    send(host, place, [PROCESS])
    command = f"env PYTHONPATH={place}/lib python3 {place}/{PROCESS.name}"
    with subprocess.Popen(
        [*ssh.command(host.directory), command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert json.loads(process.stdout.readline()) == "ready"
            yield Modules(process)
        finally:
            process.stdin.close()
