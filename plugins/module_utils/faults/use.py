# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What shows that a guest has a device and uses it, whatever its connection says of that. Pure.

Entries and states in xenstore can be wrong. What they say is checked against this before anything that a repair does
could cost a guest a device.
"""

from __future__ import annotations

from ..model.connection import PciConnection
from ..model.device import XenOwner
from ..model.domain import Domain, DomainKind
from ..model.host import Host
from ..values.address import Sbdf


def owner_domid(domain: Domain) -> int:
    """Return the domain that libxl's markers name for devices of this one: of a stub domain, its guest."""
    return domain.domid if domain.serves is None else domain.serves


def is_run(host: Host, device: Sbdf | None) -> bool:
    """Whether a driver in a guest runs a device of pciback, which resets and disables what it takes back.

    But not a bridge (xen_pcibk_reset_device).
    """
    facts = host.devices.get(device) if device is not None else None
    return facts is not None and facts.in_pciback and facts.config.driver_is_active and not facts.is_bridge


def uses(host: Host, domain: Domain, device: Sbdf | None) -> bool:
    """Whether this guest, which something says has the device, uses it now; of a stub domain, its guest."""
    model = host.domains.get(owner_domid(domain), domain).device_model
    if model is None or device is None:
        return is_run(host, device) and not is_anothers(host, domain, device)
    facts = host.devices.get(device)
    return facts is not None and facts.in_pciback and model.has(device) is not None


def is_anothers(host: Host, domain: Domain, device: Sbdf | None) -> bool:
    """Whether the driver that runs a device is in another domain, which lists it and which libxl's marker names."""
    marked = host.markers.get(device, -1) if device is not None else -1
    return marked != owner_domid(domain) and marked in host.domains and device in host.domains[marked].devices


def is_told_by_model(domain: Domain) -> bool:
    """Whether the connection is for a device model, which shows what the guest has without it."""
    return domain.serves is not None or (domain.device_model is not None and domain.stub is None)


def has_besides_entry(host: Host, domain: Domain, device: Sbdf) -> bool:
    """Whether anything but an entry in its connection says that the domain has the device."""
    marked = host.markers.get(device) == owner_domid(domain)
    owned = host.xen_owners.get(device) is XenOwner.GUEST
    return marked or owned or device in (domain.configured or ()) or uses(host, domain, device)


def unlisted(host: Host, domain: Domain) -> tuple[Sbdf, ...]:
    """Find the devices that the domain uses and has by all other records, though no connection lists them.

    Of an HVM guest with a stub domain, the connection of the stub domain is meant.
    """
    listed = {device for other in host.domains.values() if other.connection for device in other.connection.devices}
    listed |= {device for other in host.domains.values() if other.serves is not None for device in _own(other)}
    guest = host.domains.get(owner_domid(domain), domain)
    return tuple(
        device
        for device, owner in sorted(host.xen_owners.items())
        if device not in listed and owner is XenOwner.GUEST
        if _is_of(host, guest, device) and uses(host, guest, device)
    )


def _own(domain: Domain) -> tuple[Sbdf, ...]:
    return domain.own_connection.devices if domain.own_connection is not None else ()


def _is_of(host: Host, domain: Domain, device: Sbdf) -> bool:
    """Whether the marker names the domain, or, where there is none, the stored configuration lists the device.

    A device that its device model alone names may be a lie, and a killed attach stores nothing. Where there is a stub
    domain, libxl stores none of the devices, but it lists each before the device model has it. Where the stored
    configuration cannot be read, it does not say that the guest lacks the device, and an entry may be damaged.
    """
    configured = device in (domain.configured or ())
    if domain.device_model is not None:
        unread = domain.configured is None and domain.own_connection is not None
        stored = configured or unread or domain.stub is not None
        return stored and host.markers.get(device) == domain.domid
    return host.markers.get(device, domain.domid if configured else None) == domain.domid


def others_with(host: Host, domain: Domain, device: Sbdf) -> list[str]:
    """Name the other domains whose connections also list a device."""
    own = (domain.domid, domain.serves)  # what is in a stub domain's connection is its guest's
    return [other.called for other in host.domains.values() if other.domid not in own and device in other.devices]


def foreign(host: Host, domain: Domain) -> tuple[Sbdf, ...]:
    """Find the devices that only an entry of the domain's connection says it has.

    Another program may have written that. What the host or pciback has lost, or another domain lists, is another fault.
    """
    if domain.stub is not None and not unlisted(host, domain):
        return ()  # the guest has ejected it, and the stub domain's kernel still has it: libxl's record is stale
    backend = domain.connection
    by_states = domain.device_model is None  # of a guest with a device model, sub-states say nothing
    entries = backend.entries if backend is not None else ()
    listed = [entry.device for entry in entries if entry.device is not None and (entry.exported or not by_states)]
    return tuple(
        sbdf
        for sbdf in listed
        if sbdf in host.in_pciback and not has_besides_entry(host, domain, sbdf) and not others_with(host, domain, sbdf)
    )


def evidently_has(host: Host, domain: Domain, backend: PciConnection) -> tuple[Sbdf, ...]:
    """Find the devices that the domain uses, whether its connection lists them or not.

    And those listed for an HVM guest by its other records, too: what its device model has not is found after this.
    """
    recorded = [device for device in backend.devices if has_besides_entry(host, domain, device)]
    used = [device for device in (*backend.devices, *unlisted(host, domain)) if uses(host, domain, device)]
    return tuple(dict.fromkeys([*(recorded if domain.device_model is not None else ()), *used]))


def is_connected(host: Host, domain: Domain, backend: PciConnection) -> bool:
    """Whether a PV guest runs all devices of its connection, so that its kernel is connected, whatever a state says.

    A guest that has not answered yet does not run what has just been added.
    """
    return bool(backend.entries) and all(
        entry.exported and uses(host, domain, entry.device) for entry in backend.entries
    )


def is_disordered(host: Host, domain: Domain, backend: PciConnection) -> bool:
    """Whether entries are incomplete, duplicate, or not numbered without gaps, or one that the guest has is missing."""
    devices = backend.devices
    unreadable = any(entry.device is None for entry in backend.entries) or len(set(devices)) != len(devices)
    if not backend.count_is_sound or backend.stray_nodes or unreadable:
        return True
    if domain.kind is not DomainKind.PV:  # of an HVM guest, sub-states and places say nothing
        return bool(unlisted(host, domain))
    if foreign(host, domain) and unlisted(host, domain):
        return True
    return any(
        entry.state is None or (entry.exported_nowhere and not uses(host, domain, entry.device))
        for entry in backend.entries
    )
