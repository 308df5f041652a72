# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a device needs of its guest or of the host so that it works there, beyond what all devices need."""

from __future__ import annotations

from collections.abc import Iterator

from ..model.device import PciDevice
from ..model.domain import Domain, DomainKind
from ..model.host import Host
from ..values.address import Sbdf
from ..values.refusal import Refusal
from ..values.words import listed

#: Where QEMU takes every device for Intel's integrated GPU (xen_pt_realize in hw/xen/xen_pt.c).
_IGD = Sbdf(0, 0, 2, 0)
_DISPLAY = "03"
#: Flag of a window that is a ROM (IORESOURCE_READONLY in Linux' include/linux/ioport.h).
_READ_ONLY = 0x4000


def needs_of(device: PciDevice) -> list[str]:
    """Say in sentences what the device needs in an HVM guest beyond what all devices need; nothing in a PV guest."""
    found = []
    if device.sbdf == _IGD:
        found.append('An HVM guest can have it only from its creation on, with gfx_passthru="igd".')
    if device.class_code.startswith(_DISPLAY) and not _has_rom(device):
        found.append(
            "It is a display without a ROM; a driver that needs its video BIOS does not start in an HVM guest."
        )
    return found


def against_guest(domain: Domain, device: PciDevice) -> list[Refusal]:
    """Refuse a device that the guest's device model takes only when the guest is created."""
    if domain.kind is not DomainKind.HVM or device.sbdf != _IGD:
        return []
    reason = (
        f"{device.sbdf} (for {domain.name}) is where Intel's integrated GPUs are; the device model of an HVM guest"
        " takes a device from there only at the guest's creation"
    )
    advice = (
        f'set gfx_passthru="igd" and pci=["{device.sbdf}"] in its configuration, then destroy and create it; a PV guest'
        " can take the device while it runs"
    )
    return [Refusal("integrated-gpu", str(device.sbdf), reason, advice)]


def doubts_about(host: Host, domain: Domain, device: PciDevice) -> Iterator[str]:
    """Yield what may keep a device from working in the guest although it is attached: sentences without full stops."""
    if device.physfn is not None:
        yield from _of_link(host, device, device.physfn)
    if domain.kind is DomainKind.HVM and device.class_code.startswith(_DISPLAY) and not _has_rom(device):
        yield (
            f"{device.sbdf} (for {domain.name}) is a display without a ROM that the guest could read, as many"
            " integrated GPUs are; a driver that needs its video BIOS does not start there"
        )


def _has_rom(device: PciDevice) -> bool:
    return any(window.flags & _READ_ONLY and not window.is_io_ports for window in device.resources)


def _of_link(host: Host, device: PciDevice, physical: Sbdf) -> Iterator[str]:
    """Check that a virtual function has a link: a network card's has one only while the physical one is up."""
    owner = host.devices.get(physical)
    what = f"{device.sbdf} is a virtual function of {physical}"
    if owner is None or not device.is_network_card:
        return
    if not owner.net:
        holder = f"is bound to {owner.driver}" if owner.driver else "has no driver"
        yield f"{what}, which {holder} and has no network interface, so it may have no link; give it to its own driver"
    elif not any(interface.is_up for interface in owner.net):
        names = listed(interface.name for interface in owner.net)
        yield f"{what}, whose interface {names} is down, so it has no link in the guest; set {names} up (ip link set)"
    function = host.functions.get(physical)
    settings = function.settings.get(device.vf_index if device.vf_index is not None else -1) if function else None
    if settings is not None and settings.link_state == "disable":
        yield (
            f"{what}, which has its link switched off (link state disable), so it has no link in the guest; set it to"
            " auto (ip link set ... vf ... state auto)"
        )
