# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what pciback keeps for an HVM guest, and so refuses to a handshake of another domain.

pciback exports the guest's first device when libxl makes the connection, and does not learn that the device leaves: it
holds it until the connection is removed with the guest's last device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf
from ..values.refusal import Refusal


def keepers_of(host: Host, devices: Iterable[Sbdf], holders: Mapping[Sbdf, Domain]) -> dict[Sbdf, Domain]:
    """Find the HVM guests for which pciback keeps devices, by the device; `holders` have some of these still."""
    found = ((device, _keeper_of(host, device, holders.get(device))) for device in sorted(devices))
    return {device: keeper for device, keeper in found if keeper is not None}


def _keeper_of(host: Host, device: Sbdf, holder: Domain | None) -> Domain | None:
    # With a stub domain, the guest has no connection of its own: the stub domain answers, and pciback lets go.
    if holder is not None and holder.device_model is not None and holder.own_connection is not None:
        entry = holder.own_connection.entry_of(device)
        if entry is not None and entry.exported:
            return holder
    return host.keeper_of(device)


def kept(device: Sbdf, keeper: Domain) -> Refusal:
    """Refuse a device that pciback keeps for a guest which does not lose all its devices."""
    reason = (
        f"{device} cannot move from {keeper.name} to a PV guest or a stub domain while {keeper.name} has other devices:"
        " pciback keeps the first device of an HVM guest until the guest has none"
    )
    advice = f"detach all devices from {keeper.name} in the same task, and attach the others again in the next"
    return Refusal("kept-by-pciback", str(device), reason, advice)
