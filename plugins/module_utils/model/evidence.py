# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was observed of an attached device after a run, as data, and how much must be observed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..values.address import GuestAddress, Sbdf
from ..values.states import SubState


class ConvergeLevel(Enum):
    """How much must be observed of a device before a run succeeds."""

    CONNECTED = "connected"
    ACTIVE = "active"


@dataclass(frozen=True)
class Evidence:
    """What was observed of one attached device, after the run.

    `active`: a driver in the guest has enabled the device (seen in its configuration space; of an HVM guest, in what
    its device model says). `by_device_model`: the device model gives it to the guest, and pciback's sub-state means
    nothing. `in_pciback` is false if it has left the host or was unbound.
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
        """Whether the guest has the device, as far as the host can see.

        pciback holds it and has exported it, or the device model has plugged it in. Its address in the guest is known.
        Xen says that a guest owns it, which Xen also says of a device that is gone.
        """
        exported = self.in_pciback and (self.by_device_model or self.sub_state is SubState.EXPORTED)
        return exported and self.guest_address is not None and self.owned_by_guest
