# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the views of xenstore, sysfs, Xen and libxl contradict each other, in words."""

from __future__ import annotations

from collections import defaultdict

from ..model.device import XenOwner
from ..model.host import Host
from ..values.address import Sbdf


def disagreements(host: Host) -> list[str]:
    """One sentence for each contradiction; empty on a host in order."""
    return [*_ghosts(host), *_connections(host), *_markers(host), *_owners(host), *_pciback(host)]


def _ghosts(host: Host) -> list[str]:
    return [
        f"Xenstore keeps a PCI connection of domain {domid}, which does not exist"
        f" (devices: {_listed(orphan.devices)}; state {orphan.state})."
        for domid, orphan in sorted(host.orphaned_connections.items())
    ]


def _connections(host: Host) -> list[str]:
    found = []
    holders: dict[Sbdf, list[str]] = defaultdict(list)
    for domain in host.domains.values():
        where = f"the connection of domain {domain.name} ({domain.domid})"
        found += [
            f"In {where}, {problem}." for problem in (domain.own_connection.problems() if domain.own_connection else [])
        ]
        for sbdf in dict.fromkeys(domain.devices):
            holders[sbdf].append(f"{domain.name} ({domain.domid})")
            device = host.devices.get(sbdf)
            if device is None:
                found.append(f"{sbdf} is listed in {where}, but the host has no such device.")
            elif not device.in_pciback:
                found.append(f"{sbdf} is listed in {where}, but is with {_driver(device.driver)} and not with pciback.")
            elif host.xen_owners.get(sbdf) is XenOwner.HOST:
                found.append(f"{sbdf} is listed in {where}, but Xen says that the host owns it.")
            if host.markers.get(sbdf) is None:
                found.append(
                    f"{sbdf} is listed in {where}, but libxl has no marker for it and would hand it out again."
                )
    found += [
        f"{sbdf} is listed in the connections of several domains: {', '.join(names)}."
        for sbdf, names in sorted(holders.items())
        if len(names) > 1
    ]
    return found


def _markers(host: Host) -> list[str]:
    found = []
    for sbdf, domid in sorted(host.markers.items()):
        listing = next((known.domid for known in host.domains.values() if sbdf in known.devices), None)
        says = f"Libxl's marker gives {sbdf} to domain {domid}"
        if domid not in host.domains:
            found.append(f"{says}, which does not exist; xl will not hand the device out until the marker is gone.")
        elif listing is None:
            found.append(f"{says}, whose connection does not list it; xl will not hand the device out.")
        elif listing != domid:
            found.append(f"{says}, but the connection of domain {listing} lists it.")
    return found


def _owners(host: Host) -> list[str]:
    listed = {sbdf for domain in host.domains.values() for sbdf in domain.devices}
    return [
        f"Xen says that a guest owns {sbdf}, but no connection lists it."
        for sbdf, owner in sorted(host.xen_owners.items())
        if owner is XenOwner.GUEST and sbdf not in listed
    ]


def _pciback(host: Host) -> list[str]:
    found = []
    for sbdf, device in sorted(host.devices.items()):
        if device.pciback_slots and not device.in_pciback:
            found.append(
                f"{sbdf} is on pciback's list, but with {_driver(device.driver)};"
                " pciback seizes it as soon as it has none and is looked at anew."
            )
        if (device.pciback_slots or 0) > 1:
            found.append(f"{sbdf} is on pciback's list {device.pciback_slots} times.")
    return found


def _driver(name: str | None) -> str:
    return f"driver {name}" if name else "no driver"


def _listed(devices: tuple[Sbdf, ...]) -> str:
    return ", ".join(str(device) for device in devices) or "none"
