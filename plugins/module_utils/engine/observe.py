# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a host into the model: every view once, nothing judged."""

from __future__ import annotations

from ..interfaces.hypervisor import Hypervisor
from ..interfaces.libxl import MARKERS, creation_record, parse_marker_key
from ..interfaces.sysfs import Sysfs
from ..interfaces.xenstore import Transaction, XenStore
from ..model.backend import Backend, backend_path, error_path, frontend_path
from ..model.host import Domain, DomainKind, Host, XenOwner
from ..values.address import Sbdf

_BACKENDS = "/local/domain/0/backend/pci"


def observe(store: XenStore, sysfs: Sysfs, hypervisor: Hypervisor) -> Host:
    """All devices and domains of this host. Raises the errors of the three sources."""
    devices = sysfs.devices()
    domids = _numbers(store.list("/local/domain")) - {0}
    connections = _numbers(store.list(_BACKENDS))
    backends = {domid: backend for domid in connections if (backend := read_backend(store, domid)) is not None}
    markers, driver_paths = _markers(store)
    return Host(
        devices=devices,
        domains={domid: _domain(store, domid, backends.get(domid)) for domid in sorted(domids)},
        markers=markers,
        driver_paths=driver_paths,
        ghosts={domid: backend for domid, backend in backends.items() if domid not in domids},
        xen_owners=_owners(hypervisor, [sbdf for sbdf, device in devices.items() if device.in_pciback]),
        kernel=sysfs.kernel(),
    )


def read_backend(requests: XenStore | Transaction, domid: int) -> Backend | None:
    """A domain's connection as it is now, or None if there is none."""
    nodes = requests.children(backend_path(domid))
    if not nodes:
        return None
    frontend_state, error = requests.read_all([f"{frontend_path(domid)}/state", error_path(domid)])
    return Backend.from_nodes(domid, nodes, frontend_state, error or "")


def _domain(store: XenStore, domid: int, backend: Backend | None) -> Domain:
    home = f"/local/domain/{domid}"
    name, vm, kind = store.read_all([f"{home}/name", f"{home}/vm", f"/libxl/{domid}/type"])
    uuid = (vm or "").rpartition("/")[2]
    record = creation_record(domid, uuid)
    return Domain(
        domid=domid,
        name=name or "",
        uuid=uuid,
        kind=DomainKind(kind) if kind in {"pv", "hvm", "pvh"} else DomainKind.UNKNOWN,
        backend=backend,
        passthrough=record.passthrough,
        e820_host=record.e820_host,
    )


def _markers(store: XenStore) -> tuple[dict[Sbdf, int], dict[Sbdf, str]]:
    keys = {key: sbdf for key in store.list(MARKERS) if (sbdf := parse_marker_key(key)) is not None}
    holders = store.read_all([f"{MARKERS}/{key}/domid" for key in keys])
    drivers = store.read_all([f"{MARKERS}/{key}/driver_path" for key in keys])
    return (
        {sbdf: int(text) for sbdf, text in zip(keys.values(), holders) if text is not None and text.isdecimal()},
        {sbdf: text for sbdf, text in zip(keys.values(), drivers) if text},
    )


def _owners(hypervisor: Hypervisor, devices: list[Sbdf]) -> dict[Sbdf, XenOwner]:
    return {sbdf: hypervisor.owner(sbdf) for sbdf in devices}


def _numbers(names: list[str]) -> set[int]:
    return {int(name) for name in names if name.isdecimal()}
