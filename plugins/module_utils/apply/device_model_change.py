# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the devices of an HVM guest: its toolstack plugs and unplugs them, its device model says what came of it.

pciback and the guest make no handshake here, so one device goes at a time, and states in xenstore are not looked at:
behind the second device of a domain they stay at Reconfiguring for ever. What the toolstack leaves half-done is undone
by us.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Callable

from ..host.sysfs import SysfsError
from ..host.toolstack.contract import ToolstackError
from ..host.xen_calls import HypervisorError
from ..host.xenstore_nodes import read_connection
from ..model.connection import backend_path, frontend_path
from ..model.device_model import DeviceModel, DeviceModelError, qemu_name
from ..values.address import Sbdf
from ..values.errors import XenPciError
from ..values.states import SubState
from . import rights, rollback
from .commit import forget
from .domain_change import DomainChange
from .loop import NEXT_EVENT, Again, DeadlinePassed, Flow, Work
from .report import Cycle, DomainFailed

#: A guest's bus raises no event that we could receive beside libxl.
_LOOK_AGAIN = 0.2
#: What taking one device back may need on top of the run's own time: the guest must release it once more.
_GRACE_SECONDS = 10.0
#: How often libxl is asked: a stub domain that needs longer than libxl waits has released the device the next time.
_FORGET_ATTEMPTS = 2
_FAILURES = (SysfsError, HypervisorError, DomainFailed)


class NotDone(XenPciError):
    """A device is not where it was to be; the text says which side did not do what."""


class Silent(NotDone):
    """The device model does not answer any more, so nothing can be done or known."""


