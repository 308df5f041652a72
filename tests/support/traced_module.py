# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one module in this process and print, as JSON, its result and which functions of the collection ran.

Arguments: the module's name and its parameters as JSON. Functions are counted once each, in all threads, by
sys.setprofile. Comprehensions and lambdas belong to the function around them, and what runs at an import (the bodies
of modules and classes) is no function.
"""

from __future__ import annotations

import importlib
import inspect
import io
import json
import sys
import threading
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from ansible.module_utils import basic

PLUGINS = "ansible_collections.xen.pci.plugins"


class Recorder:
    """The functions of the collection that have run since it was started."""

    def __init__(self, plugins: Path) -> None:
        self._plugins = f"{plugins}/"
        self._codes: set[CodeType] = set()

    def start(self) -> None:
        threading.setprofile(self._see)
        sys.setprofile(self._see)

    def stop(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def functions(self) -> dict[str, list[str]]:
        """Names of the functions by file, both in order."""
        found: dict[str, list[str]] = {}
        for code in sorted(self._codes, key=lambda one: (one.co_filename, one.co_firstlineno)):
            found.setdefault(code.co_filename.removeprefix(self._plugins), []).append(code.co_name)
        return found

    def _see(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(self._plugins) and _is_function(code):
            self._codes.add(code)


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and not code.co_name.startswith("<")


def run(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The module's result, the functions that ran, by file, and the files that were loaded."""
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": parameters}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    module = importlib.import_module(f"{PLUGINS}.modules.{name}")
    plugins = Path(str(module.__file__)).parent.parent
    recorder, output = Recorder(plugins), io.StringIO()
    recorder.start()
    try:
        with redirect_stdout(output), suppress(SystemExit):
            module.main()
    finally:
        recorder.stop()
    files = [getattr(one, "__file__", None) for key, one in sys.modules.items() if key.startswith(PLUGINS)]
    loaded = sorted(str(Path(file).relative_to(plugins)) for file in files if file)
    result = json.loads(output.getvalue().splitlines()[-1])
    return {"result": result, "functions": recorder.functions(), "loaded": loaded}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], json.loads(sys.argv[2]))))
