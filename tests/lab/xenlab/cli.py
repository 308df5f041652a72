# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the lab."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence

from xenlab import console, image, machine, ssh
from xenlab.errors import LabError
from xenlab.host import Host

DEFAULT_NAME = "xen1"


def say(message: str) -> None:
    print(f"lab: {message}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up, as after Ctrl-C
    try:
        return int(options.act(options))
    except LabError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="A real Xen host inside QEMU, no KVM needed.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, act: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(act=act)
        return sub

    command("build", _build, "build the host's image, unless it is there")
    boot = command("boot", _boot, "start a host; returns when dom0 answers and the guests report")
    boot.add_argument("name", nargs="?", default=DEFAULT_NAME)
    boot.add_argument("--timeout", type=float, default=600, metavar="SECONDS")
    boot.add_argument("--hvm", action="store_true", help="HVM guests are to run there, see start-guest")
    boot.add_argument("--pciback-built-in", action="store_true", help="into the kernel of dom0, which GRUB boots")
    run = command("run", _run, "run a command in dom0")
    run.add_argument("name")
    run.add_argument("words", nargs="+", metavar="-- COMMAND")
    guest = command("guest", _guest, "run a command in a guest")
    guest.add_argument("--timeout", type=float, default=60, metavar="SECONDS")
    guest.add_argument("name")
    guest.add_argument("guest")
    guest.add_argument("words", nargs="+", metavar="-- COMMAND")
    start = command("start-guest", _start_guest, "create a guest that does not start with the host, such as h1")
    start.add_argument("--timeout", type=float, default=600, metavar="SECONDS")
    start.add_argument("name")
    start.add_argument("guest")
    command("console", _console, "join this terminal to a host's serial line (Ctrl-] leaves)").add_argument("name")
    command("inventory", _inventory, "write an Ansible inventory for a host and print its path").add_argument("name")
    command("status", _status, "list the hosts")
    stop = command("stop", _stop, "stop hosts; nothing is left of them")
    stop.add_argument("names", nargs="*", metavar="NAME")
    stop.add_argument("--all", action="store_true")
    return parser


def _words(words: Sequence[str]) -> str | Sequence[str]:
    """One word is a line for the shell, as with ssh; several are a command and its arguments."""
    return words[0] if len(words) == 1 else words


def _build(_options: argparse.Namespace) -> int:
    print(image.build(say).directory)
    return 0


def _boot(options: argparse.Namespace) -> int:
    began = time.monotonic()
    host = Host.boot(
        options.name,
        timeout=options.timeout,
        say=say,
        hvm=options.hvm,
        pciback_built_in=options.pciback_built_in,
    )
    say(f"host {host.name} is ready after {time.monotonic() - began:.0f} s")
    print(host.ssh_command)
    return 0


def _run(options: argparse.Namespace) -> int:
    return ssh.interact(Host.get(options.name, ready=False).directory, _words(options.words))


def _guest(options: argparse.Namespace) -> int:
    guest = Host.get(options.name).guest(options.guest)
    result = guest.run(_words(options.words), timeout=options.timeout, check=False)
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    return result.status


def _start_guest(options: argparse.Namespace) -> int:
    Host.get(options.name).start_guest(options.guest, timeout=options.timeout)
    return 0


def _console(options: argparse.Namespace) -> int:
    console.attach(Host.get(options.name, ready=False).console_socket)
    return 0


def _inventory(options: argparse.Namespace) -> int:
    print(Host.get(options.name).inventory())
    return 0


def _status(_options: argparse.Namespace) -> int:
    for host in Host.all():
        process = machine.pid(host.directory)
        print(f"{host.name}\t{f'runs, process {process}' if process else 'dead'}\t{host.ssh_command}")
    return 0


def _stop(options: argparse.Namespace) -> int:
    known = {host.name: host for host in Host.all()}
    names = list(known) if options.all else options.names or [DEFAULT_NAME]
    if unknown := [name for name in names if name not in known]:
        raise LabError(f"no such host: {', '.join(unknown)}; `lab status` lists them")
    for name in names:
        known[name].stop()
    return 0
