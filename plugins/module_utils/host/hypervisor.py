# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rights over devices, and which domains there are: asked of Xen, and changed in Xen."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

from ..model.device import XenOwner
from ..model.domain import DOMID_IO
from ..model.live_domain import LiveDomain
from ..model.xen import PVH_DOM0, Xen
from ..values.address import Sbdf
from ..values.iommu_setup import dom0_mode, remaps_interrupts
from .acpi_tables import dmar_table, has_ivrs_table
from .kernel_files import read_text
from .xen_calls import Calls, HypervisorError, check, hypervisor_files, open_calls, sysfs_root
from .xen_refusals import why_not_assigned

#: "No domain": asks for the device alone, without a receiver (public/xen.h).
DOMID_INVALID = 0x7FF4


class Hypervisor:
    """Xen as seen from dom0. All methods raise HypervisorError when Xen refuses."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Hypervisor]:
        """Open a way to Xen; HypervisorError says what is missing if there is none."""
        calls = open_calls()
        try:
            yield cls(calls)
        finally:
            calls.close()

    def describe(self) -> Xen:
        """Return what Xen says of itself and of dom0. It does not change before the next boot, so it is asked once."""
        return self._described_in_full

    @cached_property
    def _described_in_full(self) -> Xen:
        log, command_line = self._calls.console_log(), self._calls.command_line()
        return replace(
            self._described,
            interrupt_remapping=self._described.iommu is not False
            and remaps_interrupts(log, command_line, dmar_table(sysfs_root()), has_ivrs_table(sysfs_root())),
            dom0_iommu=dom0_mode(log, command_line),
        )

    @cached_property
    def _described(self) -> Xen:
        pvh = self._calls.dom0_is_hvm()
        kind = read_text(hypervisor_files() / "guest_type") if pvh is None else None
        return Xen(self._calls.has_iommu(), kind != "PV" if kind else pvh)

    def owner(self, sbdf: Sbdf) -> XenOwner:
        """Whether the host side (dom0 or quarantine) or some guest owns the device."""
        # Without an IOMMU, Xen refuses the question, and its binding hides why.
        if not sbdf.has_xen_number or self._described.iommu is False:
            return XenOwner.UNKNOWN
        code = self._calls.test_assign(DOMID_INVALID, sbdf)
        if code in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES):
            return XenOwner.UNKNOWN
        return XenOwner.GUEST if code else XenOwner.HOST

    def accepts(self, domid: int, sbdf: Sbdf) -> bool:
        """Whether Xen would assign this device to this domain now; nothing is changed."""
        return sbdf.has_xen_number and self._calls.test_assign(domid, sbdf) == 0

    def assign(self, domid: int, sbdf: Sbdf, relaxed: bool = False) -> None:
        """Give the device's DMA and interrupts to a domain; `relaxed` tolerates reserved memory."""
        _check_number(sbdf)
        code = self._calls.assign(domid, sbdf, relaxed)
        if code:
            purpose = f"put {sbdf} into quarantine" if domid == DOMID_IO else f"assign {sbdf} to domain {domid}"
            raise HypervisorError(
                f"Xen refused to {purpose}: {why_not_assigned(code, domid, self._described, relaxed)}", code
            )

    def deassign(self, domid: int, sbdf: Sbdf) -> None:
        """Take the device from a domain; Xen puts it into quarantine."""
        _check_number(sbdf)
        code = self._calls.deassign(domid, sbdf)
        if code:
            purpose = f"take {sbdf} {'out of quarantine' if domid == DOMID_IO else f'from domain {domid}'}"
            raise HypervisorError(f"Xen refused to {purpose}: {why_not_assigned(code, domid, self._described)}", code)

    def allow_ioports(self, domid: int, first: int, count: int, allow: bool) -> None:
        """Grant or revoke I/O ports."""
        check(self._calls.ioports(domid, first, count, allow), _of("I/O ports", hex(first), domid, allow))

    def allow_iomem(self, domid: int, first_frame: int, count: int, allow: bool) -> None:
        """Grant or revoke machine frames (4 KiB each)."""
        check(self._calls.iomem(domid, first_frame, count, allow), _of("memory frame", hex(first_frame), domid, allow))

    def allow_irq(self, domid: int, gsi: int, allow: bool) -> None:
        """Map and grant, or revoke and unmap, an interrupt line (in dom0's numbering).

        A PVH dom0 has no such numbering; there libxl gives lines by another call, to HVM guests only
        (libxl__arch_local_domain_has_pirq_notion in libxl_x86.c).
        """
        if self._described.dom0_is_pvh:
            if allow:
                raise HypervisorError(f"interrupt {gsi} cannot be given to domain {domid}: {PVH_DOM0}", errno.ENOSYS)
            return
        if allow:
            check(self._calls.map_pirq(domid, gsi), f"map interrupt {gsi} to domain {domid}")
            check(self._calls.irq(domid, gsi, True), _of("interrupt", str(gsi), domid, True))
            return
        # Both are tried: a guest that is already gone, or unmapped it itself, must not keep the right.
        self._calls.unmap_pirq(domid, gsi)
        check(self._calls.irq(domid, gsi, False), _of("interrupt", str(gsi), domid, False))

    def device_group(self, domid: int, sbdf: Sbdf) -> list[Sbdf]:
        """Devices of this domain that Xen can only assign together with the given one."""
        _check_number(sbdf)
        return self._calls.device_group(domid, sbdf)

    def domains(self) -> dict[int, LiveDomain]:
        """All domains that Xen has, dom0 and those that are dying among them, by their numbers."""
        found: dict[int, LiveDomain] = {}
        while some := self._calls.domains_from(max(found, default=-1) + 1):
            found.update((domain.domid, domain) for domain in some)
        return found

    def has(self, domid: int) -> bool:
        """Whether Xen has this domain, and it is not dying."""
        return any(domain.domid == domid and not domain.dying for domain in self._calls.domains_from(domid)[:1])


def _check_number(sbdf: Sbdf) -> None:
    """Raise HypervisorError where Xen has no number for the device: cut to 32 bits, it would be another device's."""
    if not sbdf.has_xen_number:
        raise HypervisorError(f"Xen has no number for {sbdf}, whose segment has more than 16 bits", errno.ENODEV)


def _of(kind: str, which: str, domid: int, allow: bool) -> str:
    return f"{'grant' if allow else 'revoke'} {kind} {which} {'to' if allow else 'from'} domain {domid}"
