# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three stores and a raw client. A daemon that is not installed skips its share, by name."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
LAUNCHER = HERE.parents[1] / "roles/simulated_host/files/simulated-xen"
DAEMONS = Path("/usr/lib/xen-4.17/bin")
PATIENCE = 60.0

READ, GET_PERMS, WATCH, UNWATCH, START, END = 2, 3, 4, 5, 6, 7
DIRECTORY, INTRODUCE, RELEASE, DOMAIN_PATH, WRITE, MKDIR, RM, SET_PERMS = 1, 8, 9, 10, 11, 12, 13, 14
EVENT, ERROR, INTRODUCED, DIRECTORY_PART = 15, 16, 17, 22


class Wire:
    """One connection; every reply is checked to belong to its request. Refusals are OSError."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(path)
        self._number = 0
        self.events: list[tuple[str, str]] = []

    def close(self) -> None:
        self._socket.close()

    def ask(self, kind: int, payload: bytes, transaction: int = 0) -> bytes:
        self._number += 1
        self._socket.sendall(struct.pack("<IIII", kind, self._number, transaction, len(payload)) + payload)
        while True:
            reply, number, _transaction, body = self._packet()
            if reply == EVENT:
                self._event(body)
                continue
            assert number == self._number
            if reply == ERROR:
                assert body.endswith(b"\0")
                name = body[:-1].decode()
                raise OSError(getattr(errno, name), name)
            assert reply == kind
            return body

    def _packet(self) -> tuple[int, int, int, bytes]:
        kind, number, transaction, length = struct.unpack("<IIII", self._bytes(16))
        return kind, number, transaction, self._bytes(length)

    def _bytes(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise ConnectionError("the daemon hung up")
            data += part
        return data

    def _event(self, body: bytes) -> None:
        path, token = body[:-1].split(b"\0")
        self.events.append((path.decode(), token.decode()))

    def next_events(self, count: int) -> list[tuple[str, str]]:
        """The next so many events, waiting for them."""
        while len(self.events) < count:
            kind, _number, _transaction, body = self._packet()
            assert kind == EVENT
            self._event(body)
        taken, self.events = self.events[:count], self.events[count:]
        return taken

    def no_more_events(self) -> bool:
        """Whether nothing is under way: whatever was would come before the answer to a request."""
        self.ask(GET_PERMS, b"/\0")
        return not self.events

    def read(self, path: str, transaction: int = 0) -> bytes:
        return self.ask(READ, path.encode() + b"\0", transaction)

    def write(self, path: str, value: bytes, transaction: int = 0) -> None:
        assert self.ask(WRITE, path.encode() + b"\0" + value, transaction) == b"OK\0"

    def mkdir(self, path: str, transaction: int = 0) -> None:
        assert self.ask(MKDIR, path.encode() + b"\0", transaction) == b"OK\0"

    def rm(self, path: str, transaction: int = 0) -> None:
        assert self.ask(RM, path.encode() + b"\0", transaction) == b"OK\0"

    def names(self, path: str, transaction: int = 0) -> list[str]:
        return [name.decode() for name in self.ask(DIRECTORY, path.encode() + b"\0", transaction).split(b"\0") if name]

    def perms(self, path: str, transaction: int = 0) -> list[str]:
        return [entry.decode() for entry in self.ask(GET_PERMS, path.encode() + b"\0", transaction).split(b"\0")[:-1]]

    def set_perms(self, path: str, *perms: str) -> None:
        payload = "".join(f"{part}\0" for part in (path, *perms)).encode()
        assert self.ask(SET_PERMS, payload) == b"OK\0"

    def start(self) -> int:
        return int(self.ask(START, b"\0").rstrip(b"\0"))

    def end(self, transaction: int, commit: bool = True) -> None:
        assert self.ask(END, b"T\0" if commit else b"F\0", transaction) == b"OK\0"

    def watch(self, path: str, token: str) -> None:
        assert self.ask(WATCH, f"{path}\0{token}\0".encode()) == b"OK\0"

    def unwatch(self, path: str, token: str) -> None:
        assert self.ask(UNWATCH, f"{path}\0{token}\0".encode()) == b"OK\0"


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands in for the hypervisor below Debian's daemons."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: install gcc to hold the simulated store against the real ones")
    target = tmp_path_factory.mktemp("shim") / "no_hypervisor.so"
    source = HERE / "no_hypervisor.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", str(target), str(source), "-ldl"], check=True)
    return target


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """Short, because it holds sockets."""
    path = Path(tempfile.mkdtemp(prefix="xs"))
    yield path
    shutil.rmtree(path)


def daemon(program: str) -> str:
    path = DAEMONS / program
    if not path.exists():
        pytest.skip(f"no {path}: install xen-utils-4.17 to hold the simulated store against {program}")
    return str(path)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            Wire(str(path)).close()
        except OSError:
            assert process.poll() is None, f"the daemon ended: {process.returncode}"
            assert time.monotonic() < deadline, "the daemon does not listen"
            time.sleep(0.005)
        else:
            return


@pytest.fixture(scope="session")
def simulated(directory: Path) -> Iterator[str]:
    run = directory / "s"
    machine = directory / "machine.json"
    machine.write_text(json.dumps({"devices": []}))
    words = [sys.executable, str(LAUNCHER)]
    subprocess.run(
        [*words, "start", "--machine", str(machine), "--dir", str(run)], check=True, stdout=subprocess.DEVNULL
    )
    yield str(run / "xenstored/socket")
    subprocess.run([*words, "stop", "--dir", str(run)], check=True)


@pytest.fixture(scope="session")
def xenstored(directory: Path, shim: Path) -> Iterator[str]:
    run = directory / "c"
    run.mkdir()
    words = [daemon("xenstored"), "--no-fork", "--pid-file", str(run / "pid")]
    variables = {**os.environ, "XENSTORED_RUNDIR": str(run), "LD_PRELOAD": str(shim)}
    process = subprocess.Popen(words, env=variables)
    wait_for(run / "socket", process)
    yield str(run / "socket")
    process.terminate()
    process.wait()


@pytest.fixture(scope="session")
def oxenstored(directory: Path, shim: Path) -> Iterator[str]:
    """Its socket's directory is compiled in, hence the mount namespace."""
    program = daemon("oxenstored")
    run = directory / "o"
    run.mkdir()
    compiled_in = Path("/run/xenstored")
    if os.geteuid():
        pytest.skip("oxenstored has its directory compiled in: only root can give it another one")
    compiled_in.mkdir(exist_ok=True)
    settings = {
        "pid-file": run / "pid",
        "persistent": "false",
        "xenstored-log-file": run / "log",
        "access-log-file": run / "access",
        "xenstored-port": "/proc/xen/xsd_port",
        "xenstored-kva": "/proc/xen/xsd_kva",
    }
    (run / "conf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    script = 'mount --bind "$1" /run/xenstored && LD_PRELOAD="$2" exec "$3" --no-fork --config-file "$1/conf"'
    words = ["unshare", "-m", "sh", "-c", script, "sh", str(run), str(shim), program]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    wait_for(run / "socket", process)
    yield str(run / "socket")
    process.terminate()
    process.wait()


@pytest.fixture(params=["simulated", "xenstored", "oxenstored"])
def store(request: pytest.FixtureRequest) -> str:
    """The socket of each store in turn."""
    path: str = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The store's name, where they differ."""
    return str(request.node.callspec.params["store"])


@pytest.fixture
def connect(store: str) -> Iterator[Callable[[], Wire]]:
    """Opens connections to the store of this test."""
    opened: list[Wire] = []

    def one() -> Wire:
        opened.append(Wire(store))
        return opened[-1]

    yield one
    for wire in opened:
        wire.close()


@pytest.fixture
def wire(connect: Callable[[], Wire]) -> Iterator[Wire]:
    """A connection, with a directory of its own below /test that goes afterwards."""
    one = connect()
    one.mkdir("/test")
    yield one
    connect().rm("/test")
