# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible sends for each module, where the time of a run of domain_devices goes that changes nothing, and what
packing that module consists of.

Sizes are those of the file that Ansible transfers, by ANSIBLE_KEEP_REMOTE_FILES, and of what is packed in it. With
--before PATH the modules of another checkout take turns with those of this one.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / path) for path in ("benchmarks/helpers", "tests/support", "roles/simulated_host/files")]

import rounds  # noqa: E402  (the path comes first)
from ansible_runs import NO_OPS, PING, Fleet, fleet  # noqa: E402

MODULE = "xen.pci.domain_devices"
#: The stages in the order of time, with the words for each.
STAGES = {
    "ansible": "Ansible itself: start, inventory, a process for the task, the result",
    "pack": "packing the module (once a run, for all hosts)",
    "transfer": "transferring it",
    "python": "starting Python, unpacking, Ansible's imports",
    "collection": "importing the collection",
    "observe": "observing the host",
    "rest": "arguments, plan, verification, answer",
}
#: What packing consists of, with the words for each.
PACKING = {
    "parse": "parsing each file",
    "imports": "looking for imports in it",
    "names": "looking up each imported name, and putting them in order",
    "ansible": "looking up Ansible's own",
    "compress": "compressing",
    "collector": "Python's garbage collector, if it is on",
}


@dataclass(frozen=True)
class Packed:
    """What Ansible sent for a module: the size of the file, and its files again as a zip."""

    kilobytes: float
    files: int
    archive: Path


def main() -> None:
    """Print all tables."""
    chosen = rounds.options(__doc__, 10).parse_args()
    if chosen.processor:
        os.environ["PROCESSOR"] = "1"
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="packed-")))
        fleets = {
            name: stack.enter_context(fleet(checkout, 1)) for name, checkout in rounds.checkouts(chosen.before).items()
        }
        last = list(fleets.values())[-1]
        packed = {PING: _packed(last, PING, {}, place / "ping")}
        for name, made in fleets.items():
            for module, arguments in NO_OPS.items():
                packed[f"{module} {name}"] = _packed(made, module, arguments, place / f"{module}-{name}")
        print("What is sent\n")
        rounds.table(
            ["", "kB", "files"], [[name, f"{one.kilobytes:.0f}", str(one.files)] for name, one in packed.items()]
        )
        _stages(fleets, packed, chosen.rounds)
        _packing(fleets, chosen.rounds)


def _packed(made: Fleet, module: str, arguments: Mapping[str, Any], place: Path) -> Packed:
    place.mkdir()
    made.module(module, arguments, ANSIBLE_KEEP_REMOTE_FILES="1", ANSIBLE_REMOTE_TEMP=str(place))
    (payload,) = place.glob("*/AnsiballZ_*.py")
    subprocess.run([sys.executable, payload, "explode"], stdout=subprocess.DEVNULL, check=True)
    sources = payload.parent / "debug_dir"
    files = [file for file in sources.rglob("*.py") if file.parent != sources]
    with zipfile.ZipFile(place / "modules.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(sources))
    return Packed(payload.stat().st_size / 1000, len(files), place / "modules.zip")


def _stages(fleets: Mapping[str, Fleet], packed: Mapping[str, Packed], count: int) -> None:
    """Each stage's median; what is not measured itself is the rest of what holds it."""
    subjects = {PING: (list(fleets.values())[-1], PING)}
    subjects |= {name: (made, MODULE) for name, made in fleets.items()}
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in subjects}
    for _round in range(count):
        for name, (made, module) in subjects.items():
            stages = _through_ansible(made, module)
            if module != PING:
                stages |= _on_the_host(made, packed[f"{module} {name}"].archive)
            seen[name].append(_split(stages))
    print(f"Where the time of {MODULE} goes, one simulated host, {count} rounds: milliseconds, median\n")
    rows = [
        [words, *(f"{1000 * median(one[stage] for one in stages):.0f}" for stages in seen.values())]
        for stage, words in STAGES.items()
    ]
    total = [f"{1000 * median(sum(one.values()) for one in stages):.0f}" for stages in seen.values()]
    rounds.table(["", *seen], [*rows, ["together", *total]])


def _packing(fleets: Mapping[str, Fleet], count: int) -> None:
    last = list(fleets.values())[-1]
    seen = {PING: _parts_of_packing(last, PING, count)}
    seen |= {name: _parts_of_packing(made, MODULE, count) for name, made in fleets.items()}
    print(f"What packing {MODULE} consists of, {count} rounds: milliseconds of the processor, least\n")
    rows = [[words, *(f"{1000 * parts[part]:.0f}" for parts in seen.values())] for part, words in PACKING.items()]
    rounds.table(["", *seen], rows)


def _parts_of_packing(made: Fleet, module: str, count: int) -> dict[str, float]:
    program = ROOT / "benchmarks" / "helpers" / "timed_packing.py"
    words = [sys.executable, str(program), str(made.collections), module, str(count)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return Counter(json.loads(done.stdout))


def _through_ansible(made: Fleet, module: str) -> dict[str, float]:
    with tempfile.NamedTemporaryFile() as file:
        program = ROOT / "benchmarks" / "helpers" / "timed_ansible.py"
        run = functools.partial(made.module, module, NO_OPS.get(module, {}), program=program, STAGES=file.name)
        total = rounds.measured(run, clock=rounds.stopwatch("PROCESSOR" in os.environ))
        stages: dict[str, float] = json.loads(Path(file.name).read_text())
    return {"total": total, **stages}


def _on_the_host(made: Fleet, archive: Path) -> dict[str, float]:
    program = ROOT / "benchmarks" / "helpers" / "timed_module.py"
    words = [made.python(0), str(program), str(archive), MODULE, json.dumps(NO_OPS[MODULE])]
    done = subprocess.run(words, env=dict(os.environ), stdout=subprocess.PIPE, text=True, check=True)
    parts: dict[str, float] = json.loads(done.stdout)
    return parts


def _split(stages: Mapping[str, float]) -> dict[str, float]:
    collection, work, observing = (stages.get(name, 0.0) for name in ("collection", "main", "observe"))
    return {
        "ansible": stages["total"] - stages["pack"] - stages["transfer"] - stages["run"],
        "pack": stages["pack"],
        "transfer": stages["transfer"],
        "python": stages["run"] - collection - work,
        "collection": collection,
        "observe": observing,
        "rest": work - observing,
    }


if __name__ == "__main__":
    main()
