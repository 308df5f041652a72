# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on demand. Each is a method of `Faults`; its arguments are those of the request."""

from __future__ import annotations

import asyncio
import errno
import inspect
from collections.abc import Awaitable
from typing import Any, Callable

from .host.device import Address, Device
from .kernel.domu import ENDS
from .kernel.guest import GuestKernel, Manner
from .kernel.xenwatch import Kernel
from .simulated_host import SimulatedHost


class BadFault(ValueError):
    """There is no such fault, or not with these arguments."""


def fault(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Mark a method as one that can be asked for by name (with - for _)."""
    function.__dict__["is_fault"] = True
    return function


class Faults:
    """What can go wrong on one host."""

    def __init__(self, host: SimulatedHost) -> None:
        self._host = host

    @classmethod
    def known(cls) -> dict[str, str]:
        """Names with what they do."""
        found = {}
        for name, member in inspect.getmembers(cls, inspect.isfunction):
            if getattr(member, "is_fault", False):
                found[name.replace("_", "-")] = inspect.getdoc(member) or ""
        return found

    async def inject(self, name: str, arguments: dict[str, Any]) -> None:
        """Cause (or end) a fault; BadFault if that makes no sense."""
        if name not in self.known():
            raise BadFault(f"there is no fault {name}; known are {', '.join(self.known())}")
        method = getattr(self, name.replace("-", "_"))
        try:
            inspect.signature(method).bind(**arguments)
        except TypeError as error:
            raise BadFault(f"{name}: {error}; it is called as {name}{inspect.signature(method)}") from None
        await method(**arguments)

    # -- helpers -------------------------------------------------------------------------------------

    def _kernel(self, domain: str) -> Kernel:
        if domain in ("0", "Domain-0"):
            return self._host.kernel
        return self._guest(domain)

    def _guest(self, domain: str) -> GuestKernel:
        kernel = self._host.domains.find(domain).kernel
        if kernel is None:
            raise BadFault(f"{domain} is no PV guest")
        return kernel

    def _device(self, address: str) -> Device:
        try:
            return self._host.bus.devices[Address.parse(address)]
        except (ValueError, KeyError):
            raise BadFault(f"{address} is no device of this machine") from None

    # -- sides that are late, silent or gone ---------------------------------------------------------

    @fault
    async def late(self, domain: str, step: str, seconds: float) -> None:
        """A kernel takes this long at a step from now on (0 ends it). Steps: backend:1 2 3 4 5 6 7
        export reset unregister; frontend:1 4 5 7 8 unregister; guest:bind guest:remove."""
        self._kernel(domain).steps.delay(step, float(seconds))

    @fault
    async def silent(self, domain: str, step: str) -> None:
        """A kernel stays at a step until `resume`."""
        self._kernel(domain).steps.hang(step)

    @fault
    async def resume(self, domain: str, step: str) -> None:
        """End `silent`, or a driver that hangs (step guest:<host address>)."""
        self._kernel(domain).steps.release(step)

    @fault
    async def deaf(self, domain: str, deaf: bool = True) -> None:
        """A kernel hears of no change in xenstore, as after a xenstored that lost its watches (with `deaf` false: hears
        again, but not of what it missed)."""
        self._kernel(domain).deaf = deaf

    @fault
    async def pause_at(self, domain: str, step: str, victim: str = "") -> None:
        """The guest (or `victim`) is paused the next time a kernel reaches a step."""

        async def act() -> None:
            self._host.domains.pause(self._host.domains.find(victim or domain), True)

        self._kernel(domain).steps.once(step, act)

    @fault
    async def die_at(self, domain: str, step: str, victim: str = "") -> None:
        """The guest (or `victim`) dies the next time a kernel reaches a step."""

        async def act() -> None:
            await self._host.domains.destroy(self._host.domains.find(victim or domain))

        self._kernel(domain).steps.once(step, act)

    @fault
    async def reboot_at(self, domain: str, step: str, victim: str = "") -> None:
        """The guest (or `victim`) is destroyed and created anew, without devices, the next time a kernel
        reaches a step."""

        async def act() -> None:
            old = self._host.domains.find(victim or domain)
            await self._host.domains.destroy(old)
            await self._host.domains.create(old.config)

        self._kernel(domain).steps.once(step, act)

    @fault
    async def end_at(self, domain: str, step: str, how: str, victim: str = "") -> None:
        """The guest (or `victim`) begins to end by itself the next time a kernel reaches a step, and xl does what it
        does then. How: poweroff, reboot (both in good order) or reset."""

        if how not in ENDS:
            raise BadFault(f"a guest ends by {', '.join(ENDS)}, not {how}")

        async def act() -> None:
            await self._host.domains.find(victim or domain).guest.obey(how)
            await asyncio.sleep(0)  # it closes its devices before the kernel of this step goes on

        self._kernel(domain).steps.once(step, act)

    @fault
    async def write_at(self, domain: str, step: str, path: str, value: str) -> None:
        """Somebody else writes to xenstore the next time a kernel reaches a step (a racing toolstack)."""

        async def act() -> None:
            self._host.kernel.xs.write(path, value)

        self._kernel(domain).steps.once(step, act)

    @fault
    async def xl_at(self, domain: str, step: str, command: str) -> None:
        """Somebody else runs xl the next time a kernel reaches a step (a racing toolstack); it is not waited for."""

        async def act() -> None:
            self._host.xl.start("xl", *command.split())

        self._kernel(domain).steps.once(step, act)

    @fault
    async def disarm(self, domain: str, step: str) -> None:
        """What was to happen the next time a kernel reaches a step (one of the faults ending in -at) does not."""
        self._kernel(domain).steps.once(step, None)

    @fault
    async def driver(self, domain: str, manner: str, device: str = "*") -> None:
        """How a guest's driver treats a device: bind, refuse, hang, keep (does not let go) or crash."""
        try:
            self._guest(domain).manners[device] = Manner(manner)
        except ValueError:
            raise BadFault(f"a driver does {', '.join(m.value for m in Manner)}, not {manner}") from None

    @fault
    async def refuse_eject(self, domain: str, refuse: bool = True) -> None:
        """An HVM guest does not eject devices (with `refuse` false: ejects those that it was asked for)."""
        model = self._host.domains.find(domain).model
        if model is None:
            raise BadFault(f"{domain} is no HVM guest")
        model.keeps = refuse
        model.go_on()

    @fault
    async def eject_late(self, domain: str, seconds: float) -> None:
        """An HVM guest takes this long to eject a device."""
        model = self._host.domains.find(domain).model
        if model is None:
            raise BadFault(f"{domain} is no HVM guest")
        model.eject_delay = float(seconds)

    @fault
    async def qemu_silent(self, domain: str, silent: bool = True) -> None:
        """QEMU of an HVM guest does not answer any more (with `silent` false: answers what it was asked)."""
        monitor = self._host.domains.find(domain).monitor
        if monitor is None:
            raise BadFault(f"{domain} is no HVM guest")
        monitor.silence(silent)

    # -- devices -------------------------------------------------------------------------------------

    @fault
    async def reset_fails(self, device: str, fails: bool = True) -> None:
        """Resets of a device fail (with `fails` false: work again)."""
        self._device(device).broken_reset = fails

    @fault
    async def refuse_export(self, device: str, refuse: bool = True) -> None:
        """pciback holds a device but refuses to export it."""
        poisoned = self._host.pciback.poisoned
        address = self._device(device).address
        if refuse:
            poisoned.add(address)
        else:
            poisoned.discard(address)

    @fault
    async def broken(self, device: str, broken: bool = True) -> None:
        """Xen has marked a device as broken: assignment fails with EBADF."""
        address = self._device(device).address
        if broken:
            self._host.hypervisor.broken.add(address)
        else:
            self._host.hypervisor.broken.discard(address)

    @fault
    async def aer(self, domain: str) -> None:
        """An uncorrectable error that the guest cannot handle: pciback writes aerState."""
        domid = self._host.domains.find(domain).domid
        try:
            self._host.kernel.backend_of(domid).kill_domain()
        except KeyError:
            raise BadFault(f"{domain} has no PCI backend") from None

    @fault
    async def write_hangs(self, device: str, file: str, hangs: bool = True) -> None:
        """Writes to a file of sysfs (unbind, bind, reset, sriov_numvfs ...) for a device do not return (with `hangs`
        false: those that hang go on)."""
        address = str(self._device(device))
        (self._host.hanging.begin if hangs else self._host.hanging.end)(file, address)

    @fault
    async def numvfs_fails(self, device: str, error: str = "") -> None:
        """Creating virtual functions of a device fails with this errno, such as ENOMEM (none: works again)."""
        if error and not hasattr(errno, error):
            raise BadFault(f"{error} is no errno")
        self._device(device).numvfs_error = getattr(errno, error) if error else 0

    @fault
    async def qemu_refuses(self, device: str, text: str = "") -> None:
        """The device model of any guest refuses a device with this text (none: takes it again)."""
        self._device(device).qemu_refusal = text

    # -- the store -----------------------------------------------------------------------------------

    @fault
    async def conflicts(self, count: int) -> None:
        """The next so many commits of clients fail with EAGAIN."""
        self._host.store.conflicts = int(count)

    @fault
    async def store_down(self) -> None:
        """xenstored is killed: connections break, nobody can connect."""
        await self._host.server.stop()

    @fault
    async def store_up(self) -> None:
        """xenstored listens again, with the tree as it was."""
        await self._host.server.start()

    @fault
    async def store_frozen(self, frozen: bool = True) -> None:
        """xenstored takes requests and does not answer (with `frozen` false: answers them all)."""
        self._host.server.freeze(frozen)
