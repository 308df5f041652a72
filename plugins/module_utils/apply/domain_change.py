# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change a domain's devices, as far as it is the same for all guests: resets, rights, waiting for other domains."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Callable

from ..host.access import HostAccess
from ..host.sysfs import DeviceHangs, SysfsError
from ..host.xenstore import XenStoreGone
from ..model.device import PCIBACK, PciDevice
from ..model.domain import DOMID_IO
from ..model.evidence import ConvergeLevel
from ..plan.domain_plan import DomainPlan
from ..values.address import Sbdf
from ..values.device_options import DeviceOptions
from ..values.errors import HostError
from ..values.words import listed
from . import rights, rollback
from .clean import is_clean, proof_of
from .commit import unlist
from .loop import Again, Clock, DeadlinePassed, Flow, Join, Start, Until, Work
from .report import DomainFailed, Interrupted, Recorder

#: Configuration space raises no event; a driver's first write to it comes within its probe.
_LOOK_AGAIN = 0.05
#: Time for the domains that were to get a device to end, and for one more change.
_BRING_BACK_SECONDS = 20.0


@dataclass
class Handover:
    """What the domains of one run must know of each other about devices that move between them."""

    #: Free: the domain that had it has let it go, and has no rights over it any more.
    released: set[Sbdf] = field(default_factory=set)
    #: Not coming: the domain that has it failed before it let it go.
    withheld: set[Sbdf] = field(default_factory=set)
    #: The domain that is to get it has it, or never will.
    decided: set[Sbdf] = field(default_factory=set)
    #: Names of the domains that give devices up.
    givers: dict[Sbdf, str] = field(default_factory=dict)
    #: Known to go into quarantine whenever no guest has them.
    quarantined: frozenset[Sbdf] = frozenset()
    #: Reset since their last user.
    clean: set[Sbdf] = field(default_factory=set)


@dataclass(frozen=True)
class Resets:
    """What came of resets: devices that were reset, and the error of each that could not be."""

    done: tuple[Sbdf, ...] = ()
    failed: Mapping[Sbdf, SysfsError] = field(default_factory=dict)

    @property
    def hanging(self) -> frozenset[Sbdf]:
        """Devices that may be in their reset still."""
        return frozenset(device for device, error in self.failed.items() if isinstance(error, DeviceHangs))


