# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control command ``simulated-xen``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .interpreter.xen.lowlevel._simulator import Refused, request


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    top = argparse.ArgumentParser(prog="simulated-xen", description="A simulated Xen host.")
    commands = top.add_subparsers(dest="command", required=True)

    def command(name: str, help_text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text)
        default = os.environ.get("SIMULATED_XEN_DIR")
        added.add_argument("--dir", type=Path, default=default, required=default is None, help="run directory")
        return added

    for name, text in (
        ("start", "start a host in the background"),
        ("serve", "run a host in the foreground"),
        ("reset", "stop the host of a directory and start it anew"),
    ):
        added = command(name, text)
        added.add_argument("--machine", default="small-server", help="path or name of one; - for standard input")
        added.add_argument(
            "--while", dest="companion", metavar="PROCESS", help="end with this process: a number, or a program above"
        )
        added.add_argument("--json", action="store_true", help="print the environment as JSON")
    command("stop", "stop a host").add_argument("--keep", action="store_true", help="keep its directory")
    command("env", "print the variables that make a program work on the host").add_argument(
        "--json", action="store_true", help="as JSON"
    )
    command("devices", "print all devices as JSON")
    command("trace", "print who changed what in order")
    inject = command("inject", "cause a fault; without a name: list all")
    inject.add_argument("fault", nargs="?")
    inject.add_argument("arguments", nargs="*", metavar="name=value")
    acts = ("create", "destroy", "pause", "unpause", "poweroff", "reboot", "reset", "list", "load-pcifront")
    domain = command("domain", ", ".join(acts))
    domain.add_argument("act", choices=acts)
    domain.add_argument("name", nargs="?")
    domain.add_argument("settings", nargs="*", metavar="name=value")
    return top


def settings(words: Sequence[str]) -> dict[str, Any]:
    """``name=value`` words; values are JSON where they can be, else text."""
    result: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise Refused(f"{word!r} is not name=value")
        try:
            result[name] = json.loads(value)
        except ValueError:
            result[name] = value
    # Addresses, names and versions are text even where they look like numbers.
    return {k: str(v) if k in ("domain", "device", "linux", "value", "victim") else v for k, v in result.items()}


def as_json(variables: dict[str, str]) -> str:
    """Variables ready to use: PYTHONPATH in front of what it holds now."""
    if os.environ.get("PYTHONPATH"):
        variables["PYTHONPATH"] += os.pathsep + os.environ["PYTHONPATH"]
    return json.dumps(variables)


def run(options: argparse.Namespace) -> None:
    """Do what was asked."""
    directory: Path = Path(options.dir)
    if options.command in ("start", "serve", "stop", "reset", "env"):
        _life(options, directory)
    elif options.command == "inject":
        _inject(options, directory)
    elif options.command == "domain":
        _domain(options, directory)
    elif options.command == "trace":
        print("\n".join(request(str(directory), "trace")))
    else:
        print(json.dumps(request(str(directory), options.command), indent=2))


def _life(options: argparse.Namespace, directory: Path) -> None:
    # The simulator's own parts, which the short commands do without: they start in a third of the time.
    from . import daemon  # noqa: PLC0415
    from .simulated_host import RunDirectory  # noqa: PLC0415

    named = getattr(options, "companion", None)
    companion = daemon.find_process(named) if named else None
    if options.command == "serve":
        daemon.serve(options.machine, directory, companion)
        return
    if options.command in ("stop", "reset"):
        daemon.stop(directory)
    if options.command == "stop":
        if not options.keep:
            daemon.remove(directory)
        return
    if options.command == "env":
        run = RunDirectory(directory.resolve())
    else:
        run = daemon.start(options.machine, directory, companion)
    print(as_json(run.environment()) if options.json else daemon.exports(run))


def _inject(options: argparse.Namespace, directory: Path) -> None:
    if options.fault is None:
        from .faults import Faults  # noqa: PLC0415 - likewise

        for name, text in Faults.known().items():
            print(f"{name:16} {' '.join(text.split())}")
        return
    request(str(directory), "inject", fault=options.fault, **settings(options.arguments))


def _domain(options: argparse.Namespace, directory: Path) -> None:
    if options.act == "list":
        print(json.dumps(request(str(directory), "list"), indent=2))
        return
    if not options.name:
        raise Refused(f"domain {options.act} needs a name")
    if options.act == "create":
        print(
            json.dumps(request(str(directory), "create", config={"name": options.name, **settings(options.settings)}))
        )
    elif options.act in ("poweroff", "reboot", "reset"):
        request(str(directory), "end", domain=options.name, how=options.act)
    elif options.act in ("pause", "unpause"):
        request(str(directory), "pause", domain=options.name, paused=options.act == "pause")
    else:
        request(str(directory), options.act, domain=options.name, **settings(options.settings))


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 1 with one sentence on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] in (["xl"], ["ip"], ["modprobe"]):
        # Only the one that is wanted is imported, likewise.
        program = importlib.import_module(f".tools.{words[0]}", __package__)
        return int(program.main(words[1:]))
    if words[:1] == ["xl-clean-up"]:
        from .tools.guests import clean_up  # noqa: PLC0415 - likewise

        return clean_up(*words[1:])
    options = parser().parse_args(words)
    try:
        run(options)
    except (Refused, OSError, ValueError) as error:
        print(f"simulated-xen: {error}", file=sys.stderr)
        return 1
    return 0