class DeviceModelChange(DomainChange):
    """Carries out one HVM guest's plan."""

    @property
    def _watched(self) -> tuple[str, ...]:
        """The states of its stub domain, which alone makes a handshake."""
        stub = self.plan.domain.stub
        return () if stub is None else (f"{backend_path(stub.domid)}/state", f"{frontend_path(stub.domid)}/state")

    def _inactive(self, devices: Sequence[Sbdf]) -> list[Sbdf]:
        """By what the device model says: QEMU keeps the host's registers to itself."""
        model = self.access.toolstack.device_model(self.plan.domain)
        plugged = {device: model.has(device) for device in devices}
        return [device for device, place in plugged.items() if place is None or not place.enabled]

    def _first(self) -> tuple[Sbdf, ...]:
        """All of them: pciback may hold what another domain waits for until the last one has gone."""
        return self.plan.remove if self.plan.departing else ()

    def _exchange(self, add: Sequence[Sbdf], remove: Sequence[Sbdf]) -> Flow:
        """Take these out and put those in, one after the other; all, or none."""
        leaving: list[Sbdf] = []
        begun: list[Sbdf] = []
        try:
            for device in remove:
                self._check_time()
                leaving.append(device)
                yield from self._timed(self._take_out(device), removed=device)
            if add:
                self._note_holds_left()
                yield from self._reset_dirty(add, {})
                self.access.notes.write_guest([self._devices[device] for device in add], self.domid, self.name)
                self._quarantine(add)
            for device in add:
                self._check_time()
                begun.append(device)
                yield from self._timed(self._put_in(device), added=device)
        except (NotDone, DeadlinePassed, *_FAILURES) as failure:
            left = yield from self._undo(begun, leaving, isinstance(failure, Silent))
            why = "the timeout passed before all was done" if isinstance(failure, DeadlinePassed) else str(failure)
            raise DomainFailed(f"{self.name}: {why}, {rollback.describe_request(add, remove)}; {left}") from failure
        yield from self._release(leaving)
        yield from forget(self.access, self.plan.domain, leaving)

    def _check_time(self) -> None:
        """Raise DeadlinePassed if no time is left: what is begun now runs to its end."""
        if time.monotonic() >= self.clock.deadline:
            raise DeadlinePassed

    def _timed(self, steps: Flow, added: Sbdf | None = None, removed: Sbdf | None = None) -> Flow:
        began = time.monotonic()
        yield from steps
        seconds = round(time.monotonic() - began, 3)
        self.recorder.cycles.append(Cycle((added,) if added else (), (removed,) if removed else (), seconds))

    def _put_in(self, device: Sbdf) -> Flow:
        options = self._options(device)
        said = yield from self._try(lambda: self.access.toolstack.attach(self.plan.domain, device, options))
        if said:
            raise NotDone(f"libxl did not attach {device}: {said}")
        yield from self._await(device, True, f"libxl attached {device}, but the device model does not have it")
        if device not in self._listed():
            raise NotDone(f"libxl attached {device}, but does not list it")
        self._held.add(device)

    def _take_out(self, device: Sbdf) -> Flow:
        """Have the guest eject the device, take its rights, then have libxl forget it.

        libxl could ask the guest itself, but gives up after 10 s, cannot where there is a stub domain (it looks for a
        connection of the guest's own, do_pci_remove in libxl_pci.c), and before Xen 4.18 leaves the rights. As long as
        it lists the device, a run that is killed here is finished by the next one.
        """
        said = ""
        if (yield from self._look(device)).has(device) is not None:
            said = yield from self._try(lambda: self.access.toolstack.unplug(self.plan.domain, device))
        why = f"guest {self.name} did not release {device} in time{f' ({said})' if said else ''}"
        yield from self._await(device, False, f"{why}: check whether it is paused or hung, or uses the device")
        for _attempt in range(_FORGET_ATTEMPTS):
            if device in self._listed():
                yield from self._stub_at_rest(device)
            if device in self._listed():
                self._note_hold(device)
                self._take_access(device)
                said = yield from self._try(lambda: self.access.toolstack.detach(self.plan.domain, device))
        if device in self._listed():
            without = f" ({said})" if said else ""
            raise NotDone(f"guest {self.name} has released {device}, but libxl still lists it{without}")
        self._restore_line(device)

    def _note_holds_left(self) -> None:
        """Note the same of what another tool took, as long as that can be seen (Host.keeper_of)."""
        connection = self.plan.domain.own_connection
        if connection is not None and not any(entry.exported for entry in connection.entries):
            for device in self.left:
                self._keep_hold(device)

    def _note_hold(self, device: Sbdf) -> None:
        """Note that pciback keeps the device, if it has exported it: once the entry is gone, nothing shows that."""
        connection = self.plan.domain.own_connection
        entry = connection.entry_of(device) if connection is not None else None
        if entry is not None and entry.exported:
            self._keep_hold(device)

    def _keep_hold(self, device: Sbdf) -> None:
        self.access.notes.keep_hold(device, self.domid, self.access.sysfs.backend_identity(self.domid))

    def _restore_line(self, device: Sbdf) -> None:
        """Give back the interrupt line that libxl takes with a device though others of the guest are on it.

        It asks for no other device (pci_remove_detached in libxl_pci.c).
        """
        line = self._facts(device).line
        if line and line in {other.line for other in self._others()}:
            rights.grant_line(self.access.hypervisor, self.plan.domain, line)

    def _take_access(self, device: Sbdf) -> None:
        """Take windows and interrupt. A refusal of Xen comes again when all rights are taken, and is reported then."""
        self._held.discard(device)
        facts = self._facts(device)
        rights.revoke_access(self.access.hypervisor, self.domid, facts, self._others())

    def _stub_at_rest(self, device: Sbdf) -> Flow:
        """libxl takes a stub domain's rights before it asks it to let go; one that is in a cycle must not lose them.

        It has what is left of our time; then the cycle is taken back, as with any guest.
        """
        stub = self.plan.domain.stub
        if stub is None:
            return
        try:
            while (backend := read_connection(self.access.store, stub.domid)) is not None and not backend.connected:
                yield NEXT_EVENT
        except DeadlinePassed:
            self.clock.extend(_GRACE_SECONDS)
            backend = read_connection(self.access.store, stub.domid)
            entry = backend.entry_of(device) if backend is not None else None
            added = [] if entry is None or entry.state is SubState.TO_REMOVE else [device]
            alone = backend is not None and set(backend.devices) == set(added)
            left = yield from (rollback.create if alone else rollback.reconfigure)(self.access, stub.domid, added)
            if left is not None and (left.rights_must_stay or device in self._listed()):
                late = f"{device}: {stub.name}, where the device model runs, did not follow in time: {left.sentence}"
                raise NotDone(late) from None

    # -- what is there

    def _await(self, device: Sbdf, wanted: bool, late: str) -> Flow:
        """Ask the device model until it has the device, or has it no more; NotDone when the time is over."""
        model = yield from self._look(device)
        try:
            while (model.has(device) is None) if wanted else not model.lacks([device]):
                yield Again(_LOOK_AGAIN)
                model = yield from self._look(device)
        except DeadlinePassed:
            raise NotDone(late) from None

    def _look(self, device: Sbdf) -> Flow:
        model: DeviceModel = yield Work(lambda: self.access.toolstack.device_model(self.plan.domain))
        plugged = model.has(device)
        state = "gone" if plugged is None else f"at {plugged.address}{', enabled' if plugged.enabled else ''}"
        self.recorder.note(f"device model/{qemu_name(device)}", "silent" if model.plugged is None else state)
        if model.plugged is None:
            raise Silent(model.problem)
        return model

    def _listed(self) -> tuple[Sbdf, ...]:
        stub = self.plan.domain.stub
        backend = read_connection(self.access.store, self.domid if stub is None else stub.domid)
        return backend.devices if backend is not None else ()

    @staticmethod
    def _try(call: Callable[[], None]) -> Flow:
        """Run it beside the other flows; returns its complaint or nothing. What came of it is looked at afterwards."""
        try:
            yield Work(call)
        except (ToolstackError, DeviceModelError) as error:
            return str(error)
        return ""

    # -- the way back

    def _undo(self, begun: Sequence[Sbdf], leaving: Sequence[Sbdf], silent: bool) -> Flow:
        """Take out what was put in, put in what was taken out; a sentence on what is left."""
        if not self.access.hypervisor.has(self.domid):
            self._forget_holder([*begun, *leaving])
            return "the guest is gone; Xen has its devices back, and nothing is left; run again if it comes back"
        for device in reversed(begun):
            self._mark(device)
        if silent:
            return self._unknown(begun, leaving)
        left = []
        for device in reversed(begun):
            left += yield from self._take_back(device)
        for device in leaving:
            self.clock.extend(_GRACE_SECONDS)
            try:
                yield from self._put_back(device)
            except (NotDone, DeadlinePassed) as error:
                left.append(f"{device} was taken out and could not be put back ({error})")
        if left:
            return f"{'; '.join(left)}; see what xen.pci.repair says, and run again"
        return "the guest has the devices that it had before"

    def _take_back(self, device: Sbdf) -> Flow:
        """Take out what was put in, wholly or in part; returns what could not be done, in a list."""
        self.clock.extend(_GRACE_SECONDS)
        try:
            yield from self._take_out(device)
            yield from self._release([device])
            yield from forget(self.access, self.plan.domain, [device])
        except (NotDone, DeadlinePassed, *_FAILURES) as error:
            self._mark(device)
            return [f"{device} could not be taken back ({error})"]
        return []

    def _put_back(self, device: Sbdf) -> Flow:
        """Attach a device again, unless the guest has not let it go; libxl attaches none that it still lists.

        Where that fails, libxl drops its marker but leaves a stub domain the rights that it gave (do_pci_add).
        """
        if (yield from self._look(device)).has(device) is not None:
            return
        if device in self._listed():
            raise NotDone("libxl lists it still")
        try:
            yield from self._put_in(device)
        except (NotDone, DeadlinePassed) as error:
            self._mark(device)
            if isinstance(error, Silent):
                raise
            raise NotDone("; ".join([str(error), *(yield from self._take_back(device))])) from error

    def _unknown(self, begun: Sequence[Sbdf], leaving: Sequence[Sbdf]) -> str:
        """Say what is left where the device model does not answer any more."""
        listed = self._listed()
        gone = [device for device in leaving if device not in listed]
        doubtful = [*begun, *(device for device in leaving if device in listed)]
        sentences = [f"{' and '.join(map(str, gone))} was taken out and not put back"] if gone else []
        sentences += [f"whether the guest has {' and '.join(map(str, doubtful))} is not known"] if doubtful else []
        return "; ".join([*sentences, "check that its QEMU runs, then run xen.pci.repair"])

    def _mark(self, device: Sbdf) -> None:
        """Write the marker again, which libxl drops when it fails or is forced.

        It shows whose rights are left, and keeps other domains from getting the device.
        """
        self.access.toolstack.mark(self.domid, [device])
