# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of hosts with 64, 512 and 2,048 PCI functions, on simulated machines that run side by side.

Prints a table and asserts nothing: on one machine only the ratios mean something, and linear means that the time
for each function stays the same. Rounds go from machine to machine, so that a noisy computer is noisy for all.
One half of the virtual functions is with pciback, so that Xen is asked for their owners, too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COLLECTIONS = ROOT / ".build" / "collections"
sys.path.insert(0, str(ROOT / "roles" / "simulated_host" / "files"))

from simulated_xen import daemon  # noqa: E402  (the path comes first)

#: A physical function, its virtual ones and the root port above them.
CARD = 64
MODULE = "ansible_collections.xen.pci.plugins.modules.host_info"


@dataclass(frozen=True)
class Host:
    """A running simulated host."""

    functions: int
    environment: dict[str, str]

    def facts(self) -> tuple[float, int]:
        """Seconds that the module took in a process of its own, and how many functions it told of."""
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", MODULE],
            env=self.environment,
            input=json.dumps({"ANSIBLE_MODULE_ARGS": {}}),
            capture_output=True,
            text=True,
            check=True,
        )
        return time.monotonic() - began, len(json.loads(done.stdout)["devices"])


def main() -> None:
    """Start all machines, gather facts in turns, print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--functions", type=int, nargs="+", default=[64, 512, 2048], help=f"multiples of {CARD}")
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    with ExitStack() as stack:
        hosts = [stack.enter_context(_host(functions)) for functions in chosen.functions]
        seconds: dict[int, list[float]] = {host.functions: [] for host in hosts}
        for _round in range(chosen.rounds):
            for host in hosts:
                took, told = host.facts()
                if told != host.functions:
                    raise SystemExit(f"host_info told of {told} functions on a machine with {host.functions}")
                seconds[host.functions].append(took)
    _print({functions: median(times) for functions, times in seconds.items()}, chosen.rounds)


@contextmanager
def _host(functions: int) -> Iterator[Host]:
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="hi", dir=memory if memory.is_dir() else None))
    try:
        (directory / "machine.json").write_text(json.dumps(_machine(functions)))
        daemon.start(str(directory / "machine.json"), directory / "h")
        variables = daemon.RunDirectory(directory / "h").environment()
        variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], str(COLLECTIONS), *filter(None, sys.path)])
        variables["PATH"] += os.pathsep + os.environ["PATH"]
        host = Host(functions, {**os.environ, **variables})
        _assign_half(host)
        yield host
    finally:
        daemon.stop(directory / "h")
        shutil.rmtree(directory, ignore_errors=True)


def _machine(functions: int) -> dict[str, Any]:
    """Cards of one root port, one physical and 62 virtual functions each, on a bus of their own."""
    devices: list[dict[str, Any]] = []
    for card in range(functions // CARD):
        port, bus = 2 * card + 1, 2 * card + 2
        devices.append({"at": f"{port:02x}:00.0", "model": "root-port", "bus": f"{bus:02x}"})
        mac = f"02:00:5e:{bus:02x}:00:00"
        devices.append(
            {"at": f"{bus:02x}:00.0", "model": "i40e", "mac": mac, "name": f"port{card}", "numvfs": CARD - 2}
        )
    return {"name": f"functions-{functions}", "devices": devices, "domains": [{"name": "vm00"}]}


def _assign_half(host: Host) -> None:
    """By sysfs alone: every second virtual function goes to pciback."""
    script = (
        "import os, pathlib\n"
        "pci = pathlib.Path(os.environ['SYSFS_PATH']) / 'bus/pci'\n"
        "virtual = sorted(one for one in (pci / 'devices').iterdir() if (one / 'physfn').exists())\n"
        "for one in virtual[::2]:\n"
        "    (one / 'driver/unbind').write_text(one.name)\n"
        "    (pci / 'drivers/pciback/new_slot').write_text(one.name)\n"
        "    (pci / 'drivers/pciback/bind').write_text(one.name)\n"
    )
    subprocess.run([sys.executable, "-c", script], env=host.environment, check=True)


def _print(medians: dict[int, float], rounds: int) -> None:
    least = min(medians)
    print(f"host_info, median of {rounds} rounds, each a process of its own\n")
    print("functions   seconds   ms per function   functions x   time x")
    for functions, seconds in medians.items():
        print(
            f"{functions:9}   {seconds:7.2f}   {1000 * seconds / functions:15.2f}"
            f"   {functions / least:11.1f}   {seconds / medians[least]:6.1f}"
        )


if __name__ == "__main__":
    main()
