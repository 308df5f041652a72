# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one plan for a host's assignable devices and its next boot from their declaration, or every refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..model.host import Host
from ..plan.device_steps import Release, Take
from ..values.address import Sbdf
from ..values.catalog import Catalog, DevicePolicy
from ..values.plain import plain
from ..values.refusal import Refusal, Refused
from .assignable_plan import AssignablePlan, plan_absent, plan_present
from .assignment_state import AssignmentState
from .boot_plan import BootPlan, Persistence
from .cards import HOST, splits
from .catalog_lookup import catalog_names, device_policies
from .isolation import OF_OTHERS
from .managers import against_host
from .names import Resolution
from .plan_document import Document, identities, plan_document
from .pools import parse_request


@dataclass(frozen=True)
class WantedDevices:
    """What a task declares of the devices that pciback is to hold; `refusals` say what could not be read."""

    names: tuple[str, ...]
    catalog: Catalog
    present: bool = True
    exclusive: bool = False
    require_reset: bool = False
    persistent: bool | None = None
    refusals: tuple[Refusal, ...] = ()
    #: Devices that exclusive does not count, now or at the next boot.
    left_alone: frozenset[Sbdf] = frozenset()
    #: The next boot is left as it is, since a later stage of the same run sets it up.
    leaves_boot: bool = False
    #: Names that domains get in the same run, which says then how their cards are split.
    for_domains: frozenset[str] = frozenset()

    @property
    def known_names(self) -> list[str]:
        """Names whose entries in the catalog could be read."""
        return [name for name in self.names if name not in self.catalog.unreadable]

    @property
    def leaving(self) -> list[str]:
        """Names whose devices need not be on the host, since they are not to be assignable."""
        return [] if self.present else self.known_names


@dataclass(frozen=True)
class AssignmentPlan:
    """All that one run is to do, and where the devices are to be then; with any refusal, nothing may be done."""

    devices: AssignablePlan
    boot: BootPlan
    expected: AssignmentState
    names: dict[Sbdf, str]
    refusals: tuple[Refusal, ...] = ()


def read_wanted(devices: Sequence[Any], catalog: Catalog, **options: Any) -> WantedDevices:
    """Read which devices a task names; a part of a pool counts as the whole pool."""
    names, refusals = [], [*catalog.refusals]
    for written in devices:
        try:
            request = parse_request(written, catalog.entries)
        except Refused as error:
            # A pool whose entry was refused has a refusal already.
            refusals += [refusal for refusal in error.refusals if refusal.subject not in catalog.unreadable]
        else:
            names.append(request if isinstance(request, str) else request.pool)
    pools = {name for name in names if name in catalog.entries and catalog.entries[name].pool is not None}
    once = [name for at, name in enumerate(names) if name not in pools or name not in names[:at]]
    wanted = WantedDevices(tuple(once), catalog, **options)
    if not wanted.present:
        refusals += _meaningless(wanted)
    return replace(wanted, refusals=tuple(refusals))


def complete_plan(host: Host, wanted: WantedDevices, found: Resolution) -> AssignmentPlan:
    """Plan these devices and the next boot, and collect all refusals."""
    names = _known_to_host(host, found.expand(wanted.names), wanted)
    policies = device_policies(wanted.catalog.entries, names)
    unclear = bool(wanted.refusals or found.refusals)
    if wanted.present:
        # While a device is not known, what else pciback holds may be that one.
        exclusive = wanted.exclusive and not unclear
        plan = plan_present(host, list(names), exclusive, policies, wanted.require_reset, wanted.left_alone)
    else:
        plan = plan_absent(host, list(names), policies)
    plan = replace(plan, warnings=(*plan.warnings, *_split_cards(host, wanted, plan, policies)))
    against = [refusal for refusal in plan.refusals if not (unclear and refusal.code in OF_OTHERS)]
    boot, persistence = host.boot_facts, _persistence(host, wanted, frozenset(names), plan)
    boot_plan = BootPlan({}) if wanted.leaves_boot else persistence.plan(boot)
    managed = against_host(host) if boot_plan.changes else []
    affected = list(dict.fromkeys([*names, *(step.sbdf for step in plan.steps)]))
    return AssignmentPlan(
        devices=plan,
        boot=boot_plan,
        expected=AssignmentState.expected(
            host,
            plan,
            affected,
            persistence.expected(boot, affected, boot_plan.stages),
            persistence.unknown(boot, affected, boot_plan.stages),
        ),
        names=names,
        refusals=tuple(dict.fromkeys([*wanted.refusals, *found.refusals, *against, *boot_plan.refusals, *managed])),
    )


