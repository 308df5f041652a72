# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count how much code a device passes through: the functions and files of the collection that each run needs.

One device on a simulated host is made assignable, added to a guest, left where it is, removed and released. Each is
one run of a module in a process of its own. `loaded` are the files that were imported, whether used or not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "roles" / "simulated_host" / "files")]

from checkouts import SMALL_SERVER, collections_of, environment, simulated_host  # noqa: E402  (the path comes first)

DEVICE = "0000:01:00.0"
#: What is run, in this order: the module and its parameters.
RUNS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "assign": ("assignable_devices", {"devices": [DEVICE]}),
    "add": ("domain_devices", {"domains": {"g1": {"devices": [DEVICE]}}}),
    "no-op": ("domain_devices", {"domains": {"g1": {"devices": [DEVICE]}}}),
    "remove": ("domain_devices", {"domains": {"g1": {"devices": [DEVICE], "state": "absent"}}}),
    "release": ("assignable_devices", {"devices": [DEVICE], "state": "absent"}),
}


def trace(checkout: Path) -> dict[str, dict[str, Any]]:
    """What ran in each run: `functions` by file, and `loaded` files. Raises SystemExit if a run failed."""
    program = ROOT / "tests" / "support" / "traced_module.py"
    found = {}
    with collections_of(checkout) as collections, simulated_host(SMALL_SERVER) as host:
        for name, (module, parameters) in RUNS.items():
            words = [sys.executable, str(program), module, json.dumps(parameters)]
            done = subprocess.run(
                words, env=environment(host, collections), stdout=subprocess.PIPE, text=True, check=True
            )
            found[name] = json.loads(done.stdout)
            result = found[name]["result"]
            if result.get("failed") or result["changed"] != (name != "no-op"):
                raise SystemExit(f"{name}: not the run that was meant: {result.get('msg', result)}")
    return found


def main() -> None:
    """Trace a checkout and print the counts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("checkout", nargs="?", type=Path, default=ROOT, help="which one (default: this one)")
    options.add_argument("--list", action="store_true", help="list the files of each run, with their functions")
    chosen = options.parse_args()
    found = trace(chosen.checkout)
    print("run       functions   files   loaded")
    for name, seen in found.items():
        count = sum(map(len, seen["functions"].values()))
        print(f"{name:9} {count:9}   {len(seen['functions']):5}   {len(seen['loaded']):6}")
    if chosen.list:
        for name, seen in found.items():
            _list(name, seen["functions"])


def _list(name: str, functions: Mapping[str, list[str]]) -> None:
    packages = Counter(str(Path(file).parent) for file in functions)
    print(f"\n{name}: {', '.join(f'{package} {files}' for package, files in sorted(packages.items()))}")
    for file, names in sorted(functions.items()):
        print(f"  {file} ({len(names)}): {', '.join(names)}")


if __name__ == "__main__":
    main()
