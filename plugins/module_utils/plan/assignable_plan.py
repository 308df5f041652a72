# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan which devices pciback is to take or give back, before anything is changed.

The steps are those of `xl pci-assignable-add` and `-remove -r` (libxl_pci.c), so that xl agrees with the result. What
an interrupted run of ours or of xl left half-done is finished: in the end, taken devices are bound, listed and
quarantined, and released devices are none of these.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..model.device import PCIBACK, PciDevice
from ..model.host import Host
from ..model.xen import ENABLE_IOMMU, NO_IOMMU
from ..plan.device_steps import FinishRelease, Forget, MakePermissive, Quarantine, Rebind, Release, Take
from ..values.address import Sbdf
from ..values.catalog import DevicePolicy
from ..values.refusal import Refusal
from .device_steps import Step
from .isolation import against_interrupts, ties_of, with_waivers_that_help
from .managers import against_devices
from .safety import Check, Verdict, Waived, against, against_any_use, against_hanging, judge, needs_of_host


@dataclass(frozen=True)
class AssignablePlan:
    """The steps to take, or the refusals that forbid all of them; what the user overruled, and warnings."""

    steps: tuple[Step, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    waived: tuple[Waived, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def released(self) -> frozenset[Sbdf]:
        """Devices that go back to the host."""
        return frozenset(step.sbdf for step in self.steps if isinstance(step, (Release, FinishRelease)))

    def is_idle(self, host: Host, drivers: Mapping[Sbdf, str | None]) -> bool:
        """Whether the steps have changed nothing: no more than offers to drivers, none of which took the device."""
        return all(
            isinstance(step, FinishRelease)
            and step.record is None
            and not (step.bound or host.devices[step.sbdf].pciback_slots or drivers.get(step.sbdf))
            for step in self.steps
        )

    @property
    def driver_of_choice(self) -> frozenset[Sbdf]:
        """Those of the released devices whose driver the kernel chooses."""
        ends = (step for step in self.steps if isinstance(step, (Release, FinishRelease)))
        return frozenset(step.sbdf for step in ends if step.driver is None and not step.bound)


def plan_present(
    host: Host,
    wanted: Sequence[Sbdf],
    exclusive: bool = False,
    policies: Mapping[Sbdf, DevicePolicy] | None = None,
    require_reset: bool = False,
    left_alone: Collection[Sbdf] = (),
) -> AssignablePlan:
    """Plan that pciback holds the wanted devices; with `exclusive`, no others but those that are left alone."""
    policies = policies or {}
    refusals = [_NO_PCIBACK] if wanted and PCIBACK not in host.drivers else []
    warnings = [_PERMISSIVE_FOR_ALL] if wanted and host.permissive_for_all else []
    mild: list[Refusal] = []
    steps: list[Step] = []
    waived: list[Waived] = []
    staying = host.with_host - frozenset(wanted)
    for sbdf in wanted:
        policy, device, held = policies.get(sbdf, DevicePolicy()), host.devices[sbdf], host.holders.get(sbdf)
        if device.in_pciback:
            verdict = judge(against_any_use(device), policy.waive)
            refusals += verdict.refusals
            waived += verdict.waived
            steps += _upkeep(host, device, policy, held)
            if held is not None and device.permissive and not policy.permissive:
                warnings.append(
                    f"{sbdf} is permissive, but no reason for that is declared. It can be cleared only while no domain"
                    f" has the device ({held}): detach it and run again, or declare permissive with a reason."
                )
            continue
        group = host.groups.get(sbdf, frozenset())
        verdict = _may_leave(host, device, policy, staying, group, require_reset)
        of_host = judge(against_interrupts(host.xen, sbdf), policy.waive)
        refusals += [*of_host.refusals, *verdict.refusals]
        waived += of_host.waived
        waived += verdict.waived
        mild += [warning for warning in verdict.warnings if warning.code != Check.ACS.value]  # said of the whole card
        if held is not None:
            reason = f"{sbdf} is not bound to pciback although {held}"
            refusals.append(Refusal("held", str(sbdf), reason, "detach it from there first"))
        reserved_for = device.driver_override if device.driver_override != PCIBACK else None
        steps.append(Take(sbdf, device.driver, host.driver_paths.get(sbdf), policy, reserved_for))
        steps += [MakePermissive(sbdf, policy.permissive)] if policy.permissive else []
    if exclusive:
        ours = {*wanted, *left_alone}
        others = [sbdf for sbdf, device in host.devices.items() if _is_left(host, device) and sbdf not in ours]
        released = plan_absent(host, sorted(others), policies)
        steps = [*released.steps, *steps]
        refusals += released.refusals
        waived += released.waived
    return _plan(host, steps, refusals, waived, [*warnings, *_summed_up(mild)])


def plan_absent(
    host: Host, unwanted: Collection[Sbdf], policies: Mapping[Sbdf, DevicePolicy] | None = None
) -> AssignablePlan:
    """Plan to give the devices back to the host, but for those that it has already, with a driver if one fits."""
    refusals: list[Refusal] = []
    steps: list[Step] = []
    waived: list[Waived] = []
    for sbdf in unwanted:
        if sbdf not in host.devices:
            refusals += _still_held(host, sbdf, "forgotten")
            steps += _leftovers(host, sbdf)
            continue
        device, record = host.devices[sbdf], host.driver_paths.get(sbdf)
        if not _is_left(host, device) and not _lacks_driver(host, device):
            continue
        bound = device.driver is not None and not device.in_pciback
        driver = posixpath.basename(record) if record and not bound else None
        refusals += _cannot_be_released(host, device, driver)
        if not device.in_pciback:
            steps.append(FinishRelease(sbdf, driver, record, bound))
            continue
        verdict = _may_return(host, device, (policies or {}).get(sbdf, DevicePolicy()))
        refusals += verdict.refusals
        waived += verdict.waived
        overruled = any(waiver.refusal.code == Check.UNTRUSTED.value for waiver in verdict.waived)
        steps.append(Release(sbdf, driver, record, "" if overruled else host.guests.get(sbdf, "")))
    return _plan(host, steps, refusals, waived)


def _is_left(host: Host, device: PciDevice) -> bool:
    """Whether pciback holds or lists the device, or its former driver is still recorded."""
    return device.in_pciback or device.sbdf in host.driver_paths or bool(device.pciback_slots)


def _lacks_driver(host: Host, device: PciDevice) -> bool:
    """Whether the device has no driver though the kernel has one for it, or might: a run was killed, or a hand did it.

    A virtual function whose physical one does not have them probed is to have none.
    """
    physical = host.devices.get(device.physfn) if device.physfn is not None else None
    if device.driver is not None or host.boot is None or (physical is not None and not physical.virtfns_probed):
        return False
    fitting = host.boot.modules.get(device.sbdf, ())
    wanted = any(not module.unwanted for module in fitting)
    return wanted or device.driver_override is not None or not host.boot.modules_known


def free(host: Host, sbdf: Sbdf) -> bool:
    """Whether no domain has the device and no check forbids to give it away."""
    if sbdf in host.holders or host.claims_on(sbdf):
        return False
    return host.devices[sbdf].answers and not verdict_on(host, sbdf).refusals


def verdict_on(host: Host, sbdf: Sbdf) -> Verdict:
    """Check whether a device that the host has can be given away while all others stay with the host.

    One that pciback holds is judged by what it is alone, because the host does not use it any more. Groups of Xen are
    left out, even where they are known: a pool must choose alike wherever the plan is made.
    """
    device = host.devices[sbdf]
    if device.in_pciback:
        verdict = Verdict(tuple(against_any_use(device)))
    else:
        verdict = _may_leave(host, device, DevicePolicy(), host.with_host)
    return replace(verdict, refusals=(*verdict.refusals, *against_devices(host, [sbdf], only_managed=True)))


def _may_leave(
    host: Host,
    device: PciDevice,
    policy: DevicePolicy,
    staying: Collection[Sbdf],
    group: Collection[Sbdf] = (),
    require_reset: bool = False,
) -> Verdict:
    if not device.sbdf.has_xen_number:
        return judge(against_any_use(device), policy.waive)
    ties = ties_of(host.topology, device.sbdf, staying, group, require_reset)
    needed = needs_of_host(device, host.network, host.in_pciback, host.depending_on(device), host.uses)
    refusals = with_waivers_that_help([*needed, *ties.refusals], policy.options)
    return judge(refusals, policy.waive, ties.warnings)


def _still_held(host: Host, sbdf: Sbdf, what: str) -> Iterator[Refusal]:
    held = host.holders.get(sbdf)
    if held is not None:
        reason = f"{sbdf} cannot be {what} because {held}"
        yield Refusal("held", str(sbdf), reason, "detach it from there first")


def _leftovers(host: Host, sbdf: Sbdf) -> Iterator[Step]:
    """Yield the step that removes what is left of a device that the host does not have, if something is."""
    gone, record = host.gone.get(sbdf), host.driver_paths.get(sbdf)
    if gone is not None or record is not None:
        yield Forget(sbdf, record, listed=gone is not None and gone.pciback_slots > 0)


def _cannot_be_released(host: Host, device: PciDevice, driver: str | None) -> Iterator[Refusal]:
    sbdf = device.sbdf
    yield from _still_held(host, sbdf, "released")
    if device.lost_hold:
        reason = f"{sbdf} cannot be released: {device.lost_hold_in_words}, and unbinding it may crash dom0"
        yield Refusal("lost-hold", str(sbdf), reason, "restart dom0 first")
    if driver is not None and driver not in host.drivers:
        reason = f"{sbdf} cannot be released: its driver {driver} is not loaded now"
        yield Refusal("driver-not-loaded", str(sbdf), reason, f"load it (modprobe {driver})")


def _may_return(host: Host, device: PciDevice, policy: DevicePolicy) -> Verdict:
    """Check whether a device can go back to the host: what a guest left in it must not reach the host.

    Only a reset removes that for certain.
    """
    guest = host.guests.get(device.sbdf)
    if guest is None or device.reset_methods:
        return Verdict()
    reason = (
        f"{device.sbdf} cannot be reset, so what domain {guest}, which had it last, left in it would reach the host"
    )
    advice = "leave it with pciback, or switch the host off and on first"
    return judge([against(Check.UNTRUSTED, device.sbdf, reason, advice)], policy.waive)


def _upkeep(host: Host, device: PciDevice, policy: DevicePolicy, held: str | None) -> Iterable[Step]:
    """Yield the steps that a device still needs that pciback holds already."""
    if held is None and device.sbdf not in host.quarantined:
        yield Quarantine(device.sbdf, policy)
    if held is None and device.permissive and not policy.permissive and not device.lost_hold:
        yield Rebind(device.sbdf)
    if policy.permissive and not device.permissive:
        yield MakePermissive(device.sbdf, policy.permissive)


def _summed_up(warnings: Sequence[Refusal]) -> list[str]:
    """Write one sentence for each check, because on many machines nearly all devices share interrupt lines."""
    first = {warning.code: warning for warning in reversed(warnings)}
    count = Counter(warning.code for warning in warnings)
    return [
        f"{warning.reason}{f' (and so do {count[code] - 1} more)' if count[code] > 1 else ''}."
        for code, warning in reversed(first.items())
    ]


def _plan(
    host: Host,
    steps: Sequence[Step],
    refusals: Sequence[Refusal],
    waived: Sequence[Waived] = (),
    warnings: Sequence[str] = (),
) -> AssignablePlan:
    taken = [step.sbdf for step in steps if not isinstance(step, (Release, FinishRelease))]
    given = [step.sbdf for step in steps if isinstance(step, (Release, FinishRelease))]
    # Devices that libvirt does not manage are to be made assignable by others, but must stay so.
    refusals = [*refusals, *against_devices(host, taken, only_managed=True), *against_devices(host, given)]
    refusals += _against_steps(host, steps)
    return AssignablePlan(() if refusals else tuple(steps), tuple(refusals), tuple(waived), tuple(warnings))


def _against_steps(host: Host, steps: Sequence[Step]) -> Iterator[Refusal]:
    """Refuse what no step can do on this host now."""
    if host.xen.iommu is False and any(isinstance(step, (Take, Quarantine)) for step in steps):
        yield Refusal("no-iommu", "host", NO_IOMMU, ENABLE_IOMMU)
    for sbdf in dict.fromkeys(step.sbdf for step in steps if step.sbdf in host.devices):
        yield from against_hanging(host.devices[sbdf])


_NO_PCIBACK = Refusal(
    "no-pciback", "pciback", "The kernel has no driver pciback", "load the module xen-pciback (modprobe xen-pciback)"
)
_PERMISSIVE_FOR_ALL = (
    "pciback was loaded with permissive=1, so every guest may write all of its devices' configuration space. Load"
    " pciback without that parameter."
)
