# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `ansible` with a stopwatch on a module's way to its host.

Appends one JSON object to the file that STAGES names: seconds of packing the module, of transferring it and of running
it on the host; with PROCESSOR those of the processor, in this process and in those that it waits for. Methods of
ansible-core 2.19 to 2.21 are wrapped; the command's arguments are those of `ansible`.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import time
from collections.abc import Callable
from typing import Any

from ansible.cli import adhoc
from ansible.plugins.action import ActionBase

STAGES = {"_configure_module": "pack", "_transfer_file": "transfer", "_low_level_execute_command": "run"}


def clock() -> float:
    """Seconds, of the processor if PROCESSOR is set."""
    if "PROCESSOR" not in os.environ:
        return time.perf_counter()
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def watch(owner: type, method: str, stage: str, seconds: dict[str, float]) -> None:
    """Keep the longest time that a call of the method took: of all commands on the host that is the module."""
    real: Callable[..., Any] = getattr(owner, method)

    @functools.wraps(real)
    def timed(*arguments: Any, **named: Any) -> Any:
        began = clock()
        try:
            return real(*arguments, **named)
        finally:
            seconds[stage] = max(seconds.get(stage, 0.0), clock() - began)

    setattr(owner, method, timed)


def main() -> None:
    """Run the command. A task runs in a fork of this process, which is why the fork writes the file."""
    seconds: dict[str, float] = {}
    for method, stage in STAGES.items():
        watch(ActionBase, method, stage, seconds)
    execute = ActionBase._execute_module

    def execute_and_tell(*arguments: Any, **named: Any) -> Any:
        try:
            return execute(*arguments, **named)
        finally:
            with open(os.environ["STAGES"], "a", encoding="utf-8") as file:
                file.write(json.dumps(seconds) + "\n")

    ActionBase._execute_module = execute_and_tell
    adhoc.main()


if __name__ == "__main__":
    main()
