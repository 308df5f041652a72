# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a host into the model: every view once, nothing judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ..interfaces.guest_disks import disks_of_guests
from ..interfaces.hypervisor import Hypervisor
from ..interfaces.libxl import MARKERS, parse_marker_key
from ..interfaces.libxl_config import ConfigError, read_config
from ..interfaces.notes import noted_lost_holds, noted_rights, noted_to_come_back
from ..interfaces.qmp import bus_of
from ..interfaces.sysfs import Sysfs
from ..interfaces.xenstore import Transaction, XenStore
from ..model.backend import Backend, backend_path, error_path, frontend_path
from ..model.device_model import DeviceModel, DeviceModelError
from ..model.domain_config import Creation, configured
from ..model.host import Domain, DomainKind, Host, PciDevice, XenOwner
from ..values.address import Sbdf

_BACKENDS = "/local/domain/0/backend/pci"
#: libxl's name of the device model that speaks QMP; the other one, long gone, did not (libxl_types.idl).
_QEMU = "qemu_xen"


def observe(store: XenStore, sysfs: Sysfs, hypervisor: Hypervisor) -> Host:
    """All devices and domains of this host. Raises the errors of the three sources."""
    devices = _with_notes(store, sysfs.devices(disks_of_guests(store)))
    domids = set(_names(store))
    connections = _numbers(store.list(_BACKENDS))
    backends = {domid: backend for domid in connections if (backend := read_backend(store, domid)) is not None}
    markers, driver_paths = _markers(store)
    owners = _owners(hypervisor, [sbdf for sbdf, device in devices.items() if device.in_pciback])
    free = _free_device(hypervisor, devices, owners)
    domains = _with_device_models(store, [_domain(store, domid, backends.get(domid)) for domid in sorted(domids)])
    domains = _with_stubs(store, domains)
    coming = noted_to_come_back(store)
    domains = [replace(one, to_come_back=coming.get(one.domid, ())) for one in domains]
    if free is not None:
        domains = [replace(one, uses_iommu=hypervisor.accepts(one.domid, free)) for one in domains]
    return Host(
        devices=devices,
        domains={domain.domid: domain for domain in domains},
        markers=markers,
        driver_paths=driver_paths,
        ghosts={domid: backend for domid, backend in backends.items() if domid not in domids},
        xen_owners=owners,
        kernel=sysfs.kernel(),
    )


def _with_notes(store: XenStore, devices: Mapping[Sbdf, PciDevice]) -> dict[Sbdf, PciDevice]:
    """The devices with what only our notes tell of those in pciback's hands: whether it holds one for nobody, and where
    a guest's MSI hides the interrupt line, which one that is.
    """
    lost = {one: said for one, said in noted_lost_holds(store).items() if one in devices and devices[one].in_pciback}
    known = {**devices, **{one: replace(devices[one], lost_hold=said) for one, said in lost.items()}}
    hidden = (one for one in devices.values() if one.in_pciback and one.config.msi and not one.irq)
    lines = {one.sbdf: replace(known[one.sbdf], irq=noted_rights(store, one.sbdf)[0]) for one in hidden}
    return {**known, **lines}


def remembered(store: XenStore, device: Sbdf) -> PciDevice:
    """A device that the host has no more, as far as rights over it go. Its owner lost it in Xen when the host did."""
    irq, windows = noted_rights(store, device)
    return PciDevice(device, "", "", "", "", "", "", irq=irq, resources=windows)


def names_of_domains(store: XenStore) -> set[str]:
    """What the running domains are called, dom0 excluded."""
    return set(_names(store).values())


def _names(store: XenStore) -> dict[int, str]:
    """The running domains. A directory without a name is none: whoever writes to one that has gone makes it anew."""
    domids = _numbers(store.list("/local/domain")) - {0}
    names = store.read_all([f"/local/domain/{domid}/name" for domid in domids])
    return {domid: name for domid, name in zip(domids, names) if name}


def read_backend(requests: XenStore | Transaction, domid: int) -> Backend | None:
    """A domain's connection as it is now, or None if there is none."""
    nodes = requests.children(backend_path(domid))
    if not nodes:
        return None
    frontend_state, error = requests.read_all([f"{frontend_path(domid)}/state", error_path(domid)])
    return Backend.from_nodes(domid, nodes, frontend_state, error or "")


def read_device_model(domid: int, uuid: str) -> DeviceModel:
    """What the device model of an HVM guest says; its silence is a fact as well."""
    try:
        return bus_of(domid, uuid)
    except DeviceModelError as error:
        return DeviceModel(plugged=None, problem=str(error))


def _with_device_models(store: XenStore, domains: Sequence[Domain]) -> list[Domain]:
    """The domains with what their device models say, all asked at once: each one that hangs takes its whole time."""
    guests = [one for one in domains if one.kind is DomainKind.HVM]
    versions = store.read_all([f"/libxl/{one.domid}/dm-version" for one in guests])
    asked = [one for one, version in zip(guests, versions) if version == _QEMU]
    with ThreadPoolExecutor(max_workers=max(len(asked), 1)) as pool:
        said = pool.map(lambda one: read_device_model(one.domid, one.uuid), asked)
        models = {one.domid: model for one, model in zip(asked, said)}
    return [replace(one, device_model=models.get(one.domid)) for one in domains]


def _with_stubs(store: XenStore, domains: Sequence[Domain]) -> list[Domain]:
    """The domains, where each guest whose device model runs in a domain of its own knows that one, and it the guest."""
    nodes = [f"/local/domain/{one.domid}/image/device-model-domid" for one in domains]
    stub_of = {
        one.domid: int(text)
        for one, text in zip(domains, store.read_all(nodes))
        if one.kind is DomainKind.HVM and text is not None and text.isdecimal()
    }
    guest_of = {stub: guest for guest, stub in stub_of.items()}
    known = {one.domid: replace(one, serves=guest_of.get(one.domid)) for one in domains}
    return [replace(one, stub=known.get(stub_of.get(one.domid, -1))) for one in known.values()]


def _domain(store: XenStore, domid: int, backend: Backend | None) -> Domain:
    home = f"/local/domain/{domid}"
    nodes = [f"{home}/name", f"{home}/vm", f"/libxl/{domid}/type", frontend_path(domid)]
    name, vm, kind, frontend = store.read_all(nodes)
    uuid = (vm or "").rpartition("/")[2]
    try:
        config = read_config(domid, uuid)
    except ConfigError:
        config = None  # it says nothing; who is to change it says what is wrong with it
    return Domain(
        domid=domid,
        name=name or "",
        uuid=uuid,
        kind=DomainKind(kind) if kind in {"pv", "hvm", "pvh"} else DomainKind.UNKNOWN,
        backend=backend,
        creation=Creation() if config is None else Creation.of(config),
        configured=None if config is None else configured(config),
        frontend_alone=frontend is not None and backend is None,
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


def _free_device(
    hypervisor: Hypervisor, devices: Mapping[Sbdf, PciDevice], owners: Mapping[Sbdf, XenOwner]
) -> Sbdf | None:
    """A device that no guest owns, whatever it is: Xen refuses it to a domain only if that does not use the IOMMU.

    So it goes for its test of an assignment (iommu_do_domctl), which changes nothing.
    """
    others = (sbdf for sbdf in devices if sbdf not in owners and hypervisor.owner(sbdf) is XenOwner.HOST)
    return next((sbdf for sbdf, owner in owners.items() if owner is XenOwner.HOST), None) or next(others, None)


def _numbers(names: list[str]) -> set[int]:
    return {int(name) for name in names if name.isdecimal()}
