# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a host into the model: every view once, nothing judged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from ..model.connection import PciConnection, backend_path, error_path, frontend_path
from ..model.device import PciDevice, XenOwner
from ..model.device_model import DeviceModel, DeviceModelError
from ..model.domain import DOMID_IO, Domain, DomainKind
from ..model.host import Host
from ..model.notes import Note
from ..model.physical_function import PhysicalFunction
from ..model.stored_config import Creation, configured
from ..values.address import Sbdf
from .access import HostAccess
from .guest_disks import disks_of_guests
from .hypervisor import Hypervisor, HypervisorError
from .known_devices_file import with_memory
from .network_usage import NetGraph, connection_addresses
from .note_store import noted_lost_holds, noted_rights, noted_to_come_back, read_notes
from .sriov import vf_settings
from .toolstack.libxl_state import MARKERS, parse_marker_key
from .toolstack.qmp import bus_of
from .toolstack.stored_config_file import ConfigError, read_config
from .xenstore import Transaction, XenStore
from .xl_cfg_file import DomainFileError, read_domain_file

_BACKENDS = "/local/domain/0/backend/pci"
_ERRORS = "/local/domain/0/error/backend/pci"
#: libxl's name of the device model that speaks QMP; the other one, long gone, did not (libxl_types.idl).
_QEMU = "qemu_xen"
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def observe(access: HostAccess) -> Host:
    """Read what every decision depends on: all devices and domains of this host, and what is noted of them.

    Raises the errors of xenstore, sysfs and Xen.
    """
    store, sysfs, hypervisor = access.store, access.sysfs, access.hypervisor
    devices = _with_notes(store, sysfs.devices(disks_of_guests(store)))
    domids = set(_names(store))
    connections = _numbers(store.list(_BACKENDS))
    backends = {domid: found for domid in connections if (found := read_connection(store, domid)) is not None}
    markers, driver_paths = _markers(store)
    owners = _owners(hypervisor, [sbdf for sbdf, device in devices.items() if device.in_pciback])
    notes = with_memory(sysfs.root, devices, _current_notes(store, devices))
    return Host(
        devices=devices,
        domains=_domains(access, devices, owners, domids, backends),
        markers=_in_order(markers),
        driver_paths=_in_order(driver_paths),
        orphaned_connections=_in_order({domid: found for domid, found in backends.items() if domid not in domids}),
        xen_owners=owners,
        kernel=sysfs.kernel(),
        network=NetGraph(sysfs.root).use(connection_addresses()),
        drivers=sysfs.drivers(),
        permissive_for_all=sysfs.permissive_for_all(),
        notes=_in_order(notes),
        quarantined=frozenset(sbdf for sbdf, note in notes.items() if note.quarantined) | frozenset(driver_paths),
        kernel_connections=sysfs.kernel_connections(),
        kernel_errors=_kernel_errors(store),
    )


def with_groups(access: HostAccess, host: Host, devices: Iterable[Sbdf]) -> Host:
    """The host with what Xen says of devices that can only be assigned together, for these ones.

    Xen names only those of one owner at a time, so dom0, the quarantine and all guests are asked. A Xen without
    an IOMMU knows no groups, and nothing is said then.
    """
    owners = [0, DOMID_IO, *host.domains]
    groups = {}
    for sbdf in devices:
        with suppress(HypervisorError):
            groups[sbdf] = frozenset(one for owner in owners for one in access.hypervisor.device_group(owner, sbdf))
    return replace(host, groups={**host.groups, **groups})


def with_boot(access: HostAccess, host: Host, devices: Collection[Sbdf] = ()) -> Host:
    """The host with what its next boot will do, and what would drive these devices then and those kept already.

    Raises BootConfigError where it cannot be read.
    """
    boot = access.boot.facts(access.modules.pciback(access.sysfs.root))
    if devices:
        present = [host.devices[one] for one in {*devices, *boot.declared_by_us} if one in host.devices]
        boot = replace(boot, modules=access.modules.drivers_of((one.sbdf, one.modalias) for one in present))
    return replace(host, boot=boot)


def with_functions(
    access: HostAccess, host: Host, physical: Iterable[Sbdf], settings_of: Collection[Sbdf] = ()
) -> Host:
    """The host with these physical functions as they are now; settings are read only of `settings_of`."""
    found = {}
    for sbdf in physical:
        function = PhysicalFunction(host.devices[sbdf], access.sriov.drivers_autoprobe(sbdf))
        if sbdf in settings_of and function.interface is not None:
            function = replace(function, settings=vf_settings(function.interface))
        found[sbdf] = function
    return replace(host, functions={**host.functions, **found})


def with_config_files(host: Host, paths: Iterable[str]) -> Host:
    """The host with the text of these xl.cfg files, or why one cannot be read."""
    texts, problems = {}, {}
    for path in dict.fromkeys(paths):
        try:
            texts[path] = read_domain_file(Path(path))
        except DomainFileError as error:
            problems[path] = str(error)
    return replace(host, config_files=texts, unreadable_files=problems)


def _current_notes(store: XenStore, devices: Mapping[Sbdf, PciDevice]) -> dict[Sbdf, Note]:
    """Notes on devices that pciback still holds; after a release by other hands they mean nothing."""
    return {
        sbdf: note
        for sbdf, note in read_notes(store).items()
        if sbdf in devices
        and devices[sbdf].in_pciback
        and note.product == f"{devices[sbdf].vendor}:{devices[sbdf].device}"
    }


def _kernel_errors(store: XenStore) -> dict[int, str]:
    domids = sorted(_numbers(store.list(_ERRORS)))
    errors = store.read_all([error_path(domid) for domid in domids])
    return {domid: text for domid, text in zip(domids, errors) if text}


def _domains(
    access: HostAccess,
    devices: Mapping[Sbdf, PciDevice],
    owners: Mapping[Sbdf, XenOwner],
    domids: Collection[int],
    connections: Mapping[int, PciConnection],
) -> dict[int, Domain]:
    store = access.store
    domains = _with_device_models(store, [_domain(store, domid, connections.get(domid)) for domid in sorted(domids)])
    coming = noted_to_come_back(store)
    domains = [replace(one, to_come_back=coming.get(one.domid, ())) for one in _with_stubs(store, domains)]
    free = _free_device(access.hypervisor, devices, owners)
    if free is not None:
        domains = [replace(one, uses_iommu=access.hypervisor.accepts(one.domid, free)) for one in domains]
    return {domain.domid: domain for domain in domains}


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


def read_connection(requests: XenStore | Transaction, domid: int) -> PciConnection | None:
    """A domain's connection as it is now, or None if there is none."""
    nodes = requests.children(backend_path(domid))
    if not nodes:
        return None
    frontend_state, error = requests.read_all([f"{frontend_path(domid)}/state", error_path(domid)])
    return PciConnection.from_nodes(domid, nodes, frontend_state, error or "")


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


def _domain(store: XenStore, domid: int, backend: PciConnection | None) -> Domain:
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
        own_connection=backend,
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


def _in_order(found: Mapping[_Key, _Value]) -> dict[_Key, _Value]:
    """The same by its keys: xenstore lists nodes as they were made, and what is planned must not depend on that."""
    return dict(sorted(found.items(), key=itemgetter(0)))


def _numbers(names: list[str]) -> set[int]:
    return {int(name) for name in names if name.isdecimal()}
