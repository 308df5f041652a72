# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One simulated host: everything wired together over one run directory and one event loop."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from .domains import Config, Domains
from .host.bus import PciBus
from .host.device import Address, Device
from .host.files import Files
from .host.hanging import HangingWrites
from .host.machine import Machine
from .host.models import MODELS
from .host.pciback import PcibackDriver
from .host.sysfs import Sysfs, disk_number
from .host.watch import ForeignWriters
from .hypervisor import Hypervisor
from .kernel.dom0 import Dom0Kernel
from .store.server import Server
from .store.store import Store
from .store.trace import Trace
from .xl_processes import XlProcesses

INTERPRETER = Path(__file__).resolve().parent / "interpreter"


@dataclass(frozen=True)
class RunDirectory:
    """Where a host keeps what."""

    path: Path

    @property
    def store_socket(self) -> Path:
        """xenstored's socket."""
        return self.path / "xenstored" / "socket"

    @property
    def control_socket(self) -> Path:
        """The simulator's own socket: hypercalls, sysfs writes, commands."""
        return self.path / "control"

    @property
    def sys(self) -> Path:
        """The root of sysfs."""
        return self.path / "sys"

    @property
    def python(self) -> Path:
        """What goes on PYTHONPATH."""
        return self.path / "python"

    @property
    def programs(self) -> Path:
        """What goes on PATH (xl)."""
        return self.path / "bin"

    @property
    def libxl(self) -> Path:
        """Stands for /var/lib/xen."""
        return self.path / "var" / "lib" / "xen"

    @property
    def qemu(self) -> Path:
        """Stands for /var/run/xen: sockets of QEMU."""
        return self.path / "run"

    @property
    def trace(self) -> Path:
        """Every change in order."""
        return self.path / "trace"

    def environment(self) -> dict[str, str]:
        """The variables that make a program work on this host."""
        return {
            "XENSTORED_PATH": str(self.store_socket),
            "SYSFS_PATH": str(self.sys),
            "PYTHONPATH": str(self.python),
            "PATH": str(self.programs),
        }


