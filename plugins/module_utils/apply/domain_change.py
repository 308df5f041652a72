# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changing a domain's devices takes whichever way they reach its guest: resets, rights, and waiting for others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ..host.access import HostAccess
from ..host.sysfs import SysfsError
from ..host.xenstore import XenStoreGone
from ..model.device import PCIBACK, PciDevice
from ..plan.domain_plan import DomainPlan
from ..values.address import Sbdf
from ..values.errors import HostError
from . import rights, rollback
from .loop import Clock, DeadlinePassed, Flow, Until, Work
from .report import DomainFailed, Interrupted, Recorder

#: For those who were to get a device to end, and for one more change.
_BRING_BACK_SECONDS = 20.0


@dataclass
class Handover:
    """What the domains of one run must know of each other.

    A device that moves is `released` or `withheld` by its giver. `decided`: who was to get it has it, or never will.
    """

    released: set[Sbdf] = field(default_factory=set)
    withheld: set[Sbdf] = field(default_factory=set)
    decided: set[Sbdf] = field(default_factory=set)
    givers: dict[Sbdf, str] = field(default_factory=dict)
    clean: set[Sbdf] = field(default_factory=set)


class DomainChange:
    """One domain's plan with all that carrying it out needs."""

    def __init__(
        self,
        access: HostAccess,
        plan: DomainPlan,
        devices: Mapping[Sbdf, PciDevice],
        ledger: Handover,
        clock: Clock,
        record: Recorder,
    ) -> None:
        self.access = access
        self.plan = plan
        self.record = record
        self.clock = clock
        self.domid = plan.domain.domid
        self.name = plan.domain.name
        self.token = f"xen.pci-{self.domid}"
        self._devices = devices
        self._ledger = ledger
        self._held = set(plan.domain.devices)

    def flow(self) -> Flow:
        """All steps of the plan; raises DomainFailed."""
        store, paths = self.access.store, self._watched
        try:
            for path in paths:
                store.watch(path, self.token)
            yield from self._steps()
        except Exception as error:
            self._ledger.withheld.update(self.plan.departing - self._ledger.released)
            if isinstance(error, HostError):
                asked = rollback.describe_request(self.plan.add, self.plan.remove)
                raise Interrupted(f"{self.name}: {error}, {asked}") from error
            raise
        finally:
            self._ledger.decided.update(self.plan.arriving)
            with suppress(XenStoreGone):  # which took the watches along
                for path in paths:
                    store.unwatch(path, self.token)

    @property
    def _watched(self) -> tuple[str, ...]:
        """Nodes of xenstore whose changes wake the flow."""
        raise NotImplementedError

    def _steps(self) -> Flow:
        """What others wait for goes first: perhaps we wait for what they give. Then all the rest, or all comes back."""
        plan, first = self.plan, self._first()
        if first:
            yield from self._exchange((), first)
        try:
            yield from self._arrivals()
            rest = tuple(one for one in plan.remove if one not in first)
            if plan.add or rest:
                yield from self._exchange(plan.add, rest)
        except (DomainFailed, HostError):
            if first:
                yield from self._bring_back(first)
            raise

    def _first(self) -> tuple[Sbdf, ...]:
        """What is removed before anything else."""
        raise NotImplementedError

    def _exchange(self, add: Sequence[Sbdf], remove: Sequence[Sbdf]) -> Flow:
        """Add and remove these, all or none; raises DomainFailed."""
        raise NotImplementedError

    def _bring_back(self, first: Sequence[Sbdf]) -> Flow:
        """The plan has failed behind its first step: what that took comes back, unless somebody else has it by now."""
        moving, decided = self.plan.departing, self._ledger.decided
        self.clock.extend(_BRING_BACK_SECONDS)
        with suppress(DeadlinePassed):
            yield Until(lambda: moving <= decided)
        free = [device for device in first if device in decided or device not in moving]
        taken = self.access.toolstack.holders(free)
        free = [device for device in free if device not in taken]
        gone = [device for device in first if device not in free]
        if gone:
            self.record.aside.append(f"{_listed(gone)} had gone before, as declared")
        if not free:
            return
        try:
            yield from self._exchange(free, ())
        except DomainFailed as error:
            self.record.aside.append(f"{_listed(free)} had gone before and could not be put back ({error})")
        else:
            self.record.aside.append(f"{_listed(free)} had gone before and is back")

    def _arrivals(self) -> Flow:
        """Wait until the other domains have given up what moves here, and what they need to let it go for good."""
        awaited, ledger = self.plan.awaited, self._ledger
        if not awaited:
            return
        with suppress(DeadlinePassed):
            yield Until(lambda: awaited <= ledger.released or not awaited.isdisjoint(ledger.withheld))
        missing = sorted(awaited - ledger.released)
        if missing:
            held = ", ".join(f"{one} ({ledger.givers[one]} did not release it)" for one in missing)
            who = "it" if self.plan.arriving.intersection(missing) else f"who gives it {_listed(self.plan.arriving)}"
            raise DomainFailed(f"{self.name}: nothing was added, since {who} waits for {held}")

    def _reset(self, devices: Sequence[Sbdf]) -> None:
        """What pciback holds is reset; what a driver of the host has by now must not be, and what is gone cannot be."""
        held = [one for one in devices if self.access.sysfs.driver_of(one) == PCIBACK]
        if not held:
            return
        with ThreadPoolExecutor(max_workers=len(held)) as pool:
            for device, done in zip(held, pool.map(self.access.sysfs.reset, held)):
                if not done:
                    self.record.warnings.append(
                        f"{device} has no way to be reset; it keeps what its last user left in it"
                    )

    def _reset_dirty(self, devices: Sequence[Sbdf]) -> Flow:
        """Reset what has not been since its last user, all at once: a reset may take seconds."""
        dirty = [device for device in devices if device not in self._ledger.clean]
        yield Work(lambda: self._reset(dirty))

    def _release(self, removed: Sequence[Sbdf]) -> Flow:
        """The guest has let go: reset all, take all rights, say that the devices are free."""
        if not removed:
            return
        problems = []
        try:
            yield Work(lambda: self._reset(removed))
        except SysfsError as error:
            problems.append(str(error))
        else:
            self._ledger.clean.update(removed)
        problems += self._take_rights(removed)
        if problems:
            raise DomainFailed(f"{self.name}: the guest has let its devices go, but {'; '.join(problems)}")
        self._ledger.released.update(removed)

    def _withdraw_rights(self, devices: Sequence[Sbdf], why: str) -> None:
        """Take back what nobody will use, and why; raises DomainFailed if Xen keeps some of it."""
        problems = self._take_rights(devices)
        if problems:
            raise DomainFailed(f"{why}; nothing was attached, but rights are left, run again: {'; '.join(problems)}")

    def _forget_holder(self, devices: Sequence[Sbdf]) -> None:
        """Remove the markers of devices over which the domain has no rights any more."""
        self.access.toolstack.unmark(self.domid, devices)

    def _take_rights(self, devices: Sequence[Sbdf]) -> list[str]:
        self._held.difference_update(devices)
        others = self._others()
        problems, free = [], []
        for address in reversed(devices):
            refused = self._revoke(address, others)
            problems += refused
            if not refused:  # the marker is all that shows later where rights are left
                free.append(address)
        self._forget_holder(free)
        return problems

    def _facts(self, address: Sbdf) -> PciDevice:
        """The device; one that the host has no more is as it was when the guest got it."""
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
        """The devices that the domain holds now."""
        return [self._devices[one] for one in self._held if one in self._devices]


def _listed(devices: Iterable[Sbdf]) -> str:
    return ", ".join(map(str, sorted(devices)))
