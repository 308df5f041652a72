# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of guests that dom0 serves, as the toolstack wrote them into xenstore.

The kernel knows those that its own blkback serves; those that a QEMU serves (`qdisk`) nobody else tells of.
"""

from __future__ import annotations

from ..model.usage import GuestDisk
from .xenstore import XenStore

_BACKENDS = "/local/domain/0/backend"
#: By kind of backend, the words for who serves it; vbd3 is XAPI's tapdisk.
_SERVERS = {"vbd": "the kernel", "qdisk": "QEMU", "vbd3": "tapdisk"}


def disks_of_guests(store: XenStore) -> list[GuestDisk]:
    """All of them, whether a disk of the host or a file stands behind. Raises XenStoreError."""
    found = []
    for kind, server in _SERVERS.items():
        for domid in sorted(name for name in store.list(f"{_BACKENDS}/{kind}") if name.isdecimal()):
            disks = [f"{_BACKENDS}/{kind}/{domid}/{number}" for number in store.list(f"{_BACKENDS}/{kind}/{domid}")]
            names = [f"{disk}/{node}" for disk in disks for node in ("dev", "params", "physical-device")]
            name, *texts = store.read_all([f"/local/domain/{domid}/name", *names])
            for device, source, number in zip(texts[::3], texts[1::3], texts[2::3]):
                who = f"domain {name} ({domid})" if name else f"domain {domid}"
                found.append(
                    GuestDisk(int(domid), f"{device or 'a disk'} of {who}, served by {server}", source, number)
                )
    return found
