# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device's rights, given and taken as a whole: windows, interrupt, DMA.

The set is libxl's (libxl_pci.c, pci_add_dm_done and pci_remove_detached), the order of taking is
ours: a guest must have released the device before anything of this is taken.

`others` are the devices that the domain has besides: what one of these needs as well, an interrupt line or a page with
registers of both, stays in any case.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator

from ..host.hypervisor import Hypervisor
from ..host.xen_calls import HypervisorError
from ..model.device import PciDevice, Resource, XenOwner
from ..model.domain import Domain

_PAGE_SHIFT = 12
#: Six windows and the ROM; lines after them are a bridge's or an SR-IOV function's own.
_WINDOWS = 7


def grant(
    hypervisor: Hypervisor, domid: int, device: PciDevice, others: Collection[PciDevice], relaxed: bool = False
) -> None:
    """Give a domain all rights over a device; on failure what was given is taken back.

    `relaxed`: Xen is to tolerate memory that firmware reserves for this device and others.
    """
    try:
        for window in _windows(device):
            _allow_window(hypervisor, domid, window, True)
        if device.line:
            hypervisor.allow_irq(domid, device.line, True)
        hypervisor.assign(domid, device.sbdf, relaxed)
    except HypervisorError as error:
        revoke_access(hypervisor, domid, device, others)
        raise HypervisorError(f"{device.sbdf} could not be given: {error}", error.code) from error


def grant_line(hypervisor: Hypervisor, domain: Domain, line: int) -> None:
    """Give a domain, and its stub domain, an interrupt line again. Granting a line twice does no harm."""
    for one in (domain, *([domain.stub] if domain.stub is not None else [])):
        hypervisor.allow_irq(one.domid, line, True)


def revoke(hypervisor: Hypervisor, domid: int, device: PciDevice, others: Collection[PciDevice]) -> list[str]:
    """Take all rights; one refusal does not keep the others. Returns what Xen refused.

    A device that no guest owns any more needs no de-assignment: an earlier try, or xl, was that far.
    """
    problems = []
    try:
        hypervisor.deassign(domid, device.sbdf)
    except HypervisorError as error:
        if hypervisor.owner(device.sbdf) is not XenOwner.HOST:
            problems.append(str(error))
    return problems + revoke_access(hypervisor, domid, device, others)


def revoke_access(hypervisor: Hypervisor, domid: int, device: PciDevice, others: Collection[PciDevice]) -> list[str]:
    """Take windows and interrupt only, whichever domain owns the device. Returns what Xen refused."""
    refused = []
    kept = frozenset(frame for other in others for window in _windows(other) for frame in _ends(window))
    for window in _windows(device):
        try:
            _allow_window(hypervisor, domid, window, False, kept)
        except HypervisorError as error:
            refused.append(error)
    if device.line and device.line not in {other.line for other in others}:
        try:
            hypervisor.allow_irq(domid, device.line, False)
        except HypervisorError as error:
            refused.append(error)
    # A domain that died meanwhile has lost them.
    return [f"{error} (of {device.sbdf})" for error in refused if error.code != errno.ESRCH]


def _windows(device: PciDevice) -> Iterator[Resource]:
    return (window for window in device.resources[:_WINDOWS] if window.start)


def _ends(window: Resource) -> tuple[int, ...]:
    """Return the frames of its first and last byte: a window may be smaller than a frame. Those between are its own."""
    return () if window.is_io_ports else (window.start >> _PAGE_SHIFT, window.end >> _PAGE_SHIFT)


def _allow_window(
    hypervisor: Hypervisor, domid: int, window: Resource, allow: bool, kept: Collection[int] = ()
) -> None:
    if window.is_io_ports:
        hypervisor.allow_ioports(domid, window.start, window.size, allow)
        return
    first, last = _ends(window)
    if first in kept:
        first += 1
    if last in kept:
        last -= 1
    if first <= last:
        hypervisor.allow_iomem(domid, first, last - first + 1, allow)
