# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a simulated host as a process: start it in the background, run it, stop it."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

from .control import Control
from .host.machine import Machine, load
from .simulated_host import RunDirectory, SimulatedHost

LAUNCHER = Path(__file__).resolve().parent.parent / "simulated-xen"
INTERPRETER, SHELL = "ansible-python", "ansible-sh"
#: Programs of the simulator that do on the host what those of a real dom0 do.
SIMULATED = ("xl", "ip", "modprobe")
#: Programs of this machine that a host has as well: they do nothing but what they are asked to do to files.
SHARED = (
    "sh", "bash", "dash", "[", "awk", "base64", "basename", "cat", "chmod", "cmp", "cp", "cut", "date", "dd",
    "diff", "dirname", "echo", "env", "expr", "false", "find", "fold", "grep", "head", "id", "join", "ln", "ls",
    "md5sum", "mkdir", "mktemp", "mv", "nl", "od", "paste", "printf", "pwd", "readlink", "realpath", "rm",
    "rmdir", "sed", "seq", "sha256sum", "sleep", "sort", "split", "stat", "tail", "tar", "tee", "test",
    "timeout", "touch", "tr", "true", "uniq", "wc", "xargs",
    # These find xenstored by a variable.
    "xenstore-chmod", "xenstore-exists", "xenstore-list", "xenstore-ls", "xenstore-read", "xenstore-rm",
    "xenstore-watch", "xenstore-write",
)  # fmt: skip
START_SECONDS = 60.0
#: Each run asks ip for addresses. To start Python for the answer that there are none takes longer than the run.
_NO_MORE_OF_IP = """case " $* " in
    *" link "*) ;;
    *) echo "ip: $*: this simulated host has no more of a network than links" >&2; exit 1 ;;
esac
"""
#: The limit of Linux for the path of a socket, without the longest name of one in a run directory.
LONGEST_DIRECTORY = 107 - len("/run/qmp-libxl-99999")


class CannotStart(ValueError):
    """The text says what is in the way."""


def prepare(directory: Path) -> RunDirectory:
    """An empty run directory; CannotStart if a host runs there or its path is too long for a socket."""
    run = RunDirectory(directory.resolve())
    if len(str(run.path)) > LONGEST_DIRECTORY:
        raise CannotStart(
            f"The path {directory} is too long for a unix socket: choose one of at most {LONGEST_DIRECTORY} characters."
        )
    if process_id(run) is not None:
        raise CannotStart(f"A host runs in {directory}: stop it, or choose another directory.")
    if run.path.exists():
        if any(run.path.iterdir()) and not (run.path / "trace").exists():
            raise CannotStart(f"{directory} holds something that is no simulated host: choose an empty directory.")
        for entry in run.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    run.path.mkdir(parents=True, exist_ok=True)
    return run


