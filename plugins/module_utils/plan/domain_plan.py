# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what is desired with what is observed: plan what each domain gains and loses, or refuse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..model.device import PciDevice
from ..model.device_model import DeviceModel, qemu_name
from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf
from ..values.device_options import DeviceOptions
from ..values.refusal import Refusal
from ..values.words import listed
from .device_for_domain import against_creation, against_device, unfit
from .device_needs import doubts_about
from .domain_lookup import NOT_RUNNING, OF_NAMES, find_domain
from .kept_holds import keepers_of, kept
from .readiness import Ready, only_at_creation, reasons_against, wrong_kind
from .safety import Check, against

#: pciback's virtual bus (drivers/xen/xen-pciback/vpci.c, PCI_SLOT_MAX).
VIRTUAL_SLOTS = 32
#: Refusals that no repair ends: of what is declared, and of what a device or a domain is.
BEYOND_REPAIR = frozenset(
    (
        *("bridge", "declared-twice", "empty-devices", "lost-hold", "no-such-device", "not-assignable"),
        *("same-name-in-qemu", "wrong-kind", *OF_NAMES),
    )
)
_REPAIR_FIRST = "run xen.pci.repair before any change"
#: Since Linux 5.14 VFs of one host slot share a virtual slot, except function 0.
_VFS_SHARE_SLOTS = (5, 14)


@dataclass(frozen=True)
class DesiredDomain:
    """What is desired of one domain.

    With `exclusive`, it has these devices and no others. With `present` false, it has none of these. `config` is the
    file from which it is created, which gets the same devices. With `uuid`, that says which domain it is.
    `guest_name` is the name that the domain has, if that is not the one that the declaration calls it.
    """

    name: str
    devices: tuple[Sbdf, ...]
    exclusive: bool = False
    present: bool = True
    config: str | None = None
    uuid: str = ""
    guest_name: str = ""
    #: Whether its file alone gets the devices that it can take only when it is created again.
    defers: bool = False
    #: Options that are declared of these devices.
    options: Mapping[Sbdf, DeviceOptions] = field(default_factory=dict)


@dataclass(frozen=True)
class DomainPlan:
    """What one domain gains, loses and keeps; the domain has the name that the declaration calls it.

    `arriving` are those of `add` that another domain of the same plan gives up first, and all devices of a domain for
    which pciback keeps one of `add` as long as it has any. `departing` are those of `remove` that another domain of the
    same plan waits for. `awaited` are `arriving`, and the devices that the domains which give them up wait for
    themselves, and so on: unless all of these are given up, a domain would lose a device and get nothing for it.
    """

    domain: Domain
    add: tuple[Sbdf, ...] = ()
    remove: tuple[Sbdf, ...] = ()
    keep: tuple[Sbdf, ...] = ()
    arriving: frozenset[Sbdf] = frozenset()
    departing: frozenset[Sbdf] = frozenset()
    awaited: frozenset[Sbdf] = frozenset()
    #: Devices that the domain does not have, and that its stored configuration is to list no more.
    unlisted: tuple[Sbdf, ...] = ()
    #: Devices that its file gets and that it can take only when it is created again.
    deferred: tuple[Sbdf, ...] = ()
    #: Options with which it gets devices, and those with which it has what it loses, in case that has to come back.
    options: Mapping[Sbdf, DeviceOptions] = field(default_factory=dict)

    @property
    def after(self) -> tuple[Sbdf, ...]:
        """Devices of the domain once the plan is done."""
        return self.keep + self.add

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.add or self.remove or self.unlisted)


