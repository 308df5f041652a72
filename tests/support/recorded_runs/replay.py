# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replays a recorded play on a simulated host in this process: the toolstack as recorded, the rest must follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from recorded_runs.scripts import DEVICES, SRIOV, VFS
from recorded_runs.trace import SCRIPT, TOOLSTACK, Event, as_log, from_log
from simulated_xen.host.device import Address
from simulated_xen.host.machine import load
from simulated_xen.simulated_host import RunDirectory, SimulatedHost
from simulated_xen.store.operations import Change, Operations
from simulated_xen.store.store import Caller
from simulated_xen.store.tree import parse_permission


def replay(recorded: Iterable[Event], directory: Path, machine: str = "small-server") -> list[Event]:
    """What happens on a simulated host when its toolstack does what was recorded, each time when all others rest."""
    return asyncio.run(_Replay(directory, machine).perform(list(recorded)))


class _Replay:
    def __init__(self, directory: Path, machine: str) -> None:
        self._machine, self._run = machine, RunDirectory(directory)
        self._caller = Caller("A1", 0, lambda _path, _token: None)
        self._holders: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._directions: list[tuple[int, Event]] = []
        self._start = 0

    async def perform(self, recorded: list[Event]) -> list[Event]:
        self._host = SimulatedHost(load(self._machine), self._run)
        await self._host.start()
        try:
            self._numbers = {one.config.name: one.domid for one in self._host.domains.running.values()}
            self._hold(recorded)
            self._start = len(self._host.trace.entries)
            for step in self._steps(recorded):
                await self._settle()
                self._do(step)
            await self._settle()
            events = self._events()
        finally:
            await self._host.stop()
        for position, direction in reversed(self._directions):
            events.insert(position, direction)
        return events

    def _hold(self, recorded: list[Event]) -> None:
        """pciback gets all devices of the play; virtual ones are made."""
        bus = self._host.bus
        given = {_marked(event.path) for event in recorded if event.path.startswith("/libxl/pci/")}
        if not given <= bus.devices.keys():
            bus.set_numvfs(bus.find(SRIOV), len(VFS))
        for address in given | {Address.parse(text) for text in DEVICES}:
            if bus.devices[address].driver:
                bus.unbind(bus.devices[address])
            self._host.pciback.new_slot(str(address))
            bus.bind(bus.devices[address], "pciback")

    @staticmethod
    def _steps(recorded: list[Event]) -> list[list[Event]]:
        """What the toolstack did without waiting for a kernel. That it waits after a removal does not show."""
        steps: list[list[Event]] = [[]]
        removed = False
        for event in recorded:
            ours = event.writer in (TOOLSTACK, SCRIPT)
            if not ours or event.writer == SCRIPT or (removed and event.action != "rm"):
                steps.append([])
                removed = False
            if ours:
                steps[-1].append(event)
                removed = removed or (event.action == "rm" and event.path.endswith("/device/pci/0"))
            if event.writer == SCRIPT:
                steps.append([])
        return [step for step in steps if step]

    def _do(self, step: list[Event]) -> None:
        store = self._host.store
        transaction = store.start_transaction(self._caller)
        for event in step:
            if event.writer == SCRIPT:
                self._directions.append((len(self._events()), event))
                guest = self._host.domains.find(event.path.rpartition("/")[2])
                self._host.domains.pause(guest, event.action == "pause")
            else:
                if event.path.endswith("/domid"):
                    self._rights(event)
                store.change(self._caller, transaction, self._request(event))
        store.end_transaction(self._caller, transaction, True)

    def _request(self, event: Event) -> Callable[[Operations], list[Change]]:
        path = self._numbered(event.path)
        if event.action == "rm":
            return lambda view: view.remove(path)
        if event.action == "setperms":
            entries = [f"{entry[0]}{self._numbers.get(entry[1:], entry[1:])}" for entry in event.value.split()]
            permissions = tuple(parse_permission(entry) for entry in entries)
            return lambda view: view.set_permissions(path, permissions)
        last = path.rpartition("/")[2]
        value = self._numbers[event.value] if last in ("frontend-id", "domid") else self._numbered(event.value)
        return lambda view: view.write(path, str(value).encode())

    def _numbered(self, path: str) -> str:
        """With domids for names."""
        parts = path.split("/")
        places = [i for i in range(1, len(parts)) if parts[i - 1] == "domain" or parts[i - 2 : i] == ["backend", "pci"]]
        for place in places:
            parts[place] = str(self._numbers.get(parts[place], parts[place]))
        return "/".join(parts)

    def _rights(self, event: Event) -> None:
        """A toolstack gives and takes rights when it writes and removes the marker of a device."""
        hypervisor, key = self._host.hypervisor, event.path.split("/")[3]
        device = self._host.bus.devices[_marked(event.path)]
        if event.action == "rm":
            hypervisor.deassign(self._holders.pop(key), device.address.sbdf)
            return
        domid = self._holders[key] = self._numbers[event.value]
        for region in device.regions:
            if region.start and not region.io:
                frames = (region.end >> 12) - (region.start >> 12) + 1
                hypervisor.iomem_permission(domid, region.start >> 12, frames, True)
        if device.irq:
            hypervisor.irq_permission(domid, device.irq, True)
        hypervisor.assign(domid, device.address.sbdf)

    def _events(self) -> list[Event]:
        names = {number: name for name, number in self._numbers.items()}
        return from_log(as_log(str(entry) for entry in self._host.trace.entries[self._start :]), names)

    async def _settle(self) -> None:
        """Let all kernels run until none has anything to do."""
        quiet = 0
        while quiet < 20:
            before = len(self._host.trace.entries)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._host.trace.entries) == before else 0


def _marked(path: str) -> Address:
    """The device that a marker of libxl is for."""
    segment, bus, slot, function = path.split("/")[3].split("-")
    return Address.parse(f"{segment}:{bus}:{slot}.{function}")
