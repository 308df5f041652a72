# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of each function of a host, as plain data that users read and that their expressions select by."""

from __future__ import annotations

from typing import Any

from ..model.device import PciDevice, XenOwner
from ..model.host import Host
from ..model.notes import Note
from ..model.usage import OtherUse
from ..values.identity import Remembered
from .assignable_plan import verdict_on
from .cards import companions
from .device_needs import needs_of

Facts = dict[str, Any]


def all_facts(host: Host) -> list[Facts]:
    """List the facts of all functions in the order of their addresses, in time linear in their number."""
    holders = {sbdf: domain.called for domain in host.domains.values() for sbdf in domain.devices}
    return [
        {
            **_identity(device, host.remembered.get(sbdf, Remembered())),
            **_hardware(device),
            **_uses(device, host.uses.get(sbdf, OtherUse())),
            **_assignment(host, device),
            **_notes(host.notes.get(sbdf, Note())),
            "companions": [str(other) for other in companions(host.devices, sbdf)],
            "pf_up": _physical_is_up(host, device),
            "hvm_needs": needs_of(device),
            "domain": holders.get(sbdf),
            "libvirt": sorted({claim.owner for claim in host.claims_on(sbdf)}),
        }
        for sbdf, device in host.devices.items()
    ]


def _identity(device: PciDevice, remembered: Remembered) -> Facts:
    """Return the facts that say which function it is, and where it sits."""
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
        "modalias": device.modalias,
        "numa_node": device.numa_node,
        "serial": device.serial,
        "nvme_serial": device.nvme_serial or remembered.nvme_serial,
        "macs": [interface.mac for interface in device.net] or list(remembered.macs),
        "remembered": remembered.earlier_boot,
    }


def _hardware(device: PciDevice) -> Facts:
    """Return the facts that say what the function can do, and what it is connected to."""
    sharers = {user for region in device.reserved_memory for user in region.others_than(device.path)}
    return {
        "is_bridge": device.is_bridge,
        "header_type": device.header_type,
        "port_type": device.port_type,
        "parent": _text(device.parent),
        "behind": _text(device.behind),
        "children": [str(function) for function in device.children],
        "answers": device.answers,
        "config": {
            "memory": device.config.memory,
            "bus_master": device.config.bus_master,
            "msi": device.config.msi,
            "msix": device.config.msix,
        },
        "resources": [
            {"kind": "ports" if window.is_io_ports else "memory", "first": window.start, "last": window.end}
            for window in device.resources
        ],
        "irq": device.irq,
        "interrupt_pin": device.interrupt_pin,
        "message_interrupts": device.message_interrupts,
        "reset_methods": list(device.reset_methods),
        "acs": device.acs.value,
        "reserved_memory": [str(region) for region in device.reserved_memory],
        "reserved_memory_shared_with": sorted(sharers),
        "physfn": _text(device.physfn),
        "vf_index": device.vf_index,
        "virtfns_probed": device.virtfns_probed,
        "virtfns": [str(function) for function in device.virtfns],
        "sriov_totalvfs": device.sriov_totalvfs,
    }


def _physical_is_up(host: Host, device: PciDevice) -> bool | None:
    """Say whether an interface of a virtual function's physical one is up; None of all others, or if it has none."""
    physical = host.devices.get(device.physfn) if device.physfn is not None else None
    return any(interface.is_up for interface in physical.net) if physical is not None and physical.net else None


def _uses(device: PciDevice, other: OtherUse) -> Facts:
    """Return the facts that say what the host does with the function."""
    return {
        "driver": device.driver,
        "driver_override": device.driver_override,
        "disks": [{"name": disk.name, "used_by": list(disk.used_by)} for disk in device.block],
        "interfaces": [
            {
                "name": interface.name,
                "mac": interface.mac,
                "up": interface.is_up,
                "promiscuous": interface.promiscuous,
                "upper": list(interface.upper),
            }
            for interface in device.net
        ],
        "interface_elsewhere": device.interface_elsewhere,
        "consoles": list(device.consoles),
        "inputs": list(other.inputs),
        "peripherals": [*other.peripherals, *other.thunderbolt],
        "data": list(other.data),
        "processes": list(other.processes),
    }


def _notes(note: Note) -> Facts:
    """Return what earlier runs have noted of the function while pciback holds it."""
    return {
        "noted_name": note.name,
        "noted_domain": note.guest,
        "noted_domid": note.given_to,
        "noted_line": note.given_line,
        "noted_waivers": dict(note.reasons),
    }


def _assignment(host: Host, device: PciDevice) -> Facts:
    """Return the facts that say who has the function, and whether it can be given away."""
    sbdf = device.sbdf
    refusals = verdict_on(host, sbdf).refusals
    return {
        "assignable": device.in_pciback and not refusals,
        "free": sbdf not in host.holders and not refusals and device.answers,
        "refusals": [
            {
                "check": refusal.code,
                "reason": f"{refusal.reason}.",
                "advice": refusal.advice,
                "waivable": refusal.waivable,
            }
            for refusal in refusals
        ],
        "quarantined": device.in_pciback and sbdf in host.quarantined,
        "permissive": device.permissive,
        "lost_hold": device.lost_hold,
        "hanging_write": device.hanging_write,
        "pciback_slots": device.pciback_slots,
        "in_slots": None if device.pciback_slots is None else device.pciback_slots > 0,
        "recorded_driver": host.driver_paths.get(sbdf, "").rpartition("/")[2] or None,
        "xen_owner": host.xen_owners.get(sbdf, XenOwner.UNKNOWN).value,
        "marked_domid": host.markers.get(sbdf),
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
