# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse changes that the manager of a host or of a domain would undo, or that would harm it.

libvirt builds a domain from its own definition at each start, and resets the devices in there, whichever domain has
them. Qubes and XAPI keep their own records of the whole host.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..model.domain import Domain
from ..model.host import Host
from ..model.management import Manager
from ..values.address import Sbdf
from ..values.refusal import Refusal
from ..values.words import listed

CODE = "manager"
_OF_HOSTS = {
    Manager.QUBES: (
        "Qubes manages this host ({}) and keeps its own record of which qube has which device: what else changes a"
        " device or a qube is undone at the qube's next start, or hinders it",
        "use `qvm-pci` or the settings of the qube",
    ),
    Manager.XAPI: (
        "XAPI manages this host ({}) and keeps its own record of which VM has which device: a VM gets what that says"
        " at its next start, whichever domain has the device then",
        "use `xe pci-disable-dom0-access` for the host and `xe vm-param-set other-config:pci=...` for the VM, or Xen"
        " Orchestra",
    ),
}


def against_host(host: Host) -> list[Refusal]:
    """Refuse any change of a host whose manager keeps its own records."""
    management = host.management
    if management.manager not in _OF_HOSTS:
        return []
    reason, advice = _OF_HOSTS[management.manager]
    return [Refusal(CODE, "host", reason.format(management.evidence), advice)]


def against_domains(host: Host, domains: Iterable[Domain]) -> list[Refusal]:
    """Refuse to change these domains where a manager would undo it."""
    domains = list(domains)
    if domains and (found := against_host(host)):
        return found
    return [
        Refusal(
            CODE,
            domain.called,
            f"{domain.called} is a domain of libvirt, which builds it from its own definition at each start: what else"
            " attaches is lost then, and what else detaches comes back",
            f"use `virsh attach-device {domain.called} FILE --live --config`, or `virsh detach-device`, and read the"
            " state of the guest with xen.pci.host_info afterwards",
        )
        for domain in domains
        if domain.manager is Manager.LIBVIRT
    ]


def against_devices(host: Host, devices: Iterable[Sbdf], *, only_managed: bool = False) -> list[Refusal]:
    """Refuse to give or to take these devices where libvirt may have them; `only_managed` if it counts on others.

    A definition with managed='no' has others make its device assignable.
    """
    devices = dict.fromkeys(devices)
    found = against_host(host) if devices else []
    if found or not devices:
        return found
    for device in devices:
        owners = listed(
            dict.fromkeys(claim.owner for claim in host.claims_on(device) if claim.managed or not only_managed)
        )
        if owners:
            found.append(
                Refusal(
                    CODE,
                    str(device),
                    f"{device} is in libvirt's definition of {owners}: libvirt resets it, and takes it for that domain,"
                    " also while another one uses it",
                    "remove it from that definition (`virsh edit`), or change it with virsh alone",
                )
            )
    return found + [
        Refusal(
            CODE,
            file.partition(" ")[0],
            f"libvirt's definition {file} cannot be read, so which devices libvirt takes is not known",
            "correct it or remove it",
        )
        for file in host.management.unreadable
    ]