def process_id(run: RunDirectory) -> int | None:
    """The id of the process that runs a host, None if there is none."""
    try:
        pid = int((run.path / "pid").read_text(encoding="ascii"))
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def start(machine: str, directory: Path, companion: int | None = None) -> RunDirectory:
    """Start a host in the background; returns when all its interfaces answer. It ends with its companion.

    `machine`: the name or the path of a description; - for one in JSON on standard input.
    """
    run = prepare(directory)
    (run.path / "trace").touch()
    if machine == "-":
        machine = str(run.path / "machine.json")
        Path(machine).write_text(sys.stdin.read(), encoding="utf-8")
    words = [sys.executable, str(LAUNCHER), "serve", "--machine", machine, "--dir", str(run.path)]
    words += [] if companion is None else ["--while", str(companion)]
    with (run.path / "log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        await_ready(run, lambda: process.poll() is None)
    except CannotStart:
        process.kill()
        raise
    return run


def await_ready(run: RunDirectory, lives: Callable[[], bool]) -> None:
    """Wait until a host that is starting answers; CannotStart with what it says if it ends instead."""
    deadline = time.monotonic() + START_SECONDS
    while not (run.path / "pid").exists():
        if not lives():
            raise CannotStart((run.path / "log").read_text(encoding="utf-8").strip() or "The host ended at once.")
        if time.monotonic() > deadline:
            raise CannotStart(f"The host was not ready within {START_SECONDS:.0f} s; see {run.path / 'log'}.")
        time.sleep(0.005)


def stop(directory: Path) -> None:
    """Stop the host of a run directory, if there is one, and wait until it is gone."""
    run = RunDirectory(directory.resolve())
    pid = process_id(run)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + START_SECONDS
    while process_id(run) is not None:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            (run.path / "pid").unlink(missing_ok=True)
        time.sleep(0.005)


def remove(directory: Path) -> None:
    """Delete the run directory of a host that does not run any more."""
    if (directory / "trace").exists():
        shutil.rmtree(directory)


def write_programs(run: RunDirectory) -> None:
    """Make the only directory on PATH: the host's programs, and those that lead to the host."""
    run.programs.mkdir(exist_ok=True)
    for name in SHARED:
        program, place = shutil.which(name), run.programs / name
        if program is not None and not os.path.lexists(place):
            place.symlink_to(program)
    here = f"SIMULATED_XEN_DIR={shlex.quote(str(run.path))}"
    for name in SIMULATED:
        first = _NO_MORE_OF_IP if name == "ip" else ""
        _program(run, name, f'{first}{here} exec {shlex.join([sys.executable, str(LAUNCHER), name])} "$@"')
    _program(run, "simulated-xen", f'{here} exec {shlex.join([sys.executable, str(LAUNCHER)])} "$@"')
    # For ansible_python_interpreter, which is one word, and for the connection xen.pci.simulated: a play reaches the
    # host without `environment`.
    for name in (INTERPRETER, "python3"):
        _program(run, name, f'{exports(run)}\nexec {shlex.quote(sys.executable)} "$@"')
    _program(run, SHELL, f'{exports(run)}\nexec {shlex.quote(shutil.which("sh") or "/bin/sh")} "$@"')


def _program(run: RunDirectory, name: str, script: str) -> None:
    program = run.programs / name
    if program.exists():
        return  # the description of the machine has its own
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


def exports(run: RunDirectory) -> str:
    """Lines for a shell that set the variables, PYTHONPATH in front of what it holds already."""
    lines = []
    for name, value in run.environment().items():
        rest = f"${{{name}:+:${name}}}" if name == "PYTHONPATH" else ""
        lines.append(f"export {name}={shlex.quote(value)}{rest}")
    return "\n".join(lines)


def find_process(who: str) -> int:
    """The process that a user means: a number, or the topmost of those above this one that run a program.

    Ansible forks one for each task, so the nearest would not last.
    """
    if who.isdecimal():
        return int(who)
    found, above = 0, os.getppid()
    while above:
        words = Path(f"/proc/{above}/cmdline").read_bytes().split(b"\0")
        if who in (os.path.basename(os.fsdecode(word)) for word in words[:2]):  # the second is an interpreter's script
            found = above
        above = int(Path(f"/proc/{above}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    if found:
        return found
    raise CannotStart(f"No process above this one runs {who}: name another one, or give its number.")


def descriptor_of(process: int) -> int:
    """A descriptor that becomes readable when the process ends."""
    try:
        return os.pidfd_open(process)
    except OSError as error:
        raise CannotStart(f"Process {process} cannot be followed: {error.strerror}.") from None


async def _serve(machine: Machine, run: RunDirectory, companion: int | None) -> None:
    host = SimulatedHost(machine, run)
    control = Control(host)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, control.stopped.set)
    if companion is not None:
        loop.add_reader(companion, control.stopped.set)
    await host.start()
    write_programs(run)
    await control.start(run.control_socket)
    # Everything that has been built so far stays: the collector need not look at it again.
    gc.freeze()
    (run.path / "pid.new").write_text(f"{os.getpid()}\n", encoding="ascii")
    os.replace(run.path / "pid.new", run.path / "pid")
    await control.stopped.wait()
    await control.close()
    await host.stop()
    (run.path / "pid").unlink()


def serve(machine: str, directory: Path, companion: int | None = None) -> None:
    """Run a host in this process until it is told to stop, or until its companion ends; then nothing is left of it."""
    run = RunDirectory(directory.resolve())
    run.path.mkdir(parents=True, exist_ok=True)
    descriptor = None if companion is None else descriptor_of(companion)
    asyncio.run(_serve(load(machine), run, descriptor))
    if descriptor is not None and select.select([descriptor], [], [], 0)[0]:
        remove(run.path)
