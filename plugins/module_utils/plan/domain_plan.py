# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Desired against observed: what each domain gains and loses, or why nothing may be touched at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..model.device import PciDevice, XenOwner
from ..model.device_model import DeviceModel, qemu_name
from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf
from .readiness import Ready, reasons_against, wrong_kind

#: pciback's virtual bus (drivers/xen/xen-pciback/vpci.c, PCI_SLOT_MAX).
VIRTUAL_SLOTS = 32
#: Since Linux 5.14 VFs of one host slot share a virtual slot, except function 0.
_VFS_SHARE_SLOTS = (5, 14)


@dataclass(frozen=True)
class DesiredDomain:
    """What is wanted of one domain.

    `exclusive`: it has these devices and no others. `present` false: it has none of these. `config`: the file from
    which it is created, to be kept in step.
    """

    name: str
    devices: tuple[Sbdf, ...]
    exclusive: bool = False
    present: bool = True
    config: str | None = None


@dataclass(frozen=True)
class DomainPlan:
    """One domain's way from observed to desired.

    `arriving` are those of `add` which another domain of the same plan gives up first;
    `departing` are those of `remove` that another domain of the same plan waits for.
    `awaited` are `arriving`, and what those who give them wait for themselves, and so on: unless all of it is given up,
    somebody gives a device away in vain.
    """

    domain: Domain
    add: tuple[Sbdf, ...] = ()
    remove: tuple[Sbdf, ...] = ()
    keep: tuple[Sbdf, ...] = ()
    arriving: frozenset[Sbdf] = frozenset()
    departing: frozenset[Sbdf] = frozenset()
    awaited: frozenset[Sbdf] = frozenset()

    @property
    def after(self) -> tuple[Sbdf, ...]:
        """Devices of the domain once the plan is done."""
        return self.keep + self.add

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.add or self.remove)


@dataclass(frozen=True)
class Plan:
    """Plans of all domains named, in the order of the declaration, or the conflicts that forbid any.

    `doubts`: how a domain was created, where its new devices may therefore not work.
    """

    domains: tuple[DomainPlan, ...]
    conflicts: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def make_plan(host: Host, desired: Sequence[DesiredDomain]) -> Plan:
    """Compare and order; with any conflict nothing may be done. Pure."""
    conflicts = _wrong_requests(desired)
    found: list[tuple[DesiredDomain, Domain]] = []
    for want in desired:
        domain = host.domain_named(want.name)
        conflicts += _domain_conflicts(host, want, domain)
        if domain is not None:
            found.append((want, domain))
    steps = [_difference(want, domain) for want, domain in found]
    leaving = {device: step for step in steps for device in step.remove}
    wanted = {device for step in steps for device in step.add}
    doubled = _declared_twice(desired)
    for step in steps:
        conflicts += _connection_conflicts(host, step)
        for device in step.add:
            if device not in doubled:  # said already, and who may have it is not known
                conflicts += _device_conflicts(host, step.domain, device, leaving)
    plans = tuple(_with_dependencies(step, leaving, wanted) for step in steps)
    by_handshake = {device for step in plans if step.domain.device_model is None for device in step.add}
    conflicts += [one for step in plans for one in _kept_by_pciback(step, by_handshake)]
    doubts = tuple(
        one.remedy
        for step in plans
        if step.add
        for one in reasons_against(step.domain)
        if one.verdict is Ready.UNKNOWN and one.lines
    )
    return Plan(domains=plans, conflicts=tuple(dict.fromkeys(conflicts)), doubts=doubts)


def _difference(want: DesiredDomain, domain: Domain) -> DomainPlan:
    has = domain.devices
    if not want.present:
        remove = [device for device in has if device in want.devices]
        add: list[Sbdf] = []
    else:
        remove = [device for device in has if want.exclusive and device not in want.devices]
        add = [device for device in want.devices if device not in has]
    keep = [device for device in has if device not in remove]
    return DomainPlan(domain, tuple(add), tuple(remove), tuple(keep))


