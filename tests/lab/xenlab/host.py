# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running host: boot it, use it, stop it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xenlab import built_in, image, logs, machine, machine_needs, places, qmp, ssh, topology
from xenlab.errors import LabError
from xenlab.guests import Guest

READY = "lab: guests up"
FAILED = "lab: failed: "


def quiet(_message: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class Host:
    """A host by its name. Everything about it is in `directory`, so it may be used from several processes."""

    name: str
    directory: Path

    @classmethod
    def boot(
        cls,
        name: str,
        *,
        timeout: float = 600,
        say: Callable[[str], None] = quiet,
        hvm: bool = False,
        pciback_built_in: bool = False,
    ) -> Host:
        """Start a host and wait (seconds) until dom0 answers and all guests report.

        `hvm`: HVM ones may be started. `pciback_built_in`: into dom0's kernel, and GRUB boots it.
        """
        machine_needs.require(machine_needs.RUN | (machine_needs.RUN_GRUB if pciback_built_in else {}))
        host = cls(name, places.host(name))
        host._refuse_if_running()
        files = image.build(say)
        with host._start_lock():
            host._refuse_if_running()
            host._clean()
            host.directory.mkdir(mode=0o700, parents=True)
            shutil.copy(files.key, host.directory / ssh.KEY)
            port = machine.free_port()
            ssh.configure(host.directory, port)
            host._state.write_text(json.dumps({"port": port, "started": time.time()}))
            try:
                machine.start(host.directory, files, port, hvm, grub=pciback_built_in)
            except BaseException:
                host._clean()
                raise
        say(f"host {name} boots; its console: {host.serial_log}")
        try:
            host._wait_until_ready(time.monotonic() + timeout)
            if pciback_built_in:
                built_in.install(host, say, timeout)
        except BaseException:
            # What it wrote last tells why: keep that, and nothing else.
            last = [line for line in host.console_lines() if line.strip()][-25:]
            host.stop()
            say("\n".join(["its last words:", *last]))
            raise
        return host

    @classmethod
    def get(cls, name: str, *, ready: bool = True) -> Host:
        """The running host of that name; LabError when there is none, or when it has to be `ready` and still boots."""
        host = cls(name, places.host(name))
        if not host.is_running():
            raise LabError(f"host {name} does not run; `lab boot {name}` starts it")
        if ready and not any(READY in line for line in host.console_lines()):
            raise LabError(f"host {name} is still booting; its console: {host.serial_log}")
        return host

    @classmethod
    @contextmanager
    def borrowed(
        cls, name: str | None, purpose: str, *, hvm: bool = False, pciback_built_in: bool = False
    ) -> Iterator[Host]:
        """The running host of that name, left running; without a name, one for this purpose, stopped afterwards."""
        if name:
            yield cls.get(name)
            return
        booted = cls.boot(f"{purpose}-{os.getpid()}", hvm=hvm, pciback_built_in=pciback_built_in)
        try:
            yield booted
        finally:
            booted.stop()

    @classmethod
    def all(cls) -> list[Host]:
        """All hosts that have a directory, running or dead."""
        return [cls(path.name, path) for path in sorted(places.hosts().glob("*/")) if (path / "host.json").exists()]

    def is_running(self) -> bool:
        return machine.pid(self.directory) is not None

    def stop(self) -> None:
        """End the host; nothing is left of it."""
        with self._start_lock():
            ssh.close(self.directory)
            machine.stop(self.directory)
            self._clean()

    def reboot(self, *, timeout: float = 600) -> None:
        """Reboot Xen and dom0, whose disk stays as it is, and wait (seconds) until all guests report again."""
        deadline = time.monotonic() + timeout
        boot = self.run("cat /proc/sys/kernel/random/boot_id").stdout
        seen = len(self.console_lines())
        # sshd would not answer any more: the command outlives the connection.
        self.run("sync; (sleep 1; reboot -f) > /dev/null 2>&1 &")
        ssh.close(self.directory)
        self._wait_until_ready(deadline, seen)
        if self.run("cat /proc/sys/kernel/random/boot_id").stdout == boot:
            raise LabError(f"host {self.name} did not reboot")

    def run(
        self, words: str | Sequence[str], *, timeout: float = 120, check: bool = True, stdin: str | None = None
    ) -> ssh.Result:
        """Run a command in dom0 (text: for its shell; words: quoted); CommandFailed on any status but 0 if `check`."""
        return ssh.run(self.directory, words, timeout=timeout, check=check, stdin=stdin)

    def unpack(self, tarball: Path, directory: str = "/", *, timeout: float = 600) -> None:
        """Unpack a compressed tarball of this machine in dom0."""
        ssh.send(self.directory, tarball, ["tar", "--extract", "--gzip", "--directory", directory], timeout=timeout)

    def guest(self, name: str) -> Guest:
        """The guest of that name."""
        return Guest(self, name)

    def start_guest(self, name: str, *, timeout: float = 600) -> Guest:
        """Create a guest that does not start with the host, unless it runs; wait (seconds) until its agent reports."""
        if self.run(["xl", "domid", name], check=False).status:
            self.run(["lab-guest-up", name, str(int(timeout))], timeout=timeout + 120)
        return self.guest(name)

    @property
    def port(self) -> int:
        """The loopback port of dom0's sshd."""
        return int(json.loads(self._state.read_text())["port"])

    @property
    def ssh_command(self) -> str:
        """What to type to get into dom0."""
        return " ".join(ssh.command(self.directory))

    def inventory(self, *, hostname: str | None = None) -> Path:
        """An Ansible inventory with this host in it."""
        variables = {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.directory / ssh.KEY),
            "ansible_ssh_common_args": f"-F {self.directory / ssh.CONFIG}",
            "ansible_ssh_timeout": 60,
            "ansible_ssh_pipelining": True,
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        path = self.directory / "inventory.json"
        path.write_text(json.dumps({"xen": {"hosts": {hostname or self.name: variables}}}, indent=2) + "\n")
        return path

    @property
    def serial_log(self) -> Path:
        """All that Xen and dom0 wrote on the serial line since power-on."""
        return self.directory / machine.SERIAL_LOG

    @property
    def console_socket(self) -> Path:
        return self.directory / machine.CONSOLE

    @property
    def qmp_socket(self) -> Path:
        """QEMU's control socket."""
        return self.directory / machine.QMP

    def console_lines(self) -> list[str]:
        try:
            return self.serial_log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def kernel_log(self) -> logs.Log:
        """The log of dom0's kernel."""
        # -S: read from /dev/kmsg, util-linux 2.38 mixes the facility into the level.
        return logs.linux(self.run("dmesg -r -S").lines)

    def xen_log(self) -> logs.Log:
        """The hypervisor's log."""
        return logs.xen(self.console_lines())

    def report_pci_error(self, device: topology.Rng, error: str) -> None:
        """Have a device send a PCI Express error, as pcie_aer_inject_error of QEMU calls it (COMP_TIME, SDN, ...)."""
        said = qmp.monitor(self.qmp_socket, f"pcie_aer_inject_error {device.name} {error}")
        if not said.startswith("OK"):
            raise LabError(f"host {self.name}: no PCI error: {said.strip()}")

    @property
    def _state(self) -> Path:
        return self.directory / "host.json"

    def _wait_until_ready(self, deadline: float, after: int = 0) -> None:
        """Wait for the console to say so, in a line after the first `after` ones."""
        while True:
            lines = self.console_lines()[after:]
            if failed := [line for line in lines if FAILED in line]:
                raise LabError(f"host {self.name}: {failed[0].partition(FAILED)[2]}")
            if any(READY in line for line in lines):
                break
            if not self.is_running():
                raise LabError(f"host {self.name}: QEMU ended while the host was booting")
            if time.monotonic() > deadline:
                raise LabError(f"host {self.name} was not ready in time")
            time.sleep(0.2)
        self.run("true", timeout=max(deadline - time.monotonic(), 1))

    def _refuse_if_running(self) -> None:
        if self.is_running():
            raise LabError(f"host {self.name} runs already; stop it first, or take another name")

    def _clean(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    @contextmanager
    def _start_lock(self) -> Iterator[None]:
        places.hosts().mkdir(mode=0o700, exist_ok=True)
        with (places.hosts() / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
