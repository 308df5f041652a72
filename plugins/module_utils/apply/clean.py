# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a device is as our own last release has left it: reset, and used by no guest and no driver since.

A release that has reset a device, and had an answer from it, notes a proof in xenstore before it takes the marker away.
The note goes with the next marker. It counts only if what is seen then is the same as at the release; whatever cannot
be excluded, such as a use by another toolstack in between, means one more reset.
"""

from __future__ import annotations

from ..host.access import HostAccess
from ..host.sysfs import SysfsError
from ..model.device import PCIBACK, XenOwner
from ..model.domain import Domain
from ..values.address import Sbdf


def proof_of(access: HostAccess, domain: Domain, device: Sbdf) -> str:
    """Return a text that is another one after any use of the device, empty where a use might not show or goes on.

    A driver that takes a device, or takes it once more, gets a new link in sysfs. A use by a guest passes through the
    toolstack, or through a run of ours, which removes the note. `domain` is the one that had it or is to get it.
    """
    binding, trace = access.sysfs.binding(device), access.toolstack.trace(domain)
    return f"{binding} {trace}" if binding and trace and _is_idle(access, device) else ""


def is_clean(access: HostAccess, domain: Domain, device: Sbdf, noted: str | None) -> bool:
    """Whether what was noted still holds, and nothing that can be seen says otherwise. The device must be marked."""
    return bool(noted) and noted == proof_of(access, domain, device)


def _is_idle(access: HostAccess, device: Sbdf) -> bool:
    """Whether pciback holds the device for no guest, and it answers with nothing switched on in it."""
    sysfs = access.sysfs
    try:
        quiet = sysfs.answers(device) and not sysfs.config_flags(device).driver_is_active
    except SysfsError:
        return False
    return quiet and sysfs.driver_of(device) == PCIBACK and access.hypervisor.owner(device) is XenOwner.HOST