def _with_dependencies(step: DomainPlan, leaving: Mapping[Sbdf, DomainPlan], wanted: Collection[Sbdf]) -> DomainPlan:
    return replace(
        step,
        arriving=frozenset(device for device in step.add if device in leaving),
        departing=frozenset(device for device in step.remove if device in wanted),
        awaited=_awaited(step, leaving),
    )


def _awaited(step: DomainPlan, leaving: Mapping[Sbdf, DomainPlan]) -> frozenset[Sbdf]:
    found: set[Sbdf] = set()
    ahead = [step]
    while ahead:
        new = {device for device in ahead.pop().add if device in leaving} - found
        found |= new
        ahead += [leaving[device] for device in new]
    return frozenset(found)


def _wrong_requests(desired: Sequence[DesiredDomain]) -> list[str]:
    conflicts = [] if desired else ["no domain is named; name at least one below domains"]
    for device, names in _declared_twice(desired).items():
        who = f"twice for {names[0]}" if len(set(names)) == 1 else "for " + " and for ".join(names)
        conflicts.append(f"{device} is declared {who}; one device can be in one domain only")
    conflicts += [
        f"{want.name}: the list of devices is empty, which asks for nothing; "
        "to take all its devices away say exclusive: true"
        for want in desired
        if not want.devices and not (want.exclusive and want.present)
    ]
    return conflicts


def _declared_twice(desired: Sequence[DesiredDomain]) -> dict[Sbdf, list[str]]:
    """Devices that are to be in more than one place, with the names of the domains."""
    claims: dict[Sbdf, list[str]] = defaultdict(list)
    for want in desired:
        for device in want.devices if want.present else ():
            claims[device].append(want.name)
    return {device: names for device, names in claims.items() if len(names) > 1}


def _domain_conflicts(host: Host, want: DesiredDomain, domain: Domain | None) -> list[str]:
    if domain is None:
        known = ", ".join(sorted(one.name for one in host.domains.values())) or "none"
        return [f"no domain named {want.name} runs on this host (running: {known})"]
    kind = wrong_kind(domain)
    return [] if kind is None else [kind.remedy]


def _connection_conflicts(host: Host, step: DomainPlan) -> list[str]:
    name, conflicts = step.domain.name, []
    # The connection that an HVM guest has itself is no more than libxl's list of its devices.
    handshaking = step.domain.stub.own_connection if step.domain.stub else step.domain.own_connection
    if handshaking is not None and (step.domain.stub or step.domain.device_model is None):
        # Also where nothing is to be changed: what stands in such a connection is not what the guest has.
        conflicts = [
            f"{name}: its PCI connection is not sound: {problem}; repair it (xen.pci.repair) before any change"
            for problem in handshaking.problems()
        ]
    if not step.changes:
        return conflicts
    if step.add and wrong_kind(step.domain) is None:  # said already
        conflicts += [one.remedy for one in reasons_against(step.domain) if one.verdict is Ready.NO]
    if step.domain.device_model is not None:
        return conflicts + _device_model_conflicts(step, step.domain.device_model)
    needed = virtual_slots([host.devices[one] for one in step.after if one in host.devices], host.kernel)
    if step.add and needed > VIRTUAL_SLOTS:
        conflicts.append(
            f"{name} would need {needed} slots on its virtual PCI bus, which has {VIRTUAL_SLOTS}; declare fewer devices"
        )
    return conflicts


def _device_model_conflicts(step: DomainPlan, model: DeviceModel) -> list[str]:
    """What would make QEMU or libxl give up in the middle, or do the wrong thing."""
    name = step.domain.name
    if model.plugged is None:
        return [f"{name}: {model.problem}"]
    conflicts = [
        f"{name}: libxl lists {device} as its own, but its device model does not have it; repair it (xen.pci.repair) "
        "before any change"
        for device in model.lacks(step.domain.devices)
    ]
    conflicts += [
        f"{name}: its device model has {other}, which libxl does not list; repair it (xen.pci.repair) before any change"
        for other in model.unexpected(step.domain.devices)
    ]
    called: dict[str, list[Sbdf]] = defaultdict(list)
    for device in step.after:
        called[qemu_name(device)].append(device)
    conflicts += [
        f"{name} would have {' and '.join(map(str, same))}, which libxl cannot tell apart in an HVM guest: it leaves "
        "the segment out; declare one of them"
        for same in called.values()
        if len(same) > 1
    ]
    if len(step.add) > model.free_slots + len(step.remove):
        conflicts.append(
            f"{name} would need {len(step.add)} slots on its PCI bus, where {model.free_slots} are free; "
            "declare fewer devices"
        )
    return conflicts


