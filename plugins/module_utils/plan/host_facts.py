# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of each domain and of the host as a whole, as plain data for users."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ..model.connection import PciConnection
from ..model.device_model import DeviceModel
from ..model.domain import Domain
from ..model.host import Host
from ..model.management import Management
from ..model.xen import Xen
from ..values.device_options import DeviceOptions
from ..values.plain import plain
from .readiness import readiness, reasons_against

Facts = dict[str, Any]
#: Facts of the next boot that are about single devices, so they are among the facts of those.
_OF_DEVICES = ("modules",)


def domain_facts(domain: Domain, xen: Xen) -> Facts:
    """Return the facts of one domain: how it was created, whether it can take devices, and its connection."""
    against, model = reasons_against(domain, xen), domain.device_model
    return {
        "domid": domain.domid,
        "name": domain.name,
        "uuid": domain.uuid,
        "manager": domain.manager.value,
        "kind": domain.kind.value,
        "passthrough": domain.creation.passthrough,
        "e820_host": domain.creation.e820_host,
        "memory": domain.creation.memory,
        "maximum_memory": domain.creation.maximum,
        "uses_iommu": domain.uses_iommu,
        "hotplug_ready": readiness(against).value,
        "hotplug_reasons": [
            {
                "reason": f"{reason.text}.",
                "advice": reason.advice,
                "verdict": reason.verdict.value,
                "config": list(reason.lines),
            }
            for reason in against
        ],
        "stored_name": domain.stored_name,
        "configured": None if domain.configured is None else [str(sbdf) for sbdf in domain.configured],
        "config_problem": domain.config_problem,
        "configured_options": {
            str(sbdf): options_fact(options) for sbdf, options in sorted(domain.configured_options.items())
        },
        "device_model": None if model is None else _device_model(model),
        "stub_domid": None if domain.stub is None else domain.stub.domid,
        "serves": domain.serves,
        "frontend_alone": domain.frontend_alone,
        "to_come_back": [str(sbdf) for sbdf in domain.to_come_back],
        **connection_facts(domain.own_connection),
    }


def connection_facts(connection: PciConnection | None) -> Facts:
    """Return the facts of a PCI connection; empty ones if there is none."""
    if connection is None:
        nothing: Facts = {"backend_state": None, "frontend_state": None, "online": None, "error": "", "aer_state": ""}
        return {**nothing, "connection_problems": [], "devices": []}
    return {
        "backend_state": str(connection.state),
        "frontend_state": str(connection.frontend_state),
        "online": connection.online,
        "error": connection.error,
        "aer_state": connection.aer_state,
        "connection_problems": connection.problems(),
        "devices": [
            {
                "address": _text(entry.device),
                "guest_address": _text(entry.guest_address),
                "state": entry.state.name.lower() if entry.state is not None else None,
                "options": options_fact(entry.options),
            }
            for entry in connection.entries
        ],
    }


def options_fact(options: DeviceOptions) -> Facts:
    """Return the options of a device, None for those that are not known."""
    slot = None if options.vslot is None else f"{options.vslot:x}"
    return {**{option.name: getattr(options, option.name) for option in fields(options)}, "vslot": slot}


def host_facts(host: Host) -> Facts:
    """Return the facts of the host that belong to no single device and no running domain."""
    boot = {} if host.boot is None else plain(host.boot)
    return {
        "kernel": "{}.{}".format(*host.kernel),
        "xen": plain(host.xen),
        "drivers": sorted(host.drivers),
        "permissive_for_all": host.permissive_for_all,
        "network": plain(host.network),
        "markers": plain(host.markers),
        "unreadable_markers": plain(host.unreadable_markers),
        "manager": host.management.manager.value,
        "manager_evidence": host.management.evidence,
        "libvirt": _libvirt(host.management),
        "dying": sorted(host.dying),
        "stale_names": [{"domid": domid, "name": name} for domid, name in sorted(host.stale_names.items())],
        "kept_holds": plain(host.kept_holds),
        "orphaned_connections": [
            {"domid": domid, **connection_facts(connection)}
            for domid, connection in sorted(host.orphaned_connections.items())
        ],
        "gone_devices": [
            {
                "address": str(sbdf),
                "pciback_slots": gone.pciback_slots,
                "noted_name": gone.note.name,
                "noted_domain": gone.note.guest,
                "noted_nvme_serial": gone.note.identity.nvme_serial,
                "noted_macs": list(gone.note.identity.macs),
            }
            for sbdf, gone in sorted(host.gone.items())
        ],
        "kernel_connections": sorted(host.kernel_connections),
        "kernel_errors": [{"domid": domid, "error": error} for domid, error in sorted(host.kernel_errors.items())],
        "boot": {name: value for name, value in boot.items() if name not in _OF_DEVICES},
    }


def _libvirt(management: Management) -> Facts:
    return {
        "claims": [
            {**plain(claim), "device": _text(claim.device), "interface": claim.interface or None}
            for claim in management.claims
        ],
        "defined": sorted(management.defined),
        "running": sorted(management.running),
        "unreadable": list(management.unreadable),
    }


def _device_model(model: DeviceModel) -> Facts:
    return {
        "answers": model.plugged is not None,
        "problem": model.problem,
        "free_slots": model.free_slots,
        "devices": [
            {"name": name, "guest_address": str(plugged.address), "enabled": plugged.enabled}
            for name, plugged in sorted((model.plugged or {}).items())
        ],
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
