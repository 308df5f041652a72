# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with guests that tests may ruin: hands to do it with, a look at what is true, and new guests afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from independent_view import attached_by_xl, drivers, not_as_xen_says, traces_of
from module_runner import Modules, modules

from xenlab import Host, topology


class Ward:
    """A host, the process in it that runs modules, and the devices that its guests may have."""

    def __init__(self, host: Host, running: Modules, parts: Collection[topology.Device]) -> None:
        self.host, self.modules = host, running
        self._parts = {part.bdf: part for part in parts}
        self.know()

    def know(self) -> None:
        """Read the guests' numbers."""
        self.g1, self.g2, self.g3 = (self.host.guest(name).domid for name in ("g1", "g2", "g3"))

    def act(self, *steps: tuple[object, ...]) -> None:
        self.modules.act(*steps)

    def xl(self, *words: str) -> int:
        """Its exit status; xl says success of much that failed, and the other way round."""
        return self.host.run(["xl", *words], check=False).status

    def back(self, node: str, domid: int | None = None) -> str:
        """A node of a guest's backend directory, g1's if not told."""
        return f"/local/domain/0/backend/pci/{self.g1 if domid is None else domid}/0/{node}"

    def front(self, node: str, domid: int | None = None) -> str:
        return f"/local/domain/{self.g1 if domid is None else domid}/device/pci/0/{node}"

    def wrong(self, guests: Mapping[str, Collection[str]]) -> list[str]:
        """Everything that is not as it must be if these guests have these devices, and nobody the others.

        As the guests' kernels, xl, xenstore and Xen see it.
        """
        problems = []
        for name, devices in guests.items():
            seen = drivers(self.host.guest(name))
            if seen != sorted(str(self._parts[one].driver) for one in devices):
                problems.append(f"{name} sees {seen}")
            if (listed := attached_by_xl(self.host, name)) != set(devices):
                problems.append(f"xl lists {listed} for {name}")
        given = {one for devices in guests.values() for one in devices}
        free = [part for bdf, part in self._parts.items() if bdf not in given]
        problems += traces_of(self.host, free)
        return problems + not_as_xen_says(self.host, guests, [part.bdf for part in free])

    def new_guest(self, name: str) -> None:
        """A fresh one, without devices."""
        self.host.run(f"xl destroy {name}; xl create -q /etc/xen/{name}.cfg", check=False)
        self.host.guest(name).run("true", timeout=120)
        self.know()

    def renew(self, *guests: str) -> None:
        """Whatever a test has left of these guests (g1 if not told): made anew, and nothing is left of the old ones."""
        for name in guests or ("g1",):
            self.new_guest(name)
        self.modules.repair(faults=["sticky_permissive", "never_connected", "left_rights"])
        self.modules.repair()


@contextmanager
def ward(host: Host, parts: Collection[topology.Device]) -> Iterator[Ward]:
    """The devices with pciback and in quarantine; afterwards they are with dom0 again."""
    for part in parts:
        host.run(["xl", "pci-assignable-add", part.bdf])
    with modules(host) as running:
        running.repair(faults=["stale_configuration"])  # what an xl that was in a hurry left in another test
        running.repair()  # Xen's quarantine is noted also of what had no driver, which xl does not record
        try:
            yield Ward(host, running, parts)
        finally:
            running.devices({"g1": [], "g2": []})
            for part in parts:
                host.run(["xl", "pci-assignable-remove", "-r", part.bdf])


def marker(device: str) -> str:
    """libxl's marker node of a device."""
    return f"/libxl/pci/{device.replace(':', '-').replace('.', '-')}/domid"
