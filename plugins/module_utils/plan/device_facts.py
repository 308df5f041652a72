# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of each function of a host, as plain data: what users read, and what their expressions select by."""

from __future__ import annotations

from typing import Any

from ..model.device import PciDevice, XenOwner
from ..model.host import Host
from ..values.identity import Remembered
from .assignable_plan import against

Facts = dict[str, Any]


def all_facts(host: Host) -> list[Facts]:
    """Facts of all functions in the order of their addresses; time is linear in their number."""
    holders = {sbdf: domain.name for domain in host.domains.values() for sbdf in domain.devices}
    return [
        {
            **_device(device, host.remembered.get(sbdf, Remembered())),
            **_assignment(host, device),
            "domain": holders.get(sbdf),
        }
        for sbdf, device in host.devices.items()
    ]


def _device(device: PciDevice, remembered: Remembered) -> Facts:
    """What the function is, and what the host does with it."""
    return {
        "address": str(device.sbdf),
        "path": device.path,
        "slot": device.slot,
        "label": device.label,
        "vendor": device.vendor,
        "device": device.device,
        "subsystem_vendor": device.subsystem_vendor,
        "subsystem_device": device.subsystem_device,
        "class": device.class_code,
        "revision": device.revision,
        "driver": device.driver,
        "numa_node": device.numa_node,
        "serial": device.serial,
        "nvme_serial": device.nvme_serial or remembered.nvme_serial,
        "macs": [interface.mac for interface in device.net] or list(remembered.macs),
        "remembered": remembered.earlier_boot,
        "is_bridge": device.is_bridge,
        "reset_methods": list(device.reset_methods),
        "message_interrupts": device.message_interrupts,
        "acs": device.acs.value,
        "reserved_memory": [str(region) for region in device.reserved_memory],
        "answers": device.answers,
        "physfn": _text(device.physfn),
        "vf_index": device.vf_index,
        "virtfns": [str(function) for function in device.virtfns],
        "sriov_totalvfs": device.sriov_totalvfs,
        "disks": [{"name": disk.name, "used_by": list(disk.used_by)} for disk in device.block],
        "interfaces": [
            {"name": interface.name, "mac": interface.mac, "up": interface.is_up, "upper": list(interface.upper)}
            for interface in device.net
        ],
    }


def _assignment(host: Host, device: PciDevice) -> Facts:
    """Where the function stands between the host and its domains."""
    sbdf = device.sbdf
    verdict = None if device.in_pciback else against(host, sbdf)
    refusals = verdict.refusals if verdict is not None else ()
    return {
        "assignable": device.in_pciback,
        "free": sbdf not in host.holders and not refusals and device.answers,
        "refusals": [
            {"check": one.check.value, "reason": f"{one.reason}.", "waivable": one.waivable} for one in refusals
        ],
        "quarantined": device.in_pciback and sbdf in host.quarantined,
        "permissive": device.permissive,
        "in_slots": None if device.pciback_slots is None else device.pciback_slots > 0,
        "recorded_driver": host.driver_paths.get(sbdf, "").rpartition("/")[2] or None,
        "xen_owner": host.xen_owners.get(sbdf, XenOwner.UNKNOWN).value,
        "marked_domid": host.markers.get(sbdf),
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
