# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a host into the model: every view once, nothing judged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from operator import itemgetter
from typing import TypeVar

from ..model.connection import PciConnection, frontend_path
from ..model.device import PciDevice, XenOwner
from ..model.domain import DOMID_IO, Domain
from ..model.host import Host
from ..model.live_domain import Label, LiveDomain, is_refuted, uuids
from ..model.management import Management, Manager
from ..model.notes import GoneDevice, Note
from ..model.physical_function import PhysicalFunction
from ..values.address import Sbdf
from ..values.errors import HostError
from .access import HostAccess
from .hypervisor import Hypervisor
from .note_store import NoteStore
from .sysfs import Sysfs, SysfsError
from .xen_calls import HypervisorError
from .xenstore_nodes import (
    read_connection,
    read_connections,
    read_guest_disks,
    read_kernel_errors,
    read_outline,
)

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def observe(access: HostAccess) -> Host:
    """Read what every decision depends on: all devices and domains of this host, and what is noted of them.

    Raises the errors of xenstore, sysfs and Xen.
    """
    sysfs = access.sysfs
    devices = _with_notes(access.notes, sysfs.devices(read_guest_disks(access.store)))
    labels = access.toolstack.labels()
    present = access.hypervisor.domains()  # after it, since a toolstack takes a name away before it ends the domain
    connections, management = read_connections(access.store), access.management()
    markers = access.toolstack.markers()
    owners = {sbdf: access.hypervisor.owner(sbdf) for sbdf, device in devices.items() if device.in_pciback}
    noted = access.notes.all()
    notes = access.memory.complete(devices, _current_notes(noted, devices))
    return Host(
        devices=devices,
        domains=_managed(management, _domains(access, devices, owners, _identities(present, labels), connections)),
        management=management,
        dying=frozenset(domain.domid for domain in present.values() if domain.dying),
        stale_names={domid: label.name for domid, label in labels.items() if domid not in present and label.name},
        markers=_in_order(markers.holders),
        unreadable_markers=_in_order(markers.unreadable),
        driver_paths=_in_order(markers.drivers),
        orphaned_connections=_in_order(
            {domid: found for domid, found in connections.items() if domid not in present or present[domid].dying}
        ),
        xen_owners=owners,
        xen=access.hypervisor.describe(),
        kernel=sysfs.kernel(),
        network=access.network.use(),
        drivers=sysfs.drivers(),
        permissive_for_all=sysfs.permissive_for_all(),
        notes=_in_order(notes),
        gone=_in_order(_gone(noted, sysfs.pciback_list(), devices)),
        kept_holds=_kept_holds(access),
        quarantined=frozenset(sbdf for sbdf, note in notes.items() if note.quarantined)
        # xl records the driver of what it quarantines. So do we, but long before that.
        | (frozenset(markers.drivers) - access.notes.being_taken()),
        kernel_connections=sysfs.kernel_connections(),
        kernel_errors=read_kernel_errors(access.store),
    )


def observe_everything(access: HostAccess, config_files: Iterable[str] = ()) -> Host:
    """Read all that a plan for this host can depend on, for plans that are made elsewhere (model/snapshot.py).

    Raises HostError.
    """
    host = observe(access)
    host = with_uses(access, with_boot(access, with_groups(access, host, host.devices), host.devices))
    physical = {sbdf: device for sbdf, device in host.devices.items() if device.sriov_totalvfs}
    # Where there are no virtual functions, nothing is set for one.
    host = with_functions(access, host, physical, [sbdf for sbdf, device in physical.items() if device.virtfns])
    return with_config_files(access, host, config_files)


def with_groups(access: HostAccess, host: Host, devices: Iterable[Sbdf]) -> Host:
    """Add what Xen says of devices that can only be assigned together, for these ones.

    Xen names only those of one owner at a time, so dom0, the quarantine and all guests are asked. A Xen without
    an IOMMU knows no groups, and nothing is said then.
    """
    owners = [0, DOMID_IO, *host.domains]
    groups = {}
    for sbdf in devices:
        with suppress(HypervisorError):
            groups[sbdf] = frozenset(other for owner in owners for other in access.hypervisor.device_group(owner, sbdf))
    return replace(host, groups={**host.groups, **groups})


def with_uses(access: HostAccess, host: Host) -> Host:
    """Return the host with what else it may need functions for, which only a plan to take one from it depends on."""
    return replace(host, uses=access.other_uses(host.devices))


