# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a packed module as on its host, with a stopwatch: prints the seconds of each part as JSON.

Arguments: the zip that Ansible packed, the module's name and its parameters as JSON. With PROCESSOR the seconds are the
processor's. `observe` is the share of the
function of that name in the module's own time, by a second run under a profiler.
"""

from __future__ import annotations

import cProfile
import importlib
import io
import json
import os
import pstats
import sys
import time
from contextlib import redirect_stdout, suppress
from typing import Any


def main() -> None:
    """Import, run, run again under the profiler."""
    archive, name, parameters = sys.argv[1:]
    sys.path.insert(0, archive)
    clock = time.process_time if "PROCESSOR" in os.environ else time.perf_counter
    began = clock()
    basic = importlib.import_module("ansible.module_utils.basic")
    ansible_imported = clock()
    module = importlib.import_module(
        f"ansible_collections.{name.rpartition('.')[0]}.plugins.modules.{name.split('.')[-1]}"
    )
    imported = clock()
    _run(basic, module, parameters)
    ended = clock()
    profile = cProfile.Profile()
    profile.runcall(_run, basic, module, parameters)
    seconds = {
        "ansible": ansible_imported - began,
        "collection": imported - ansible_imported,
        "main": ended - imported,
        "observe": (ended - imported) * _share(pstats.Stats(profile), "observe"),
    }
    print(json.dumps(seconds))


def _run(basic: Any, module: Any, parameters: str) -> None:
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": json.loads(parameters)}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    with redirect_stdout(io.StringIO()), suppress(SystemExit):
        module.main()


def _share(stats: Any, function: str) -> float:
    """The part of all time that passed in a function of the collection, with what it called."""
    taken = [
        cumulated
        for (file, _line, name), (_calls, _all, _own, cumulated, _callers) in stats.stats.items()
        if name == function and file.endswith(f"/{function}.py")
    ]
    return max(taken, default=0.0) / stats.total_tt


if __name__ == "__main__":
    main()
