# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the domains that a second look shows with their plan: success is observed, never assumed.

What it returns says what was seen, and in words what is not as planned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model.connection import Entry, PciConnection
from ..model.device import XenOwner
from ..model.domain import Domain
from ..model.evidence import ConvergeLevel, Evidence
from ..model.host import Host
from ..plan.domain_plan import DomainPlan, DomainsPlan
from ..values.address import Sbdf
from ..values.words import listed

_NONE = "no device"


@dataclass(frozen=True)
class DomainVerdict:
    """What was seen of one domain: the connection that lists its devices, and the evidence for each of them.

    `shortfall` is a sentence if that is not what was planned, and empty if it is. `pci_failure` is a sentence if
    pciback reports a PCI error.
    """

    connection: PciConnection | None
    evidence: tuple[Evidence, ...]
    shortfall: str
    pci_failure: str = ""

    @property
    def devices(self) -> tuple[Sbdf, ...]:
        """The devices that the connection lists."""
        return self.connection.devices if self.connection is not None else ()


def verify_domains(plan: DomainsPlan, seen: Host, level: ConvergeLevel) -> tuple[DomainVerdict, ...]:
    """Compare the devices of each planned domain with the plan; `seen` may be a look at these domains alone."""
    return tuple(_verify_domain(step, seen, level) for step in plan.domains)


def _verify_domain(step: DomainPlan, seen: Host, level: ConvergeLevel) -> DomainVerdict:
    name, domain = step.domain.name, seen.domains.get(step.domain.domid)
    connection = domain.connection if domain is not None else None
    entries = connection.entries if connection is not None else ()
    evidence = tuple(_evidence(seen, domain, entry) for entry in entries if domain is not None and entry.device)
    shortfall = _shortfall(step, domain, connection, evidence, level)
    failure = _pci_failure(name, connection.aer_state) if connection is not None else ""
    return DomainVerdict(connection, evidence, shortfall, failure)


def _evidence(seen: Host, domain: Domain, entry: Entry) -> Evidence:
    device = entry.device
    if device is None:
        raise ValueError(f"entry {entry.index} names no device")
    facts, model = seen.devices.get(device), domain.device_model
    plugged = model.has(device) if model is not None else None
    if model is None:
        address, active = entry.guest_address, facts is not None and facts.config.driver_is_active
    else:  # QEMU keeps the host's registers to itself
        address = plugged.address if plugged is not None else None
        active = plugged is not None and plugged.enabled
    return Evidence(
        device=device,
        guest_address=address,
        sub_state=entry.state,
        owned_by_guest=seen.xen_owners.get(device) is not XenOwner.HOST,
        active=active,
        by_device_model=model is not None,
        in_pciback=facts is not None and facts.in_pciback,
    )


def _shortfall(
    step: DomainPlan,
    domain: Domain | None,
    connection: PciConnection | None,
    evidence: Sequence[Evidence],
    level: ConvergeLevel,
) -> str:
    name, after = step.domain.name, connection.devices if connection is not None else ()
    if step.after and domain is None:
        return (
            f"{name}: the domain does not run any more, and {listed(step.after)} went back to the host's side; start"
            " the domain, then run this task again"
        )
    if step.domain.device_model is None and connection is not None and not connection.connected:
        return (
            f"{name}: its PCI connection with {listed(after, _NONE)} did not stay connected (backend"
            f" {connection.state}, frontend {connection.frontend_state}). Either the guest closes it, as a guest does"
            " that shuts down, or another toolstack changes it. Find out which, then run this task again"
        )
    if set(after) != set(step.after):
        return (
            f"{name}: after the run it has {listed(after, _NONE)}, not {listed(step.after, _NONE)}. Another toolstack"
            " has changed its devices at the same time. End that, then run this task again"
        )
    return _not_given(name, evidence, level) or _other_options(step, domain)


def _other_options(step: DomainPlan, domain: Domain | None) -> str:
    """Say which devices the domain got with other options than planned; empty if none."""
    given = domain.options if domain is not None else {}
    found = [
        f"{device} with {', '.join(different)}"
        for device, planned in step.options.items()
        if device in step.add and device in given and (different := planned.differences(given[device]))
    ]
    if not found:
        return ""
    return f"{step.domain.name}: it has {'; '.join(found)}. Detach that, then run this task again"


def _not_given(name: str, evidence: Sequence[Evidence], level: ConvergeLevel) -> str:
    """Say which devices the domain does not really have although its connection lists them; empty if none."""
    lost = [seen.device for seen in evidence if not seen.in_pciback]
    if lost:
        return (
            f"{name}: {listed(lost)} is listed in its PCI connection but is no longer bound to pciback (removed from"
            " the host, or unbound). Run xen.pci.repair, then run this task again"
        )
    weak = [seen.device for seen in evidence if not seen.connected]
    if weak:
        cause = "its device model does not have it" if evidence[0].by_device_model else "pciback has not exported it"
        return (
            f"{name}: {listed(weak)} is listed in its PCI connection but is not attached: {cause}, or Xen says that no"
            " guest owns it. Run xen.pci.repair, then run this task again"
        )
    inactive = [seen.device for seen in evidence if level is ConvergeLevel.ACTIVE and not seen.active]
    if inactive:
        return (
            f"{name}: no driver in the guest uses {listed(inactive)} any more. See the guest's kernel log, or set"
            " converge: connected if no driver is needed"
        )
    return ""


def _pci_failure(name: str, aer_state: str) -> str:
    """Say that pciback reports a PCI error; empty if it does not.

    pciback never takes the report back, and it does not say in xenstore which device failed: its log does.
    """
    if not aer_state:
        return ""
    return (
        f"pciback reports a PCI error (AER) that {name} could not handle (aerState={aer_state[:32]}). One of its"
        " devices may be dead. See dom0's kernel log for which, then detach that device or restart the guest"
    )
