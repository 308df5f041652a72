# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what a repair is asked for, and refuse what is not there and what another manager than xl has."""

from __future__ import annotations

from collections.abc import Iterable

from ..faults.finding import Finding
from ..faults.recipes import Recipe, RecipeKind
from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf
from ..values.refusal import Refusal
from .domain_lookup import find_domain
from .managers import against_devices, against_domains, against_host


def domains_named(host: Host, names: Iterable[str]) -> tuple[frozenset[int], list[Refusal]]:
    """Find the numbers of these domains, and refuse names that mean none or several.

    A misspelled name has no faults, and would seem to be in order.
    """
    found = [find_domain(host, name) for name in sorted(set(names))]
    numbers = frozenset(domain.domid for domain in found if isinstance(domain, Domain))
    return numbers, [wrong for wrong in found if isinstance(wrong, Refusal)]


def unknown_devices(host: Host, devices: Iterable[Sbdf]) -> list[Refusal]:
    """Refuse devices that the host does not have and that nothing on it names, as for domains."""
    return [
        Refusal(
            "unknown-device",
            str(device),
            f"This host has no device {device}, and nothing on it names one",
            "correct the address, or leave it out",
        )
        for device in sorted(set(devices) - host.named_devices)
    ]


def against_repairs(host: Host, findings: Iterable[Finding]) -> list[Refusal]:
    """Refuse to repair what a manager has: its domains, and devices that libvirt may have."""
    findings = list(findings)
    if not findings:
        return []
    domains = dict.fromkeys(
        domain.domid if domain.serves is None else domain.serves
        for finding in findings
        if (domain := host.domains.get(finding.domid or 0)) is not None
    )
    devices = [device for finding in findings if not _is_about_the_dead(host, finding) for device in finding.devices]
    found = against_host(host)
    found += against_domains(host, [host.domains[domid] for domid in domains if domid in host.domains])
    return list(dict.fromkeys([*found, *against_devices(host, devices)]))


def _is_about_the_dead(host: Host, finding: Finding) -> bool:
    """Whether a repair takes away only what a dead domain has left."""
    recipe = finding.recipe
    ends = recipe is not None and recipe.kind is RecipeKind.END_OF_CONNECTION
    return (recipe is Recipe.UNMARK or ends) and finding.domid not in host.domains