@dataclass(frozen=True)
class DomainsPlan:
    """The plans of all declared domains in their order; with any refusal, nothing may be done.

    `doubts` say why new devices may not work in their guests.
    """

    domains: tuple[DomainPlan, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def devices_to_add(self) -> tuple[Sbdf, ...]:
        """All devices that domains gain."""
        return tuple(device for step in self.domains for device in step.add)

    @property
    def devices_after(self) -> frozenset[Sbdf]:
        """All devices that the domains are to have."""
        return frozenset(device for step in self.domains for device in step.after)


def make_plan(host: Host, desired: Sequence[DesiredDomain]) -> DomainsPlan:
    """Plan what each domain gains and loses, and collect all refusals."""
    refusals = wrong_requests(desired)
    found: list[tuple[DesiredDomain, Domain]] = []
    for want in desired:
        domain = find_domain(host, want.name, want.uuid)
        if isinstance(domain, Refusal):
            by_file = want.config is not None and domain.code == NOT_RUNNING
            refusals += _against_file(host, want) if by_file else [domain]
            continue
        domain = replace(domain, name=want.name)
        kind = wrong_kind(domain)
        refusals += [] if kind is None else [Refusal("wrong-kind", want.name, kind.text, kind.advice)]
        found.append((want, domain))
    steps = [_deferred(host, want, _difference(want, domain)) for want, domain in found]
    leaving = {device: step for step in steps for device in step.remove}
    doubled = _declared_twice(desired)
    for step in steps:
        refusals += [*_against_connection(host, step), *_ways_of_ansible(host, step)]
        for device in step.add:
            if device not in doubled:  # refused already, and who is to have it is not known
                refusals += against_device(host, step.domain, device, leaving)
        for device in step.deferred:
            refusals += against_creation(host, step.domain, device)
    by_handshake = {device for step in steps if _makes_handshakes(step.domain) for device in step.add}
    keepers = keepers_of(host, by_handshake, {device: step.domain for device, step in leaving.items()})
    emptied = {step.domain.domid: step for step in steps if step.remove and not step.keep}
    refusals += [kept(device, keeper) for device, keeper in keepers.items() if keeper.domid not in emptied]
    needs = {device: {device} for device in leaving}
    for device, keeper in keepers.items():
        needs.setdefault(device, set()).update(emptied[keeper.domid].remove if keeper.domid in emptied else ())
    plans = _with_dependencies(steps, leaving, needs)
    return DomainsPlan(plans, tuple(dict.fromkeys(refusals)), tuple(_doubts(host, plans)))


def _doubts(host: Host, plans: Iterable[DomainPlan]) -> Iterator[str]:
    """Yield what may keep new devices from working in their guests."""
    for step in plans:
        if step.add:
            reasons = reasons_against(step.domain, host.xen)
            yield from (reason.remedy for reason in reasons if reason.verdict is Ready.UNKNOWN and reason.lines)
        for reason in reasons_against(step.domain, host.xen) if step.deferred else ():
            if reason.verdict is Ready.NO:
                devices = listed(step.deferred)
                yield f"{reason.text}. It gets {devices} when it is destroyed, and created again from its file"
        for device in step.add:
            if device in host.devices:
                yield from doubts_about(host, step.domain, host.devices[device])


def _difference(want: DesiredDomain, domain: Domain) -> DomainPlan:
    has = domain.devices
    if not want.present:
        remove = [device for device in has if device in want.devices]
        add: list[Sbdf] = []
    else:
        remove = [device for device in has if want.exclusive and device not in want.devices]
        add = [device for device in want.devices if device not in has]
    keep = [device for device in has if device not in remove]
    configured = domain.configured or ()
    unlisted = [device for device in want.devices if device in configured and device not in has]
    declared = {device: want.options[device] for device in add if device in want.options}
    before = {device: options for device, options in domain.options.items() if device in remove and options}
    return DomainPlan(
        domain,
        tuple(add),
        tuple(remove),
        tuple(keep),
        unlisted=() if want.present else tuple(unlisted),
        options={**before, **declared},
    )


def _deferred(host: Host, want: DesiredDomain, step: DomainPlan) -> DomainPlan:
    """Leave devices to the file of a domain that was created so that it can take none."""
    if want.defers and step.add and only_at_creation(reasons_against(step.domain, host.xen)):
        return replace(step, add=(), deferred=step.add)
    return step


def _with_dependencies(
    steps: Sequence[DomainPlan], leaving: Mapping[Sbdf, DomainPlan], needs: Mapping[Sbdf, Collection[Sbdf]]
) -> tuple[DomainPlan, ...]:
    """Say which domain waits for which; `needs` are the devices that must have left before a device can come."""
    wanted = frozenset[Sbdf]().union(*(_arriving(step, needs) for step in steps))
    return tuple(
        replace(
            step,
            arriving=_arriving(step, needs),
            departing=wanted.intersection(step.remove),
            awaited=_awaited(step, leaving, needs),
        )
        for step in steps
    )


def _arriving(step: DomainPlan, needs: Mapping[Sbdf, Collection[Sbdf]]) -> frozenset[Sbdf]:
    return frozenset(needed for device in step.add for needed in needs.get(device, ()))


def _awaited(
    step: DomainPlan, leaving: Mapping[Sbdf, DomainPlan], needs: Mapping[Sbdf, Collection[Sbdf]]
) -> frozenset[Sbdf]:
    found: set[Sbdf] = set()
    ahead = [step]
    while ahead:
        new = _arriving(ahead.pop(), needs) - found
        found |= new
        ahead += [leaving[device] for device in new]
    return frozenset(found)


def wrong_requests(desired: Sequence[DesiredDomain]) -> list[Refusal]:
    """Refuse devices that are declared twice, and domains for which nothing is declared."""
    found = []
    for device, names in _declared_twice(desired).items():
        who = f"twice for {names[0]}" if len(set(names)) == 1 else "for " + " and for ".join(names)
        reason = f"{device} is declared {who}"
        found.append(Refusal("declared-twice", str(device), reason, "declare it for one domain, once"))
    found += [
        Refusal(
            "empty-devices", want.name, f"{want.name}: devices is empty", "to detach all devices, set exclusive: true"
        )
        for want in desired
        if not want.devices and not (want.exclusive and want.present)
    ]
    return found


def _declared_twice(desired: Sequence[DesiredDomain]) -> dict[Sbdf, list[str]]:
    """Find devices that are declared more than once, with the names of the domains."""
    claims: dict[Sbdf, list[str]] = defaultdict(list)
    for want in desired:
        for device in want.devices if want.present else ():
            claims[device].append(want.name)
    return {device: names for device, names in claims.items() if len(names) > 1}


def _against_file(host: Host, want: DesiredDomain) -> list[Refusal]:
    """Refuse devices with which a domain that does not run could not be created."""
    unfitting = (unfit(want.name, device, host.devices.get(device)) for device in want.devices if want.present)
    return [refusal for refusal in unfitting if refusal is not None]


def _against_connection(host: Host, step: DomainPlan) -> list[Refusal]:
    name, found = step.domain.name, []
    # The connection that an HVM guest has itself is no more than libxl's list of its devices.
    handshaking = step.domain.stub.own_connection if step.domain.stub else step.domain.own_connection
    if handshaking is not None and (step.domain.stub or step.domain.device_model is None):
        # Also where nothing is to be changed: what such a connection lists is not what the guest has.
        found = [
            Refusal("unsound-connection", name, f"{name}: its PCI connection is not sound: {problem}", _REPAIR_FIRST)
            for problem in handshaking.problems()
        ]
    if not step.changes:
        return found
    if step.add and wrong_kind(step.domain) is None:  # refused already
        found += [
            Refusal(reason.code, "host" if reason.of_host else name, reason.text, reason.advice)
            for reason in reasons_against(step.domain, host.xen)
            if reason.verdict is Ready.NO
        ]
    if step.domain.device_model is not None:
        return found + _against_device_model(step, step.domain.device_model)
    needed = virtual_slots([host.devices[device] for device in step.after if device in host.devices], host.kernel)
    if step.add and needed > VIRTUAL_SLOTS:
        reason = f"{name} would need {needed} slots on its virtual PCI bus, which has {VIRTUAL_SLOTS}"
        found.append(Refusal("bus-full", name, reason, "declare fewer devices"))
    return found


def _ways_of_ansible(host: Host, step: DomainPlan) -> Iterator[Refusal]:
    """Refuse to take a network card from a guest that Ansible's connection comes through, as through a router."""
    if step.domain.domid in host.network.connection_guests:
        for device in step.remove:
            if device in host.devices and host.devices[device].is_network_card:
                reason = f"{device} is a network card of {step.domain.name}, through which Ansible's connection comes"
                yield against(Check.CONNECTION, device, reason, "connect another way first")


def _against_device_model(step: DomainPlan, model: DeviceModel) -> list[Refusal]:
    """Refuse what would make QEMU or libxl fail half-way, or do the wrong thing."""
    name = step.domain.name
    if model.plugged is None:
        return []  # Fault.SILENT_DEVICE_MODEL, which blocks every plan of the domain
    found = [
        Refusal(
            "stale-record",
            name,
            f"{name}: libxl lists {device} as its device, but its device model does not have it",
            _REPAIR_FIRST,
        )
        for device in model.lacks(step.domain.devices)
    ]
    found += [
        Refusal(
            "unlisted-device", name, f"{name}: its device model has {other}, which libxl does not list", _REPAIR_FIRST
        )
        for other in model.unexpected(step.domain.devices)
    ]
    called: dict[str, list[Sbdf]] = defaultdict(list)
    for device in step.after:
        called[qemu_name(device)].append(device)
    for same in called.values():
        if len(same) > 1:
            reason = (
                f"{name} would have {' and '.join(map(str, same))}, which have the same name in QEMU: libxl leaves the"
                " segment out of it"
            )
            found.append(Refusal("same-name-in-qemu", name, reason, "declare one of them"))
    if len(step.add) > model.free_slots + len(step.remove):
        reason = f"{name} would need {len(step.add)} slots on its PCI bus, where {model.free_slots} are free"
        found.append(Refusal("bus-full", name, reason, "declare fewer devices"))
    return found


def _makes_handshakes(domain: Domain) -> bool:
    """Whether the domain, or its stub domain, gets devices by a handshake with pciback."""
    return domain.device_model is None or domain.stub is not None


def virtual_slots(devices: Iterable[PciDevice], kernel: tuple[int, int]) -> int:
    """Count the slots that pciback's virtual bus needs for these devices.

    Functions of one host slot share a virtual slot. A VF has a virtual slot of its own on old kernels, and on all
    kernels if its function is 0 (vpci.c, __xen_pcibk_add_pci_dev).
    """
    groups = set()
    for device in devices:
        alone = device.physfn is not None and (kernel < _VFS_SHARE_SLOTS or device.sbdf.function == 0)
        groups.add((device.sbdf.host_slot, int(device.sbdf) if alone else -1))
    return len(groups)
