# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the settings that pciback reads at the next boot, as sentences; and what was wrong at this one."""

from __future__ import annotations

from collections.abc import Iterator

from ..model.boot_facts import BootFacts, hidden_by
from ..model.device import PciDevice
from ..model.host import Host
from .safety import against_kind


def boot_problems(host: Host) -> list[str]:
    """List all problems; none where the next boot was not read."""
    if host.boot is None:
        return []
    mistakes = (_mistake(host.boot, device) for device in host.devices.values() if device.belongs_to_host)
    return [*host.boot.complaints, *filter(None, mistakes)]


def _mistake(boot: BootFacts, device: PciDevice) -> str:
    """Say that pciback has, or is to get, what is never given away; empty if it is not so."""
    named = next(_entries_for(boot, device), "")
    if not (named or device.in_pciback):
        return ""
    reason = against_kind(device)[0].reason
    has = "pciback holds it" if device.in_pciback else "pciback is to take it at the next boot"
    cause = f"{named} is probably a mistake; correct it there" if named else "it was probably given to it by mistake"
    return f"{reason}, but {has}: {cause}. xen.pci.assignable_devices with state absent gives the device back."


def _entries_for(boot: BootFacts, device: PciDevice) -> Iterator[str]:
    """Yield the entries of `hide=` that name a device, with the file that each is in."""
    for settings in (boot.hide, *boot.alternatives):
        for setting in settings:
            for entry in hidden_by(setting.text):
                if entry.covers(device.sbdf):
                    yield f"{entry.text} of hide= in {setting.source}"