def _kept_by_pciback(step: DomainPlan, wanted: Collection[Sbdf]) -> list[str]:
    """pciback exports the first device of an HVM guest when libxl makes the connection, and nobody tells it that the
    device has gone: it holds it, and refuses it to a PV guest, until the connection is removed with the last device.
    """
    domain = step.domain
    if domain.device_model is None or domain.own_connection is None or set(domain.devices) <= set(step.remove):
        return []
    exported = {entry.device for entry in domain.own_connection.entries if entry.exported}
    return [
        f"{device} cannot go from {domain.name} to a PV guest while {domain.name} has other devices, since pciback "
        f"holds its first one until it has none; take all devices from {domain.name} in the same task, and give it the "
        "others again in the next"
        for device in sorted(step.departing & exported & set(wanted))
    ]


def _device_conflicts(host: Host, domain: Domain, address: Sbdf, leaving: Collection[Sbdf]) -> list[str]:
    if unfit := _unfit(host.devices.get(address)):
        return [f"{address} (for {domain.name}) {unfit}"]
    if address in leaving:
        return []
    holder = host.holder_of(address)
    if holder is not None:
        return [
            f"{address} (for {domain.name}) is held by {holder.name}; "
            f"to move it, declare {holder.name} without it (exclusive: true) or state: absent in the same task"
        ]
    return _unexplained_owner(host, domain, address)


def _unfit(device: PciDevice | None) -> str:
    """Why a device can come to no guest, in words; empty if it can."""
    if device is None:
        return "does not exist on this host"
    if device.is_bridge:
        return "is a bridge; devices behind it can be given away, the bridge cannot"
    if not device.in_pciback:
        bound = f"bound to {device.driver}" if device.driver else "bound to no driver"
        return (
            f"is not assignable: on the host it is {bound}, not to pciback; give it to xen.pci.assignable_devices first"
        )
    if device.lost_hold:
        return f"is lost: {device.lost_hold_in_words}; it comes to no guest until dom0 has been restarted"
    return ""


def _unexplained_owner(host: Host, domain: Domain, address: Sbdf) -> list[str]:
    orphan = next((domid for domid, backend in host.orphaned_connections.items() if address in backend.devices), None)
    if orphan is not None:
        return [
            f"{address} (for {domain.name}) still stands in the connection of domain {orphan}, which is gone; "
            "xen.pci.repair removes it"
        ]
    marked = host.domains.get(host.markers.get(address, -1))
    if marked is not None and marked.domid != domain.domid:
        return [
            f"{address} (for {domain.name}) is marked by libxl as held by {marked.name}, though no entry shows it; "
            "see xen.pci.repair"
        ]
    if host.xen_owners.get(address) is XenOwner.GUEST:
        return [
            f"{address} (for {domain.name}) belongs to a guest in Xen's view, though no entry shows it; "
            "xen.pci.repair says what left it so, and mends it unless a guest still uses the device"
        ]
    return []


def virtual_slots(devices: Iterable[PciDevice], kernel: tuple[int, int]) -> int:
    """Slots that pciback's virtual bus needs for these devices.

    Functions of one host slot share a virtual one; a VF stands alone on old kernels, and
    with function 0 on all (vpci.c, __xen_pcibk_add_pci_dev).
    """
    groups = set()
    for device in devices:
        alone = device.physfn is not None and (kernel < _VFS_SHARE_SLOTS or device.sbdf.function == 0)
        groups.add((device.sbdf.host_slot, int(device.sbdf) if alone else -1))
    return len(groups)
