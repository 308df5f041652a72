# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what others have recorded of domains that is not so: their names in xenstore, their definitions in libvirt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..model.domain import Domain
from ..model.host import Host
from ..values.words import listed
from .finding import Finding, of
from .table import Fault


def names(host: Host) -> Iterator[Finding]:
    """Compare what xenstore calls domains with those that Xen has."""
    for domid, name in sorted(host.stale_names.items()):
        says = f"xenstore calls domain {domid} {name[:64]!r}, and Xen has no such domain"
        yield Finding(Fault.STALE_NAME, says, domid)
    called = Counter(domain.name for domain in host.domains.values())
    for domain in host.domains.values():
        if not domain.name:
            free = domain.stored_name is not None and not called[domain.stored_name]
            stored = f"libxl built it as {domain.stored_name!r}" if domain.stored_name else "libxl has stored none"
            says = f"Xen has {domain.described}, and xenstore has no name for it; {stored}"
            yield of(domain, Fault.LOST_NAME if free else Fault.UNNAMED_DOMAIN, says)
        elif called[domain.name] > 1:
            others = [other for other in host.domains.values() if other.name == domain.name]
            yield of(domain, Fault.SHARED_NAME, listed(other.described for other in others))


def definitions(host: Host) -> Iterator[Finding]:
    """Compare libvirt's definitions with the devices that domains have."""
    if not host.management.claims and not host.management.defined:
        return
    for domain in host.domains.values():
        claims = [(sbdf, claim) for sbdf in domain.devices for claim in host.claims_on(sbdf)]
        others = {sbdf: claim.owner for sbdf, claim in claims if not domain.uuid or claim.uuid != domain.uuid}
        if others:
            says = f"libvirt's definition of {listed(dict.fromkeys(others.values()))} names it"
            yield of(domain, Fault.CLAIMED_DEVICE, says, sorted(others))
        if domain.uuid in host.management.defined:
            yield from _against_definition(host, domain)


def _against_definition(host: Host, domain: Domain) -> Iterator[Finding]:
    lasting = [claim for claim in host.management.claims if claim.uuid == domain.uuid and claim.persistent]
    defined, has = {claim.device for claim in lasting if claim.device is not None}, set(domain.devices)
    if defined != has:
        words = [listed(sorted(devices), "none") for devices in (has, defined)]
        says = f"it has {words[0]}, and its definition names {words[1]}"
        yield of(domain, Fault.OTHER_DEFINITION, says, sorted(has ^ defined))