def with_boot(access: HostAccess, host: Host, devices: Collection[Sbdf] = ()) -> Host:
    """Add what the host's next boot will do, and what would drive these devices then and those kept already.

    Raises BootConfigError where it cannot be read.
    """
    boot = access.boot.facts(access.modules.pciback(), host.devices)
    boot = replace(boot, modules_known=access.modules.drivers_known())
    if devices:
        present = [host.devices[sbdf] for sbdf in {*devices, *boot.declared_by_us} if sbdf in host.devices]
        boot = replace(boot, modules=access.modules.drivers_of((device.sbdf, device.modalias) for device in present))
    return replace(host, boot=boot)


def with_functions(
    access: HostAccess, host: Host, physical: Iterable[Sbdf], settings_of: Collection[Sbdf] = ()
) -> Host:
    """Add these physical functions as they are now; settings are read only of `settings_of`.

    Settings that cannot be read are unknown: who needs them refuses, and all else can be planned.
    """
    found = {}
    for sbdf in host.devices.keys() & set(physical):
        offset, stride, vf_device = access.sriov.layout(sbdf)
        function = PhysicalFunction(
            host.devices[sbdf],
            access.sriov.drivers_autoprobe(sbdf),
            first_offset=offset,
            stride=stride,
            vf_device=vf_device,
        )
        if sbdf in settings_of and function.interface is not None:
            try:
                function = replace(function, settings=access.sriov.vf_settings(function.interface))
            except HostError as error:  # such as a host without iproute2
                function = replace(function, settings_problem=str(error))
        found[sbdf] = function
    return replace(host, functions={**host.functions, **found})


def with_link_states(access: HostAccess, host: Host, virtual: Iterable[Sbdf]) -> Host:
    """Add what is set for these virtual functions, as far as `ip` and the drivers say it."""
    physical = {device.physfn for sbdf in virtual if (device := host.devices.get(sbdf)) is not None}
    for sbdf in sorted(found for found in physical if found is not None):
        with suppress(HostError):
            host = with_functions(access, host, [sbdf], [sbdf])
    return host


def with_config_files(access: HostAccess, host: Host, paths: Iterable[str], others: Iterable[str] = ()) -> Host:
    """Add the text of these xl.cfg files, or why one cannot be read.

    `others` are the names of domains without a file: if one does not run, the files in /etc/xen are looked through.
    """
    texts, problems = {}, {}
    for path in dict.fromkeys(paths):
        try:
            texts[path] = access.config_files.read(path)
        except HostError as error:
            problems[path] = str(error)
    running = {domain.name for domain in host.domains.values()}
    usual = {} if running.issuperset(others) else access.config_files.usual()
    return replace(host, config_files=texts, unreadable_files=problems, usual_files=usual)


def observe_domains(
    access: HostAccess, domains: Sequence[Domain], devices: Iterable[Sbdf], with_options: Collection[int] = ()
) -> Host:
    """Look again at these domains, and at what they have of the host's devices, and at nothing else.

    A domain that is gone is not in the result, nor is a device that has left the host. `with_options` are those
    domains of whose devices the options are read as well.
    """
    alive = [domain for domain in domains if access.hypervisor.has(domain.domid)]
    now = [_seen_again(access, domain, domain.domid in with_options) for domain in alive]
    wanted = sorted({*devices, *(device for domain in now for device in domain.devices)})
    return Host(
        devices={sbdf: found for sbdf in wanted if (found := _device_now(access.sysfs, sbdf)) is not None},
        domains={domain.domid: domain for domain in now},
        xen_owners={sbdf: access.hypervisor.owner(sbdf) for sbdf in wanted},
    )


def _seen_again(access: HostAccess, domain: Domain, with_options: bool) -> Domain:
    read, stub = read_connection if with_options else read_outline, domain.stub
    if stub is not None:
        stub = replace(stub, own_connection=read(access.store, stub.domid))
    model = access.toolstack.device_model(domain) if domain.device_model is not None else None
    return replace(domain, own_connection=read(access.store, domain.domid), stub=stub, device_model=model)


def _device_now(sysfs: Sysfs, sbdf: Sbdf) -> PciDevice | None:
    """Read what shows whether a guest has the device: its driver in dom0, and what is switched on in it."""
    try:
        driver, config = sysfs.driver_of(sbdf), sysfs.config_flags(sbdf)
    except SysfsError:
        return None
    return PciDevice(sbdf, "", "", "", "", "", "", driver=driver, config=config)


def _current_notes(notes: Mapping[Sbdf, Note], devices: Mapping[Sbdf, PciDevice]) -> dict[Sbdf, Note]:
    """Read notes on devices that pciback still holds; after a release by other hands they mean nothing."""
    return {
        sbdf: note
        for sbdf, note in notes.items()
        if sbdf in devices
        and devices[sbdf].in_pciback
        and note.product == f"{devices[sbdf].vendor}:{devices[sbdf].device}"
    }


