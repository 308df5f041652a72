# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in the test's own process, and a toolstack's hand on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from short_path import short_directory

from simulated_xen.host.device import Address
from simulated_xen.host.machine import build
from simulated_xen.simulated_host import RunDirectory, SimulatedHost
from simulated_xen.store.local import LocalClient
from simulated_xen.store.tree import parse_permission

PATIENCE = 60.0
GUEST = 1
BACKEND = f"/local/domain/0/backend/pci/{GUEST}/0"
FRONTEND = f"/local/domain/{GUEST}/device/pci/0"


class Toolstack:
    """Does by hand what a toolstack does, step by step, to the guest with number 1."""

    def __init__(self, host: SimulatedHost) -> None:
        self.host = host
        self.xs = LocalClient(host.store, "A1", 0)

    def bind(self, *addresses: str) -> None:
        for address in addresses:
            device = self.host.bus.devices[Address.parse(address)]
            if device.driver:
                self.host.bus.unbind(device)
            self.host.pciback.new_slot(address)
            self.host.bus.bind(device, "pciback")

    def grant(self, *addresses: str, domid: int = GUEST) -> None:
        for address in addresses:
            device = self.host.bus.devices[Address.parse(address)]
            for region in device.regions:
                if region.start and not region.io:
                    frames = (region.end >> 12) - (region.start >> 12) + 1
                    self.host.hypervisor.iomem_permission(domid, region.start >> 12, frames, True)
            if device.irq:
                self.host.hypervisor.irq_permission(domid, device.irq, True)
            self.host.hypervisor.assign(domid, device.address.sbdf)

    def create(self, *addresses: str) -> None:
        """Backend and frontend with their first devices, in one transaction."""
        values: dict[str, object] = {f"{BACKEND}/frontend": FRONTEND, f"{BACKEND}/frontend-id": GUEST}
        values |= {f"{BACKEND}/online": 1, f"{BACKEND}/state": 1, f"{BACKEND}/domain": "g1"}
        for number, address in enumerate(addresses):
            values |= self.entry(number, address)
        values[f"{BACKEND}/num_devs"] = len(addresses)
        self.xs.make(f"/local/domain/{GUEST}/device/pci", self.permissions("n0", f"r{GUEST}"))
        self.xs.make(BACKEND, self.permissions("n0", f"r{GUEST}"))
        self.xs.make(FRONTEND, self.permissions(f"n{GUEST}", "r0"))
        values |= {f"{FRONTEND}/backend": BACKEND, f"{FRONTEND}/backend-id": 0, f"{FRONTEND}/state": 1}
        self.xs.write_all(values)

    @staticmethod
    def permissions(*texts: str) -> Any:
        return tuple(parse_permission(text) for text in texts)

    @staticmethod
    def entry(number: int, address: str, state: int = 1) -> dict[str, object]:
        return {
            f"{BACKEND}/dev-{number}": address,
            f"{BACKEND}/key-{number}": address,
            f"{BACKEND}/opts-{number}": "permissive=0",
            f"{BACKEND}/state-{number}": state,
        }

    def add(self, *addresses: str) -> None:
        """Append entries and start a cycle."""
        count = self.xs.number(f"{BACKEND}/num_devs") or 0
        values: dict[str, object] = {}
        for number, address in enumerate(addresses, count):
            values |= self.entry(number, address)
        values |= {f"{BACKEND}/num_devs": count + len(addresses), f"{BACKEND}/state": 7}
        self.xs.write_all(values)

    def mark(self, *numbers: int) -> None:
        """Ask for entries back and start a cycle."""
        values: dict[str, object] = {f"{BACKEND}/state-{number}": 5 for number in numbers}
        self.xs.write_all(values | {f"{BACKEND}/state": 7})

    def drop(self, number: int) -> None:
        """Compaction after a removal."""
        count = self.xs.number(f"{BACKEND}/num_devs") or 0
        for field in ("state", "key", "dev", "vdev", "opts"):
            for later in range(number, count - 1):
                value = self.xs.read(f"{BACKEND}/{field}-{later + 1}")
                if value is not None:
                    self.xs.write(f"{BACKEND}/{field}-{later}", value)
            self.xs.remove(f"{BACKEND}/{field}-{count - 1}")
        self.xs.write(f"{BACKEND}/num_devs", count - 1)

    def states(self) -> tuple[int | None, int | None]:
        """Backend's and frontend's."""
        return self.xs.number(f"{BACKEND}/state"), self.xs.number(f"{FRONTEND}/state")

    def of(self, number: int) -> tuple[str | None, str | None]:
        """An entry's sub-state and its address in the guest."""
        return self.xs.read(f"{BACKEND}/state-{number}"), self.xs.read(f"{BACKEND}/vdev-{number}")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let everybody run until something is so."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not condition():
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"it did not happen; states {self.states()}")
            await asyncio.sleep(0)

    async def until_states(self, backend: int | None, frontend: int | None) -> None:
        await self.until(lambda: self.states() == (backend, frontend))
        await self.settle()
        assert self.states() == (backend, frontend)

    async def settle(self) -> None:
        """Let everybody run until nobody has anything to do: what has not happened now will not."""
        quiet = 0
        while quiet < 20:
            before = len(self.host.trace.entries)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self.host.trace.entries) == before else 0

    def written(self, start: int = 0) -> list[str]:
        """Who wrote which state since a point of the trace, in short."""
        found = []
        for entry in self.host.trace.entries[start:]:
            if entry.action == "write" and (entry.path.startswith((BACKEND, FRONTEND))):
                side = "be" if entry.path.startswith(BACKEND) else "fe"
                writer = entry.writer.partition(".")[0]
                found.append(f"{writer} {side}/{entry.path.rpartition('/')[2]} {entry.value}")
        return found

    def guest_sees(self, domid: int = GUEST) -> dict[str, str]:
        kernel = self.host.domains.running[domid].kernel
        assert kernel is not None
        return {str(where): str(seen.device) for where, seen in kernel.devices.items()}


DEVICES: list[dict[str, Any]] = [
    {"at": "00:1c.0", "model": "root-port", "bus": "01"},
    {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01"},
    {"at": "02:00.0", "model": "e1000e", "mac": "52:54:00:00:02:01"},
    {"at": "03:00.0", "model": "e1000e", "mac": "52:54:00:00:03:01"},
    {"at": "00:08.0", "model": "e1000e", "mac": "52:54:00:00:08:00"},
    {"at": "00:08.1", "model": "e1000e", "mac": "52:54:00:00:08:01"},
    {"at": "05:00.0", "model": "nvme-sriov", "serial": "NV"},
    {"at": "00:09.0", "model": "edu"},
]

Script = Callable[[Toolstack], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture
def short_path() -> Iterator[Path]:
    with short_directory() as path:
        yield path


@pytest.fixture
def play(short_path: Path) -> Play:
    """Runs a script against a host with the devices above and guest g1 (number 1)."""

    def run(script: Script, guest: dict[str, Any] | None = None, **machine: Any) -> None:
        async def session() -> None:
            domains = [{"name": "g1", **(guest or {})}, {"name": "g2"}]
            description = {"devices": DEVICES, "domains": domains, **machine}
            host = SimulatedHost(build(description), RunDirectory(short_path))
            await host.start()
            try:
                await script(Toolstack(host))
            finally:
                await host.stop()
            for kernel in (host.kernel, *(domain.kernel for domain in host.domains.running.values())):
                assert kernel is None or kernel.oops is None or "Traceback" not in kernel.oops

        asyncio.run(session())

    return run