class DomainChange:
    """Carries out the plan of one domain. A subclass knows the way in which devices reach that domain's guest."""

    def __init__(
        self,
        access: HostAccess,
        plan: DomainPlan,
        devices: Mapping[Sbdf, PciDevice],
        handover: Handover,
        clock: Clock,
        recorder: Recorder,
    ) -> None:
        self.access = access
        self.plan = plan
        self.recorder = recorder
        self.clock = clock
        self.domid = plan.domain.domid
        self.name = plan.domain.name
        self.token = f"xen.pci-{self.domid}"
        self._devices = devices
        self._handover = handover
        self._held = set(plan.domain.devices)
        #: Devices that another tool took from the domain: a change settles what is noted of their interrupt lines.
        self.left: Collection[Sbdf] = ()
        self._resetting: Future[Resets] | None = None

    def flow_to(self, level: ConvergeLevel) -> Flow:
        """Carry the plan out, and see that the guest has come as far as asked; raises DomainFailed."""
        yield from self.flow()
        if level is ConvergeLevel.ACTIVE:
            yield from self._await_drivers()

    def flow(self) -> Flow:
        """All steps of the plan; raises DomainFailed."""
        store, paths = self.access.store, self._watched
        try:
            yield from self._begin(store.watch(paths, self.token) if paths else [])
            yield from self._steps()
        except Exception as error:
            self._handover.withheld.update(self.plan.departing - self._handover.released)
            if isinstance(error, HostError):
                request = rollback.describe_request(self.plan.add, self.plan.remove)
                raise Interrupted(f"{self.name}: {error}, {request}") from error
            raise
        finally:
            self._handover.decided.update(self.plan.arriving)
            with suppress(XenStoreGone):  # which took the watches along
                store.unwatch(paths, self.token)

    @property
    def _watched(self) -> tuple[str, ...]:
        """Nodes of xenstore whose changes wake the flow."""
        raise NotImplementedError

    def _begin(self, watched: Sequence[str | None]) -> Flow:
        """Do what comes before the first step; `watched` is what the watched nodes said."""
        yield from ()

    def _steps(self) -> Flow:
        """Remove first what other domains wait for, since we may wait for theirs; then the rest, or take all back."""
        plan, first = self.plan, self._first()
        if first:
            yield from self._exchange((), first)
        try:
            yield from self._arrivals()
            rest = tuple(device for device in plan.remove if device not in first)
            if plan.add or rest:
                yield from self._exchange(plan.add, rest)
            if plan.unlisted:
                yield from unlist(self.access, plan.domain, plan.unlisted)
        except (DomainFailed, HostError):
            if first:
                yield from self._bring_back(first)
            raise

    def _await_drivers(self) -> Flow:
        """Wait until drivers in the guest have enabled all devices that it is to have."""
        waiting: Sequence[Sbdf] = self.plan.after
        try:
            while True:
                waiting = yield Work(partial(self._inactive, waiting))
                if not waiting:
                    return
                yield Again(_LOOK_AGAIN)
        except DeadlinePassed:
            raise DomainFailed(
                f"{self.name} has {listed(waiting)}, but no driver in the guest has enabled "
                f"{'it' if len(waiting) == 1 else 'them'} in time; load one there, or ask for converge: connected"
            ) from None

    def _inactive(self, devices: Sequence[Sbdf]) -> list[Sbdf]:
        """Those of the devices that no driver in the guest has enabled; from any thread."""
        raise NotImplementedError

    def _first(self) -> tuple[Sbdf, ...]:
        """Name the devices that are removed before anything else."""
        raise NotImplementedError

    def _exchange(self, add: Sequence[Sbdf], remove: Sequence[Sbdf]) -> Flow:
        """Add and remove these, all or none; raises DomainFailed."""
        raise NotImplementedError

    def _bring_back(self, first: Sequence[Sbdf]) -> Flow:
        """Put back what the first step took, after the plan has failed; but not what another domain has by now."""
        moving, decided = self.plan.departing, self._handover.decided
        self.clock.extend(_BRING_BACK_SECONDS)
        with suppress(DeadlinePassed):
            yield Until(lambda: moving <= decided)
        free = [device for device in first if device in decided or device not in moving]
        taken = self.access.toolstack.holders(free)
        free = [device for device in free if device not in taken]
        gone = [device for device in first if device not in free]
        if gone:
            self.recorder.aside.append(f"{listed(sorted(gone))} had been detached before that, as declared")
        if not free:
            return
        try:
            yield from self._exchange(free, ())
        except DomainFailed as error:
            self.recorder.aside.append(
                f"{listed(sorted(free))} had been detached before that and could not be attached again ({error})"
            )
        else:
            self.recorder.aside.append(f"{listed(sorted(free))} had been detached before that and is attached again")

    def _arrivals(self) -> Flow:
        """Wait until the other domains have given up what moves here, and what they need to let it go for good."""
        awaited, handover = self.plan.awaited, self._handover
        if not awaited:
            return
        with suppress(DeadlinePassed):
            yield Until(lambda: awaited <= handover.released or not awaited.isdisjoint(handover.withheld))
        missing = sorted(awaited - handover.released)
        if missing:
            held = ", ".join(f"{device} ({handover.givers[device]} did not release it)" for device in missing)
            arriving = self.plan.arriving
            who = "it" if arriving.intersection(missing) else f"the domain that gives it {listed(sorted(arriving))}"
            raise DomainFailed(f"{self.name}: nothing was attached, because {who} waits for {held}")

    def _reset(self, devices: Sequence[Sbdf]) -> Resets:
        """Reset what pciback holds; what a driver of the host has by now must not be, and what is gone cannot be.

        One that fails, or hangs, keeps none of the others from it.
        """
        done: list[Sbdf] = []
        failed: dict[Sbdf, SysfsError] = {}
        held = [device for device in devices if self.access.sysfs.driver_of(device) == PCIBACK]
        for device, result in zip(held, _all_at_once(self._try_reset, held)):
            if isinstance(result, SysfsError):
                failed[device] = result
            elif result:
                done.append(device)
            else:
                self.recorder.warnings.append(f"{device} cannot be reset; it keeps what its last user left in it")
        return Resets(tuple(done), failed)

    def _try_reset(self, device: Sbdf) -> bool | SysfsError:
        try:
            return self.access.sysfs.reset(device)
        except SysfsError as error:
            return error

    def _reset_dirty(self, devices: Sequence[Sbdf], proofs: Mapping[Sbdf, str]) -> Flow:
        """Reset what has not been since its last user, all at once: a reset may take seconds."""
        domain, handed_over = self.plan.domain, self._handover.clean
        used = [device for device in devices if device not in handed_over]
        dirty = [device for device in used if not is_clean(self.access, domain, device, proofs.get(device))]
        if dirty:
            resets: Resets = yield Work(lambda: self._reset(dirty))
            for error in resets.failed.values():
                raise error

    def _quarantine(self, devices: Sequence[Sbdf]) -> None:
        """Put devices in quarantine first that are not known to be there, such as those hidden at boot.

        Xen puts back there what was there once, also where it quarantines nothing by itself (deassign_device).
        """
        for device in devices:
            if device not in self._handover.quarantined:
                self.access.hypervisor.assign(DOMID_IO, device, relaxed=True)
                self.access.notes.note_quarantine(device)

    def _begin_reset(self, removed: Sequence[Sbdf]) -> Flow:
        """Begin to reset what the guest has released, beside what else is to do before its rights are taken."""
        if removed and self._resetting is None:
            self._resetting = yield Start(lambda: self._reset(removed))

    def _end_reset(self, removed: Sequence[Sbdf]) -> Flow:
        """Wait for the reset; returns what came of it.

        Only then may Xen take the device away: it may have to ask it to forget addresses (ATS), and a device in reset
        does not answer (dev_invalidate_iotlb).
        """
        begun, self._resetting = self._resetting, None
        return (yield Work(lambda: self._reset(removed)) if begun is None else Join(begun))

    def _release(self, removed: Sequence[Sbdf]) -> Flow:
        """Reset what the guest has released, take all rights over it, and hand it over as free."""
        if not removed:
            return
        resets: Resets = yield from self._end_reset(removed)
        self._handover.clean.update(set(removed) - resets.failed.keys())
        problems = [str(error) for error in resets.failed.values()]
        free = [device for device in removed if device not in resets.hanging]
        if resets.hanging:
            problems.append(f"{self.name} keeps its rights over {listed(sorted(resets.hanging))} until that has ended")
        problems += self._take_rights(free, resets.done)
        if problems:
            raise DomainFailed(f"{self.name}: the guest has released its devices, but {'; '.join(problems)}")
        self._handover.released.update(removed)

    def _withdraw_rights(self, devices: Sequence[Sbdf], why: str) -> None:
        """Take back the rights over devices that will not be used; raises DomainFailed with `why` if Xen keeps some."""
        problems = self._take_rights(devices)
        if problems:
            raise DomainFailed(f"{why}; nothing was attached, but rights are left, run again: {'; '.join(problems)}")

    def _forget_holder(self, devices: Sequence[Sbdf], clean: Sequence[Sbdf] = ()) -> None:
        """Remove the markers of devices over which the domain has no rights any more, and note those that are clean."""
        proofs = {device: proof_of(self.access, self.plan.domain, device) for device in clean}
        notes = [self.access.notes.change_clean(device, proof) for device, proof in proofs.items() if proof]
        taken = [self.access.notes.change_taken(device) for device in devices]
        self.access.toolstack.unmark(self.domid, devices, notes, taken)

    def _take_rights(self, devices: Sequence[Sbdf], clean: Collection[Sbdf] = ()) -> list[str]:
        """Take all rights over these devices, and the markers with them; returns what Xen refused."""
        self._held.difference_update(devices)
        others = self._others()
        problems, free = [], []
        for address in reversed(devices):
            refused = self._revoke(address, others)
            problems += refused
            if not refused:  # the marker is all that shows later where rights are left
                free.append(address)
        self._forget_holder(free, [device for device in free if device in clean])
        return problems

    def _options(self, device: Sbdf) -> DeviceOptions:
        """Return the options with which the domain gets a device, or gets it back."""
        return self.plan.options.get(device, DeviceOptions())

    def _facts(self, address: Sbdf) -> PciDevice:
        """Return the facts of a device; of one that the host has no more, those from when the guest got it."""
        return self._devices.get(address) or self.access.notes.device(address)

    def _revoke(self, address: Sbdf, others: Collection[PciDevice]) -> list[str]:
        device, stub = self._facts(address), self.plan.domain.stub
        if not device.irq:  # its guest has let it go: if a message interrupt hid its line, that shows again
            device = replace(device, irq=self.access.sysfs.interrupt_line(address))
        # Xen lost a device when the host did, and so did its owner.
        take = rights.revoke if address in self._devices else rights.revoke_access
        refused = take(self.access.hypervisor, self.domid, device, others)
        if stub is not None:  # it has all but the device itself
            refused += rights.revoke_access(self.access.hypervisor, stub.domid, device, others)
        return refused

    def _others(self) -> list[PciDevice]:
        """List the devices that the domain holds now."""
        return [self._devices[device] for device in self._held if device in self._devices]


def _all_at_once(call: Callable[[Sbdf], bool | SysfsError], devices: Sequence[Sbdf]) -> Iterable[bool | SysfsError]:
    """Return what the call returns for each device; each may take seconds. One needs no thread more."""
    if len(devices) <= 1:
        return [call(device) for device in devices]
    with ThreadPoolExecutor(max_workers=len(devices)) as pool:
        return list(pool.map(call, devices))
