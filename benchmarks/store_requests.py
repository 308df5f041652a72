# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a run of domain_devices asks xenstored: requests and round trips, counted between the two.

Each run is a process of its own on a simulated host: it observes, changes and observes again. What adding and removing
take beyond a run that changes nothing is what the handshakes cost. With --before PATH another checkout is counted, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / path) for path in ("benchmarks/helpers", "tests/support", "roles/simulated_host/files")]

import rounds  # noqa: E402  (the path comes first)
from checkouts import SMALL_SERVER, collections_of, environment, simulated_host  # noqa: E402
from store_counter import Counts, counting  # noqa: E402

from simulated_xen import daemon  # noqa: E402

DEVICES = [f"0000:{bus:02x}:00.0" for bus in (1, 2, 3, 4)]
RUNS = ("add", "no change", "remove")


def main() -> None:
    """Count for each checkout and each number of devices; print one table."""
    options = rounds.options(__doc__, 1)
    options.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4], help=f"devices, at most {len(DEVICES)}")
    chosen = options.parse_args()
    names = rounds.checkouts(chosen.before)
    seen = {name: _count(checkout, chosen.counts) for name, checkout in names.items()}
    rows = []
    for devices in chosen.counts:
        for run in RUNS:
            counted = [seen[name][run, devices] for name in names]
            numbers = [str(number) for one in counted for number in (one.requests, one.round_trips)]
            rows.append([run, str(devices), *numbers])
    heads = [head for name in names for head in (f"requests {name}", f"round trips {name}")]
    rounds.table(["run", "devices", *heads], rows)


def _count(checkout: Path, numbers: list[int]) -> dict[tuple[str, int], Counts]:
    found = {}
    with ExitStack() as stack:
        collections = stack.enter_context(collections_of(checkout))
        host = stack.enter_context(simulated_host(SMALL_SERVER))
        _run(host, collections, "assignable_devices", {"devices": DEVICES})
        for number in numbers:
            for run in RUNS:
                state = "absent" if run == "remove" else "present"
                domains = {"g1": {"devices": DEVICES[:number], "state": state}}
                found[run, number] = _run(host, collections, "domain_devices", {"domains": domains})
    return found


def _run(host: daemon.RunDirectory, collections: Path, module: str, parameters: dict[str, Any]) -> Counts:
    place = host.path / "counted"
    with counting(host.store_socket, place) as counts:
        done = subprocess.run(
            [sys.executable, "-m", f"ansible_collections.xen.pci.plugins.modules.{module}"],
            env={**environment(host, collections), "XENSTORED_PATH": str(place)},
            input=json.dumps({"ANSIBLE_MODULE_ARGS": parameters}),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{module} failed: {done.stdout}")
    return counts


if __name__ == "__main__":
    main()
