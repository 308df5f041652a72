# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which devices pciback shall take or give back, decided before anything is touched.

The steps are those of `xl pci-assignable-add` and `-remove -r` (libxl_pci.c), so that xl agrees afterwards.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Union

from ..model.host import Host, XenOwner
from ..model.usage import NetworkUse
from ..values.address import Sbdf
from .safety import refusals

PCIBACK = "pciback"


@dataclass(frozen=True)
class Take:
    """Move a device from its driver, if it has one, to pciback, and put it into Xen's quarantine.

    `record` is what xenstore remembers as its driver's directory from earlier; a driver of now replaces it.
    """

    sbdf: Sbdf
    driver: str | None
    record: str | None

    def __str__(self) -> str:
        source = (
            f"take {self.sbdf} from driver {self.driver}" if self.driver else f"take {self.sbdf}, which has no driver"
        )
        return f"{source}, give it to pciback and quarantine it"


@dataclass(frozen=True)
class Quarantine:
    """Put a device that pciback already holds into Xen's quarantine.

    Xen does not tell whether it is in there; asking for it again does no harm.
    """

    sbdf: Sbdf

    def __str__(self) -> str:
        return f"quarantine {self.sbdf}, which pciback holds but nobody is known to have quarantined"


@dataclass(frozen=True)
class Release:
    """Take a device from quarantine and pciback and give it back to the host.

    `driver` is the one that `record` names; None lets the kernel find one that fits.
    """

    sbdf: Sbdf
    driver: str | None
    record: str | None

    def __str__(self) -> str:
        target = f"driver {self.driver}" if self.driver else "whatever loaded driver fits it"
        return f"release {self.sbdf} from quarantine and pciback and give it to {target}"


Step = Union[Take, Quarantine, Release]


@dataclass(frozen=True)
class Plan:
    """The steps to make, or else the refusals why none may be made."""

    steps: tuple[Step, ...] = ()
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True)
class Situation:
    """All that the decision depends on; `quarantined` are those known to be in quarantine."""

    host: Host
    network: NetworkUse
    drivers: frozenset[str] = frozenset()
    quarantined: frozenset[Sbdf] = frozenset()


def plan_present(situation: Situation, wanted: Sequence[Sbdf], exclusive: bool = False) -> Plan:
    """Have pciback hold the wanted devices; with `exclusive`, no others."""
    host = situation.host
    reasons: list[str] = []
    if wanted and PCIBACK not in situation.drivers:
        reasons.append("The kernel has no driver pciback; load the module xen-pciback (modprobe xen-pciback).")
    steps: list[Step] = []
    for sbdf in wanted:
        device = host.devices[sbdf]
        if device.in_pciback:
            if sbdf not in situation.quarantined and holder(host, sbdf) is None:
                steps.append(Quarantine(sbdf))
            continue
        reasons += refusals(device, situation.network)
        held = holder(host, sbdf)
        if held is not None:
            reasons.append(f"{sbdf} is not held by pciback although {held}; detach it there first.")
        steps.append(Take(sbdf, device.driver, host.driver_paths.get(sbdf)))
    if exclusive:
        others = [sbdf for sbdf, device in sorted(host.devices.items()) if device.in_pciback and sbdf not in wanted]
        released = plan_absent(situation, others)
        steps = [*released.steps, *steps]
        reasons += released.refusals
    return _plan(steps, reasons)


def plan_absent(situation: Situation, unwanted: Collection[Sbdf]) -> Plan:
    """Give the devices back to the host; those that pciback does not hold are left alone."""
    host = situation.host
    reasons: list[str] = []
    steps: list[Step] = []
    for sbdf in unwanted:
        if not host.devices[sbdf].in_pciback:
            continue
        held = holder(host, sbdf)
        if held is not None:
            reasons.append(f"{sbdf} cannot be released because {held}; detach it there first.")
        record = host.driver_paths.get(sbdf)
        driver = posixpath.basename(record) if record else None
        if driver is not None and driver not in situation.drivers:
            reasons.append(
                f"{sbdf} had driver {driver} before pciback, which is not loaded now; load it (modprobe {driver})."
            )
        steps.append(Release(sbdf, driver, record))
    return _plan(steps, reasons)


def holder(host: Host, sbdf: Sbdf) -> str | None:
    """Who besides the host has the device, in words; None if nobody.

    Three views are asked, as each can be wrong: the connections in xenstore, libxl's marker, Xen itself.
    """
    domain = host.holder_of(sbdf)
    if domain is not None:
        return f"domain {domain.name} ({domain.domid}) has it"
    for domid, ghost in host.ghosts.items():
        if sbdf in ghost.devices:
            return f"the remains of domain {domid} in xenstore list it"
    marked = host.markers.get(sbdf)
    if marked is not None:
        name = host.domains[marked].name if marked in host.domains else "which no longer exists"
        return f"libxl has it down for domain {marked} ({name})"
    if host.xen_owners.get(sbdf) is XenOwner.GUEST:
        return "Xen says that a guest owns it"
    return None


def _plan(steps: Sequence[Step], reasons: Sequence[str]) -> Plan:
    return Plan(refusals=tuple(reasons)) if reasons else Plan(steps=tuple(steps))
