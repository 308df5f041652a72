# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack a module as ansible-core does, again and again, with a stopwatch: prints the seconds of each part as JSON.

Arguments: the directory of collections, the module's name, how often. It is the processor's time, the least of all
rounds. What calls functions of ansible-core 2.19 to 2.21 is here only. `collector` is what Python's garbage collector
takes; the other parts are without it.
"""

from __future__ import annotations

import datetime
import gc
import io
import json
import os
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["ANSIBLE_COLLECTIONS_PATH"] = sys.argv[1]

from ansible._internal._ansiballz import _builder
from ansible.executor import module_common
from ansible.plugins.loader import init_plugin_loader, module_loader

PARTS = {
    "parse": (module_common, "_compile_module_ast"),
    "imports": (module_common.ModuleDepFinder, "__init__"),
    "names": (module_common.CollectionModuleUtilLocator, "__init__"),
    "ansible": (module_common.LegacyModuleUtilLocator, "__init__"),
    "compress": (zipfile.ZipFile, "writestr"),
}


def main() -> None:
    """Pack with the collector and without it, then once more for the parts."""
    name, rounds = sys.argv[2], int(sys.argv[3])
    init_plugin_loader()
    pack(name)
    usual = min(pack(name) for _round in range(rounds))
    gc.disable()
    parts = min((timed(name) for _round in range(rounds)), key=lambda found: found["total"])
    print(json.dumps({**parts, "collector": usual - parts["total"]}))


def timed(name: str) -> dict[str, float]:
    """Pack once; what is no part of its own is the order in which Ansible goes through the names."""
    seconds: Counter[str] = Counter()
    restore = [watch(owner, method, part, seconds) for part, (owner, method) in PARTS.items()]
    total = pack(name)
    for back in restore:
        back()
    seconds["names"] += total - seconds.total()
    return {**seconds, "total": total}


def watch(owner: Any, method: str, part: str, seconds: Counter[str]) -> Callable[[], None]:
    """Add up the time of all calls; returns what ends that."""
    real = getattr(owner, method)

    def measured(*arguments: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return real(*arguments, **named)
        finally:
            seconds[part] += time.process_time() - began

    setattr(owner, method, measured)
    return lambda: setattr(owner, method, real)


def pack(name: str) -> float:
    """What ansible-core does for a module that it has not packed yet; returns how long it takes."""
    path = module_loader.find_plugin(name)
    source, full_name = Path(path).read_bytes(), module_common._get_ansible_module_fqn(path)
    extensions = _builder.ExtensionManager.create(task_vars={})
    now = datetime.datetime.now(datetime.UTC)
    began = time.process_time()
    with zipfile.ZipFile(io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        tagged = module_common.Origin(path=path).tag(source)
        module_common.recursive_finder(name.rsplit(".", maxsplit=1)[-1], full_name, tagged, archive, now, extensions)
        module_common._add_module_to_zip(archive, now, full_name, source, path, extensions)
    return time.process_time() - began


if __name__ == "__main__":
    main()
