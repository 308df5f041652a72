# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adding and removing 1, 2, 4 and 8 devices on the lab: our engine against `xl` one by one.

Prints a table and asserts nothing. Both are timed inside dom0 until both ends of the guest's
connection are at rest and the guest has (or no longer has) the devices; rounds alternate, so
that a noisy machine is noisy for both. `add` is after a use by xl, `add again` after one of ours.
`python benchmarks/hotplug.py --help` for the options.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from xenlab import Host, topology  # noqa: E402  (the path comes first)

GUEST = "g1"
DEVICES = (*topology.NICS, *topology.DUAL_NIC, *topology.NVMES)
INSIDE = "/root/xen-pci-benchmark"


@dataclass(frozen=True)
class Sample:
    """Seconds of one operation; `kernel` is the two kernels' share of ours."""

    operation: str
    count: int
    ours: float
    kernel: float
    xl: float


def main() -> None:
    """Run all rounds and print a table for each kind of guest."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lab-host", help="use this running host instead of booting one")
    options.add_argument("--rounds", type=int, default=5, help="rounds for each number of devices (default: 5)")
    options.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8])
    options.add_argument("--shares", action="store_true", help="show where our own time goes with one device, instead")
    chosen = options.parse_args()
    with Host.borrowed(chosen.lab_host, "bench") as host:
        _install(host)
        if chosen.shares:
            _print_shares(host, chosen.rounds)
            return
        print(
            f"median of {chosen.rounds} rounds; seconds inside dom0, under emulation: only the ratios mean something\n"
        )
        for drivers in (True, False):
            host.guest(GUEST).run("modprobe -a e1000e nvme" if drivers else "rmmod e1000e nvme")
            samples = _measure(host, chosen.rounds, chosen.counts)
            _print(f"guest {'with' if drivers else 'without'} drivers for the devices", samples)
        host.guest(GUEST).run("modprobe -a e1000e nvme")
        print(f"starting Python and importing the engine: {_start_up(host):.2f} s, once per run of ours")


def _install(host: Host) -> None:
    """Put the collection's engine and the rounds into dom0."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(ROOT / "plugins" / "module_utils", "ansible_collections/xen/pci/plugins/module_utils")
        for script in sorted((ROOT / "benchmarks" / "in_dom0").glob("hotplug_*.py")):
            archive.add(script, script.name)
    host.run(f"rm -rf {INSIDE}; mkdir {INSIDE}")
    packed = buffer.getvalue().hex()
    unpack = f"import sys; open('{INSIDE}/a.tar', 'wb').write(bytes.fromhex(sys.stdin.read()))"
    host.run(["python3", "-c", unpack], stdin=packed)
    host.run(f"cd {INSIDE} && tar xf a.tar && python3 -m compileall -q .", timeout=300)


def _measure(host: Host, rounds: int, counts: list[int]) -> list[Sample]:
    addresses = [device.bdf for device in DEVICES]
    order = json.dumps({"guest": GUEST, "devices": addresses, "counts": counts, "rounds": rounds})
    done = host.run(["python3", f"{INSIDE}/hotplug_rounds.py"], stdin=order, timeout=3600)
    return [Sample(**json.loads(line)) for line in done.lines]


def _print_shares(host: Host, rounds: int) -> None:
    """Print the median milliseconds of each part of ours, beyond the two kernels' share, for one device."""
    order = json.dumps({"guest": GUEST, "devices": [DEVICES[0].bdf], "rounds": rounds})
    host.guest(GUEST).run("modprobe -a e1000e nvme")
    done = host.run(["python3", f"{INSIDE}/hotplug_shares.py"], stdin=order, timeout=3600)
    samples = [json.loads(line) for line in done.lines]
    parts = list(dict.fromkeys(name for sample in samples for name in sample if name != "operation"))
    print(f"| milliseconds | {' | '.join(parts)} |")
    print("|---" * (len(parts) + 1) + "|")
    for operation in ("add", "add again", "remove"):
        own = [sample for sample in samples if sample["operation"] == operation]
        row = [f"{median(sample.get(part, 0) for sample in own) * 1000:.0f}" for part in parts]
        print(f"| {operation} | {' | '.join(row)} |")


def _start_up(host: Host) -> float:
    command = f"cd {INSIDE}; time -p python3 -c 'import hotplug_rounds'"
    said = host.run(["bash", "-c", command]).stderr
    return float(next(line for line in said.splitlines() if line.startswith("real")).split()[1])


def _print(title: str, samples: list[Sample]) -> None:
    print(f"{title}\n")
    print("| operation | devices | ours | kernels' share | ours / kernels | xl one by one | xl / ours |")
    print("|---|---|---|---|---|---|---|")
    for operation in ("add", "add again", "remove"):
        for count in sorted({sample.count for sample in samples}):
            own = [one for one in samples if (one.operation, one.count) == (operation, count)]
            ours, kernel, xl = (median(getattr(one, name) for one in own) for name in ("ours", "kernel", "xl"))
            over = median(one.ours / one.kernel for one in own)
            faster = median(one.xl / one.ours for one in own)
            print(f"| {operation} | {count} | {ours:.2f} | {kernel:.2f} | {over:.2f} | {xl:.2f} | {faster:.1f} |")
    print()


if __name__ == "__main__":
    main()
