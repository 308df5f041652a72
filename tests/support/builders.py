# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of the model for tests, each with nothing wrong about it: a test says only what it is about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import PCIBACK, PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain, DomainKind
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

#: An idle network card that can be reset.
_CARD = {
    "vendor": "8086",
    "device": "10d3",
    "subsystem_vendor": "8086",
    "subsystem_device": "0000",
    "class_code": "020000",
    "revision": "00",
    "reset_methods": ("flr",),
}


def device(sbdf: Sbdf | str, driver: str | None = None, **facts: Any) -> PciDevice:
    """A network card with this driver, none by default; `facts` are other fields."""
    return PciDevice(Sbdf.parse(str(sbdf)), **{**_CARD, "driver": driver, **facts})


def assignable(sbdf: Sbdf | str, **facts: Any) -> PciDevice:
    """The same with pciback."""
    return device(sbdf, **{"driver": PCIBACK, "pciback_slots": 1, **facts})


def function(sbdf: Sbdf | str, physical: Sbdf, index: int, **facts: Any) -> PciDevice:
    """A virtual function of a physical one."""
    return device(sbdf, **{"device": "154c", "driver": "iavf", "physfn": physical, "vf_index": index, **facts})


def nodes(*devices: Sbdf, **changes: str | None) -> dict[str, str]:
    """Nodes of dom0's end of a connection with these devices, all exported.

    `changes` are by the name of a node with _ for -, None to leave it out.
    """
    found = {"state": "4", "online": "1", "num_devs": str(len(devices))}
    for index, one in enumerate(devices):
        found |= {f"dev-{index}": str(one), f"key-{index}": str(one), f"state-{index}": "3"}
        found[f"vdev-{index}"] = f"0000:00:{index:02x}.00"
    for name, value in changes.items():
        node = name.replace("_", "-", 1) if name[-1].isdigit() else name
        found.pop(node, None)
        if value is not None:
            found[node] = value
    return found


def connection(domid: int, *devices: Sbdf, frontend: str | None = "4", **changes: str | None) -> PciConnection:
    """A connection at rest with these devices; `changes` as for `nodes`."""
    return PciConnection.from_nodes(domid, nodes(*devices, **changes), frontend)


def domain(domid: int, name: str, *devices: Sbdf, **facts: Any) -> Domain:
    """A PV guest with these devices, and with a connection if it has some; `facts` are other fields."""
    own = connection(domid, *devices) if devices else None
    return Domain(domid, name, **{"kind": DomainKind.PV, "own_connection": own, **facts})


def host(devices: Iterable[PciDevice] = (), domains: Iterable[Domain] = (), **facts: Any) -> Host:
    """A host with these devices and domains; `facts` are other fields."""
    return Host({one.sbdf: one for one in devices}, {one.domid: one for one in domains}, **facts)
