# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was observed of an attached device after a run, as data, and how far it must have come."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..values.address import GuestAddress, Sbdf
from ..values.states import SubState


class ConvergeLevel(Enum):
    """How far a device must have come before a run calls it done."""

    CONNECTED = "connected"
    ACTIVE = "active"


@dataclass(frozen=True)
class Evidence:
    """What was observed of one attached device, after the run.

    `active`: a driver in the guest has enabled the device (seen in its configuration space; of an HVM guest, in what
    its device model says). `by_device_model`: that one gives it to the guest, and pciback's sub-state means nothing.
    `in_pciback` false: it has left the host, or was unbound.
    """

    device: Sbdf
    guest_address: GuestAddress | None
    sub_state: SubState | None
    owned_by_guest: bool
    active: bool
    by_device_model: bool = False
    in_pciback: bool = True

    @property
    def connected(self) -> bool:
        """pciback has it, and has exported it, or the device model has plugged it in; at a known address; and a guest
        owns it in Xen, which says so of a device that is gone, too.
        """
        exported = self.in_pciback and (self.by_device_model or self.sub_state is SubState.EXPORTED)
        return exported and self.guest_address is not None and self.owned_by_guest