class SimulatedHost:
    """The parts of a host. Construct within a running event loop, then `start`."""

    def __init__(self, machine: Machine, run: RunDirectory) -> None:
        self.machine = machine
        self.run = run
        run.store_socket.parent.mkdir(parents=True, exist_ok=True)
        self.trace = Trace(run.trace)
        self.store = Store(self.trace)
        self.server = Server(self.store, run.store_socket)
        self.files = Files(run.sys, run.path / "scratch")
        self.bus = PciBus(machine, self.trace.note)
        self.pciback = PcibackDriver(self.bus, machine.linux >= (4, 9))
        self.pciback.slots += machine.hidden
        self.sysfs = Sysfs(
            self.files, Files(run.path / "run" / "udev" / "data", run.path / "scratch"), self.bus, self.pciback
        )
        self.hanging = HangingWrites()
        self.writers = ForeignWriters(str(run.sys), self.sysfs, self.trace)
        self.hypervisor = Hypervisor(self.bus.devices, machine, self.trace.note)
        self.bus.on_gone = self.hypervisor.forget
        self.kernel = Dom0Kernel(self.store, machine, self.pciback, self.sysfs, self.files)
        self.domains = Domains(self.store, self.hypervisor, self, run.libxl, run.qemu)
        self.xl = XlProcesses(run.path)

    async def start(self) -> None:
        """Boot dom0 and the machine's domains, then let clients in."""
        self.sysfs.build()
        self.bus.boot(self.machine.hidden)
        for directory in ("boot", "etc", "opt", "var/log"):
            (self.run.path / directory).mkdir(parents=True, exist_ok=True)
        self._procfs()
        self._modules()
        self._interpreter()
        self.kernel.boot()
        self.machine.extra.write(self.run.path, self._acts)
        try:
            self.writers.start()
        except OSError as error:
            # Python processes do not need it, and a kernel may be out of inotify instances.
            self.trace.note("simulator", "no inotify", "", error.strerror or "")
        for values in self.machine.domains:
            await self.domains.create(Config.parse(values))
        await self.server.start()

    async def stop(self) -> None:
        """Shut down; files stay where they are."""
        self.xl.stop()
        await self.server.stop()
        self.writers.stop()
        await self.domains.stop_all()
        await self.kernel.stop()
        self.trace.close()

    def at_rest(self, clients: int) -> bool:
        """Whether nothing happens any more unless one of so many clients of xenstored does something."""
        if not self.server.listening or self.server.frozen or len(self.server.connections) > clients or self.xl.running:
            return False
        domains = self.domains.running.values()
        sides = [self.kernel, *(domain.guest for domain in domains), *(domain.model for domain in domains)]
        return all(side is None or side.at_rest for side in sides)

    # -- what guests reach (domains.Surroundings) --------------------------------------------------

    def host_device(self, address: Address) -> Device | None:
        """A device of the machine."""
        return self.bus.devices.get(address)

    def has_shut_down(self, domid: int, reason: str) -> None:
        """Wake the process that xl has left behind for a guest."""
        self.xl.start("xl-clean-up", str(domid), reason)

    def seen_by(self, domid: int) -> dict[Address, Device]:
        """Devices that answer to a guest's configuration accesses."""
        return self.kernel.seen_by(domid)

    def may_touch(self, domid: int, device: Device) -> bool:
        """Whether a guest can map a device's registers."""
        return self.hypervisor.may_touch(domid, device)

    def may_interrupt(self, domid: int, device: Device) -> bool:
        """Whether a guest can set up MSI-X."""
        return self.hypervisor.may_interrupt(domid, device)

    def config_changed(self, device: Device) -> None:
        """A guest's driver wrote to configuration space."""
        self.sysfs.config(device)

    # -- files beside sysfs --------------------------------------------------------------------------

    def _procfs(self) -> None:
        """The part of procfs that says who uses disks and interfaces: mounts, swap, routes."""
        proc = Files(self.run.path / "proc", self.run.path / "scratch")
        mounts = []
        for number, device in enumerate(self.bus.devices.values()):
            for name in device.names if device.facts.mounted else []:
                disk = f"{name}n1" if device.model.child == "nvme" else name
                where = device.facts.mounted
                mounts.append(
                    f"{20 + number} 1 {disk_number(disk)} / {where} rw,relatime shared:1 - ext4 /dev/{disk} rw"
                )
        for directory in ("self", "net", "xen", "sys/kernel"):
            proc.directory(directory)
        proc.attribute("self/mountinfo", "\n".join(mounts))
        proc.attribute("mounts", "\n".join(f"{m.split()[-2]} {m.split()[4]} ext4 rw 0 0" for m in mounts))
        proc.attribute("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority")
        header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
        routes = [
            f"{name}\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0"
            for device in self.bus.devices.values()
            if device.facts.up
            for name in device.names
        ]
        proc.attribute("net/route", "\n".join([header, *routes]))
        proc.attribute("net/ipv6_route", "")
        proc.attribute("xen/capabilities", "control_d")
        proc.attribute("sys/kernel/osrelease", "{}.{}.0-simulated".format(*self.machine.linux))

    def _acts(self, path: str, data: bytes) -> bool:
        """Whether a file of the machine's description is one of sysfs that acts when it is written, which is done."""
        _sys, below, name = path.partition("sys/")
        if _sys or not below or name not in self.sysfs.actions:
            return False
        self.sysfs.write(name, data)
        return True

    def _modules(self) -> None:
        """What depmod says of dom0's kernel: which modules there are, and for which devices; all of them are loaded."""
        modules = Files(self.run.path / "lib" / "modules", self.run.path / "scratch")
        release = "{}.{}.0-simulated".format(*self.machine.linux)
        modules.directory(release)
        aliases = sorted({alias for model in MODELS.values() if (alias := model.alias)})
        modules.attribute(f"{release}/modules.alias", "\n".join(aliases))

    def _interpreter(self) -> None:
        """Put on PYTHONPATH what tells a Python process which host it is on: it goes by its own place."""
        if self.run.python.exists():
            shutil.rmtree(self.run.python)
        shutil.copytree(INTERPRETER, self.run.python, ignore=shutil.ignore_patterns("__pycache__"))