def _split_cards(
    host: Host, wanted: WantedDevices, plan: AssignablePlan, policies: Mapping[Sbdf, DevicePolicy]
) -> list[str]:
    """Write a sentence for the cards of which the plan gives some functions to pciback, or to the host, and not all."""
    taken = {step.sbdf for step in plan.steps if isinstance(step, Take)}
    released = {step.sbdf for step in plan.steps if isinstance(step, Release)}
    owners = {**dict.fromkeys(host.in_pciback | taken, "pciback"), **dict.fromkeys(released, HOST)}
    catalog = wanted.catalog.entries
    going_on = {sbdf.host_slot for sbdf, policy in policies.items() if policy.name in wanted.for_domains}
    moved = [sbdf for sbdf in taken | released if sbdf.host_slot not in going_on]
    found = splits(host, moved, owners, policies, lambda: catalog_names(catalog, host))
    return [f"{sentence}." for sentence in found]


def _known_to_host(host: Host, names: Mapping[Sbdf, str], wanted: WantedDevices) -> dict[Sbdf, str]:
    """Leave out functions of a whole card that is absent if nothing is left of them, as of those it never had."""
    left = {*host.devices, *host.gone, *host.driver_paths, *host.boot_facts.held(names)}
    catalog = wanted.catalog.entries
    return {
        sbdf: name for sbdf, name in names.items() if sbdf in left or not (name in catalog and catalog[name].functions)
    }


def assignment_document(host: Host, wanted: WantedDevices, plan: AssignmentPlan, found: Resolution) -> Document:
    """Write the plan as a document."""
    return plan_document(
        "assignable",
        steps={
            "devices": [{"action": step.action, **plain(step)} for step in plan.devices.steps],
            "files": plan.boot.files,
            "stages": plan.boot.stages,
            "waived": plan.devices.waived,
        },
        basis={
            "state": "present" if wanted.present else "absent",
            "exclusive": wanted.exclusive,
            "persistent": wanted.persistent,
            "require_reset": wanted.require_reset,
            "names": plan.names,
            "policies": device_policies(wanted.catalog.entries, plan.names),
            "devices": identities(host, plan.expected.drivers),
        },
        changes=bool(plan.devices.steps) or plan.boot.changes,
        refusals=plan.refusals,
        warnings=[*map(str, found.moved), *found.recalled, *plan.devices.warnings, *plan.boot.warnings],
    )


def _meaningless(wanted: WantedDevices) -> list[Refusal]:
    found = []
    if wanted.exclusive:
        reason = "exclusive has no effect with state: absent"
        found.append(Refusal("exclusive-absent", "exclusive", reason, "remove it"))
    if wanted.persistent:
        reason = "A device that is given back to the host cannot be persistent"
        found.append(Refusal("persistent-absent", "persistent", reason, "remove persistent"))
    return found


def _persistence(host: Host, wanted: WantedDevices, asked: frozenset[Sbdf], plan: AssignablePlan) -> Persistence:
    """Derive what the run wants of the next boot."""
    if wanted.leaves_boot:
        return Persistence(asked)
    released = plan.released if wanted.present else asked
    mistaken = frozenset(sbdf for sbdf in released & host.devices.keys() if host.devices[sbdf].belongs_to_host)
    if not wanted.present:
        return Persistence(asked, released=asked, mistaken=mistaken)
    return Persistence(asked, released, wanted.persistent, wanted.exclusive, mistaken, wanted.left_alone)
