# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that is true on a simulated host, as data: also what no real host shows, such as who has which rights.

For tests that judge programs without trusting what these programs can read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .domains import Domain
from .host.bus import PCIBACK
from .host.device import Device
from .simulated_host import SimulatedHost


def inner_state(host: SimulatedHost) -> dict[str, Any]:
    """The state of all parts at this moment."""
    return {
        "domains": [_domain(host, domain) for domain in host.domains.running.values()],
        "devices": {str(device): _device(host, device) for device in host.bus.devices.values()},
        "held": {str(address): held.owner for address, held in host.pciback.held.items()},
        "slots": sorted(map(str, host.pciback.slots)),
        "exported": {
            str(backend.domid): {str(device): str(where) for where, device in backend.bus.devices().items()}
            for backend in host.kernel.backends.values()
        },
        "attached": [str(backend.domid) for backend in host.kernel.backends.values() if backend.attached],
        "store": _store(host),
        "sysfs_writes": host.sysfs.writes,
    }


def _domain(host: SimulatedHost, domain: Domain) -> dict[str, Any]:
    rights = host.hypervisor.domains[domain.domid]
    return {
        "name": domain.config.name,
        "domid": domain.domid,
        "uuid": domain.uuid,
        "type": domain.config.type,
        "stub": domain.stub.domid if domain.stub else None,
        "paused": domain.paused,
        "shutdown": domain.shutdown,
        "oops": domain.kernel.oops if domain.kernel else None,
        "sees": _seen(domain),
        "frames": ranges(rights.frames),
        "ports": ranges(rights.ports),
        "irqs": sorted(rights.irqs),
    }


def _seen(domain: Domain) -> dict[str, str | None]:
    """Host addresses of what is on the guest's buses, with the guest's driver."""
    if domain.shutdown:
        return {}
    if domain.model is not None:
        plugged = domain.model.plugged.values()
        return {str(one.device): one.device.model.driver if one.taken else None for one in plugged}
    seen = domain.kernel.devices.values() if domain.kernel else ()
    return {str(one.device): one.driver for one in seen}


def _device(host: SimulatedHost, device: Device) -> dict[str, Any]:
    windows = [region for region in device.regions[:7] if region.start]
    return {
        "driver": device.driver,
        "fits": host.bus.fitting(device),
        "override": device.override,
        "owner": host.hypervisor.owner(device.address),
        "irq": device.irq,
        "frames": ranges(n for one in windows if not one.io for n in range(one.start >> 12, (one.end >> 12) + 1)),
        "ports": ranges(n for one in windows if one.io for n in range(one.start, one.end + 1)),
        "physfn": str(device.physfn) if device.physfn else None,
        "vfs": [str(child) for child in device.vfs],
        "permissive": device.driver == PCIBACK and host.pciback.held[device.address].permissive,
        "resets": device.reset_count,
    }


def _store(host: SimulatedHost) -> dict[str, str]:
    """All nodes with their values."""
    tree = host.store.tree
    nodes = {path: tree.get(path) for path in tree.paths()}
    return {path: node.value.decode("utf-8", "backslashreplace") for path, node in nodes.items() if node is not None}


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """First and last of each run of numbers."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found
