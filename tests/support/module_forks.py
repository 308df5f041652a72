# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules as Ansible starts them, each as the main program of a process of its own, without importing all again.

Python's start and the imports are most of a short run. Here a process with the host's variables imports a module when
it is first asked for, and each run is a fork of it that reads the arguments from its standard input. What else the
processes of module_process.py can do (be killed, be refused, with a clock of their own) is no part of it.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Any, NoReturn

MODULES = "ansible_collections.xen.pci.plugins.modules"


class ModuleForks:
    """The process; it ends when its standard input is closed, so also with the process of the tests."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=dict(environment), stdin=pipe, stdout=pipe, text=True
        )

    def run(self, module: str, arguments: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> Any:
        """What a module prints, from JSON; with more environment variables if given."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        words = {"ANSIBLE_MODULE_ARGS": dict(arguments)}
        print(json.dumps([module, json.dumps(words), dict(variables or {})]), file=self._process.stdin, flush=True)
        output, errors = json.loads(self._process.stdout.readline())
        assert output.strip(), errors
        return json.loads(output)

    def close(self) -> None:
        """End it."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()


def _become(module: str, files: Sequence[IO[str]], variables: Mapping[str, str]) -> NoReturn:
    """Run a module as the main program, with these files as its standard ones."""
    os.environ.update(variables)
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = [module]
    with suppress(SystemExit):
        runpy.run_module(f"{MODULES}.{module}", run_name="__main__", alter_sys=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _serve() -> None:
    """Answer each request with what a fork has printed."""
    for line in sys.stdin:
        module, words, variables = json.loads(line)
        importlib.import_module(f"{MODULES}.{module}")
        with TemporaryFile("w+") as given, TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
            given.write(words)
            given.seek(0)
            child = os.fork()
            if child == 0:
                _become(module, (given, output, errors), variables)
            os.waitpid(child, 0)
            for file in (output, errors):
                file.seek(0)
            print(json.dumps([output.read(), errors.read()]), flush=True)


if __name__ == "__main__":
    _serve()