def _gone(notes: Mapping[Sbdf, Note], listed: Mapping[Sbdf, int], devices: Collection[Sbdf]) -> dict[Sbdf, GoneDevice]:
    """Find what is left of devices that the host does not have: our notes, and places on pciback's list."""
    return {
        sbdf: GoneDevice(notes.get(sbdf, Note()), listed.get(sbdf, 0))
        for sbdf in {*notes, *listed}
        if sbdf not in devices
    }


def _with_notes(notes: NoteStore, devices: Mapping[Sbdf, PciDevice]) -> dict[Sbdf, PciDevice]:
    """Add to the devices what only our notes say of those that pciback holds.

    That is whether it holds one though no guest has it, and the interrupt line where a guest's MSI hides it.
    """
    lost = {sbdf: said for sbdf, said in notes.lost_holds().items() if sbdf in devices and devices[sbdf].in_pciback}
    known = {**devices, **{sbdf: replace(devices[sbdf], lost_hold=said) for sbdf, said in lost.items()}}
    hidden = (device.sbdf for device in devices.values() if device.in_pciback and device.config.msi and not device.irq)
    return {**known, **{sbdf: replace(known[sbdf], irq=notes.rights(sbdf)[0]) for sbdf in hidden}}


def _kept_holds(access: HostAccess) -> dict[Sbdf, int]:
    """Find devices that pciback keeps for a guest, whose connection is still the one for which that was noted."""
    noted = access.notes.kept_holds()
    return _in_order(
        {sbdf: domid for sbdf, (domid, one) in noted.items() if one == access.sysfs.backend_identity(domid)}
    )


def _domains(
    access: HostAccess,
    devices: Mapping[Sbdf, PciDevice],
    owners: Mapping[Sbdf, XenOwner],
    labels: Mapping[int, Label],
    connections: Mapping[int, PciConnection],
) -> dict[int, Domain]:
    """Join all that is known of the domains; each guest knows its stub domain, and that one its guest."""
    known = access.toolstack.domains(labels)
    frontends = dict(zip(known, access.store.read_all([frontend_path(domid) for domid in known])))
    coming, free = access.notes.to_come_back(), _free_device(access.hypervisor, devices, owners)
    stub_of = access.toolstack.stubs(known.values())
    guest_of = {stub: guest for guest, stub in stub_of.items()}
    for domid, domain in known.items():
        known[domid] = replace(
            domain,
            own_connection=connections.get(domid),
            frontend_alone=frontends[domid] is not None and domid not in connections,
            to_come_back=coming.get(domid, ()),
            uses_iommu=None if free is None else access.hypervisor.accepts(domid, free),
            serves=guest_of.get(domid),
        )
    return {**known, **{guest: replace(known[guest], stub=known.get(stub)) for guest, stub in stub_of.items()}}


def _identities(present: Mapping[int, LiveDomain], labels: Mapping[int, Label]) -> dict[int, Label]:
    """Name and UUID of each domain that lives, dom0 apart; no name where the label is that of another domain."""
    known = uuids(present, labels)
    return {
        domid: Label("" if is_refuted(domain, labels[domid]) else labels[domid].name, known[domid])
        if domid in labels
        else Label("", known[domid])
        for domid, domain in present.items()
        if domid and not domain.dying
    }


def _managed(management: Management, domains: Mapping[int, Domain]) -> dict[int, Domain]:
    """Say of each domain what manages it; a stub domain is its guest's."""
    of_all = management.manager if management.manager in (Manager.QUBES, Manager.XAPI) else None
    libvirts = {domain.domid: Manager.LIBVIRT for domain in domains.values() if domain.uuid in management.running}
    own = {domid: of_all or libvirts.get(domid, domain.manager) for domid, domain in domains.items()}
    return {
        domid: replace(domain, manager=own.get(domid if domain.serves is None else domain.serves, Manager.UNKNOWN))
        for domid, domain in domains.items()
    }


def _free_device(
    hypervisor: Hypervisor, devices: Mapping[Sbdf, PciDevice], owners: Mapping[Sbdf, XenOwner]
) -> Sbdf | None:
    """Pick a device that no guest owns, whatever it is: Xen refuses it to a domain only if that does not use the IOMMU.

    So it goes for its test of an assignment (iommu_do_domctl), which changes nothing.
    """
    others = (sbdf for sbdf in devices if sbdf not in owners and hypervisor.owner(sbdf) is XenOwner.HOST)
    return next((sbdf for sbdf, owner in owners.items() if owner is XenOwner.HOST), None) or next(others, None)


def _in_order(found: Mapping[_Key, _Value]) -> dict[_Key, _Value]:
    """Sort by the keys: xenstore lists nodes as they were made, and what is planned must not depend on that."""
    return dict(sorted(found.items(), key=itemgetter(0)))
