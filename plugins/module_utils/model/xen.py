# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Xen says of itself and of dom0, as data: the preconditions of all passthrough on a host."""

from __future__ import annotations

from dataclasses import dataclass

#: Why no device can be assigned, and what to do.
NO_IOMMU = "Xen runs without an IOMMU, so no device can be assigned"
ENABLE_IOMMU = (
    "enable VT-d (Intel) or AMD-Vi (AMD) in the firmware, and see that Xen's command line does not switch it off"
    " (iommu=1)"
)
#: Why no PV guest can be given an interrupt line, and what to do.
PVH_DOM0 = "dom0 is a PVH domain, and Xen has no way for it to give interrupts to PV guests"
#: Why a guest with any device is a danger to the host, and what to do.
NO_INTERRUPT_REMAPPING = (
    "Xen does not remap interrupts, so a guest can have the device raise any interrupt of the host, on any processor"
)
REMAP_INTERRUPTS = (
    "see that the firmware offers interrupt remapping (VT-d, x2APIC) and that Xen's command line does not switch it off"
    " (iommu=intremap), or waive interrupt-remapping with a reason if you trust the guest"
)
BOOT_PV_DOM0 = "boot Xen without dom0=pvh, or give the device to an HVM guest"


@dataclass(frozen=True)
class Xen:
    """What Xen can do on this host; None where it does not say."""

    #: Whether Xen uses an IOMMU (directio in `xl info`'s virt_caps). Without it, devices cannot be assigned.
    iommu: bool | None = None
    #: Whether dom0 has no interrupt lines of PV domains (pirqs) to give, because it is a PVH domain itself.
    dom0_is_pvh: bool | None = None
    #: Whether a device can raise only the interrupts that Xen gave it.
    interrupt_remapping: bool | None = None
    #: What the IOMMU lets dom0's own devices reach: passthrough (everything), relaxed (all but Xen's own memory),
    #: strict (dom0's memory only); empty if that is not known.
    dom0_iommu: str = ""
