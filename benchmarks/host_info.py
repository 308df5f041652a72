# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of hosts with 64, 512 and 2,048 PCI functions, on simulated machines that run side by side.

Prints a table and asserts nothing: on one machine only the ratios mean something, and linear means that the time
for each function stays the same. One half of the virtual functions is with pciback, so that Xen is asked for their
owners, too. With --before PATH the module of another checkout takes turns with that of this one, on the same machines;
--load keeps processors busy meanwhile.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / path) for path in ("benchmarks/helpers", "tests/support", "roles/simulated_host/files")]

import rounds  # noqa: E402  (the path comes first)
from checkouts import collections_of, environment, simulated_host  # noqa: E402

#: A physical function, its virtual ones and the root port above them.
CARD = 64
MODULE = "ansible_collections.xen.pci.plugins.modules.host_info"


def main() -> None:
    """Start all machines, gather facts in turns, print the table."""
    options = rounds.options(__doc__, 5)
    options.add_argument("--functions", type=int, nargs="+", default=[64, 512, 2048], help=f"multiples of {CARD}")
    options.add_argument("--load", type=int, default=0, metavar="N", help="processes that do nothing but compute")
    chosen = options.parse_args()
    timed = functools.partial(rounds.measured, clock=rounds.stopwatch(chosen.processor))
    with ExitStack() as stack:
        collections = {
            name: stack.enter_context(collections_of(checkout))
            for name, checkout in rounds.checkouts(chosen.before).items()
        }
        subjects: dict[str, Callable[[], float]] = {}
        for functions in chosen.functions:
            host = stack.enter_context(simulated_host(_machine(functions)))
            for name, place in collections.items():
                subjects[f"{functions} {name}"] = functools.partial(timed, _facts, environment(host, place), functions)
            _assign_half(environment(host, place))
        stack.enter_context(_busy(chosen.load))
        seconds = rounds.alternate(subjects, chosen.rounds)
    print(f"host_info, median of {chosen.rounds} rounds, each a process of its own; {chosen.load} busy processes\n")
    _print({name: median(taken) for name, taken in seconds.items()}, chosen.functions, list(collections))


def _facts(variables: Mapping[str, str], functions: int) -> None:
    """Run the module in a process of its own. Raises SystemExit unless it returned all functions."""
    done = subprocess.run(
        [sys.executable, "-m", MODULE],
        env=variables,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {}}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    returned = len(json.loads(done.stdout)["devices"])
    if returned != functions:
        raise SystemExit(f"host_info returned {returned} functions on a machine with {functions}")


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


def _assign_half(variables: Mapping[str, str]) -> None:
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
    subprocess.run([sys.executable, "-c", script], env=variables, check=True)


@contextmanager
def _busy(processes: int) -> Iterator[None]:
    """So many processes that compute until the end."""
    running = [multiprocessing.Process(target=_compute, daemon=True) for _process in range(processes)]
    for one in running:
        one.start()
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.join()


def _compute() -> None:
    while True:
        pass


def _print(medians: Mapping[str, float], numbers: list[int], names: list[str]) -> None:
    least, rows = min(numbers), []
    for functions in numbers:
        row = [f"{functions:,}"]
        for name in names:
            seconds = medians[f"{functions} {name}"]
            growth = seconds / medians[f"{least} {name}"]
            row += [f"{seconds:.2f}", f"{1000 * seconds / functions:.2f}", f"{functions / least:.0f}, {growth:.1f}"]
        if len(names) > 1:
            row.append(f"{medians[f'{functions} {names[1]}'] / medians[f'{functions} {names[0]}']:.2f}")
        rows.append(row)
    heads = [f"{name}: {what}" for name in names for what in ("seconds", "ms a function", "functions x, time x")]
    rounds.table(["functions", *heads, *(["after / before"] * (len(names) - 1))], rows)


if __name__ == "__main__":
    main()
