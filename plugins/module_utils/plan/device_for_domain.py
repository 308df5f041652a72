# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say why a domain cannot get a device: what the device is, who has it, or what does not explain itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ..model.device import PciDevice, XenOwner
from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf
from ..values.refusal import Refusal
from .device_needs import against_guest
from .safety import against_kind


def against_creation(host: Host, domain: Domain, address: Sbdf) -> list[Refusal]:
    """Refuse a device that this domain could not have from its creation either."""
    device = host.devices.get(address)
    never = unfit(domain.name, address, device)
    if never is not None:
        return [never]
    return against_guest(domain, device) if device is not None else []


def against_device(host: Host, domain: Domain, address: Sbdf, leaving: Collection[Sbdf]) -> list[Refusal]:
    """Refuse a device that this domain cannot have now; of those that are `leaving`, another domain gives it up."""
    unsuited = against_creation(host, domain, address)
    if unsuited or address in leaving:
        return unsuited
    holder = host.holder_of(address)
    if holder is not None:
        advice = (
            f"to move it, declare in the same task that {holder.called} does not have it (state: absent, or a list"
            " without it and exclusive: true)"
        )
        return [Refusal("held", str(address), f"{address} (for {domain.name}) is attached to {holder.called}", advice)]
    return _unexplained_owner(host, domain, address)


def unfit(name: str, address: Sbdf, device: PciDevice | None) -> Refusal | None:
    """Refuse a device that cannot be attached to any guest, for the domain of this name; None if it can."""
    who = f"{address} (for {name})"
    if device is None:
        return Refusal("no-such-device", str(address), f"{who} does not exist on this host", "check it with `lspci -D`")
    # What hangs is a fault that blocks every plan with the device (Fault.HANGING_WRITE).
    never = [refusal for refusal in against_kind(device) if not refusal.waivable]
    if never:
        return replace(never[0], reason=f"{who}: {never[0].reason}")
    if not device.in_pciback:
        bound = f"bound to {device.driver}" if device.driver else "bound to no driver"
        reason = f"{who} is not assignable: on the host it is {bound}, not to pciback"
        return Refusal("not-assignable", str(address), reason, "give it to xen.pci.assignable_devices first")
    if device.lost_hold:
        reason = f"{who} cannot be attached: {device.lost_hold_in_words}"
        return Refusal("lost-hold", str(address), reason, "restart dom0")
    return None


def _unexplained_owner(host: Host, domain: Domain, address: Sbdf) -> list[Refusal]:
    who = f"{address} (for {domain.name})"
    orphan = next(
        (domid for domid, connection in host.orphaned_connections.items() if address in connection.devices), None
    )
    if orphan is not None:
        reason = f"{who} is still listed in the connection of domain {orphan}, which does not exist"
        return [Refusal("orphaned-connection", str(address), reason, "run xen.pci.repair, which removes it")]
    marked = host.domains.get(host.markers.get(address, -1))
    if marked is not None and marked.domid != domain.domid:
        reason = f"{who}: libxl's marker says that {marked.called} has it, but no connection lists it"
        return [Refusal("marked", str(address), reason, "run xen.pci.repair")]
    if host.xen_owners.get(address) is XenOwner.GUEST:
        reason = f"{who}: Xen says that a guest owns it, but no domain lists it"
        return [Refusal("unexplained-owner", str(address), reason, "run xen.pci.repair")]
    return []
