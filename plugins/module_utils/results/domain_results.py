# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of domain_devices: changes, diff and domains, in check mode and after a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from ..model.evidence import Evidence
from ..plan.domain_plan import DomainPlan, DomainsPlan
from ..plan.file_plan import FileChange, devices_in
from ..plan.names import Resolution
from ..values.address import Sbdf
from .common import change, file_diff
from .device_labels import DeviceLabels
from .domain_report import DomainReport


def planned_actions(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    """List what a run does, a line for each change."""
    return [f"{planned['subject']}: {planned['action']} {planned['device']}" for planned in changes]


def planned_changes(labels: DeviceLabels, plan: DomainsPlan, files: Sequence[FileChange]) -> list[dict[str, Any]]:
    """List what a run does, as data."""
    changes = [
        change(step.domain.name, device, action, labels.name(device))
        for step in plan.domains
        for action, devices in (("remove", step.remove), ("add", step.add), ("unlist", step.unlisted))
        for device in devices
    ]
    return changes + [change(file.want.name, file.path, "write") for file in files if file.changed]


def names_result(resolution: Resolution) -> dict[str, list[str]]:
    """List which names of the declaration are at another address now, and which are missing."""
    return {"moved": [str(move) for move in resolution.moved], "missing": list(resolution.missing)}


def planned_domain_result(step: DomainPlan) -> dict[str, Any]:
    """Describe a domain in the result of check mode."""
    return {
        "name": step.domain.name,
        "domid": step.domain.domid,
        "running": True,
        "before": _addresses(step.domain.devices),
        "after": _addresses(step.after),
        "deferred": _addresses(step.deferred),
    }


def halted_results(files: Sequence[FileChange], skipped: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Describe the domains that do not run: their devices are those of their files; of `skipped` none are known."""
    halted = [
        {
            "name": file.want.name,
            "domid": None,
            "running": False,
            "before": _addresses(devices_in(file.before)),
            "after": _addresses(devices_in(file.after)),
            "error": "",
            **config_file_result(file.want.name, files),
        }
        for file in files
        if not file.running
    ]
    nothing: dict[str, Any] = {"domid": None, "running": False, "before": [], "after": [], "error": "", "skipped": True}
    return halted + [{"name": name, **nothing} for name in skipped]


def domain_result(labels: DeviceLabels, report: DomainReport, with_timeline: bool = False) -> dict[str, Any]:
    """Describe a domain in the result of a run; its timeline is longer than all else."""
    timeline = [{"seconds": moment.seconds, "node": moment.node, "value": moment.value} for moment in report.timeline]
    return {
        "name": report.name,
        "domid": report.domid,
        "running": True,
        "before": _addresses(report.before),
        "after": _addresses(report.after),
        "deferred": _addresses(report.deferred),
        "backend_state": str(report.backend_state),
        "frontend_state": str(report.frontend_state),
        "devices": [
            {**_evidence(evidence), "name": labels.name(evidence.device)}
            for evidence in sorted(report.evidence, key=attrgetter("device"))
        ],
        "cycles": [
            {"added": _addresses(cycle.added), "removed": _addresses(cycle.removed), "seconds": cycle.seconds}
            for cycle in report.cycles
        ],
        **({"timeline": timeline} if with_timeline else {}),
        "warnings": list(report.warnings),
        "error": report.error,
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {
        "address": str(evidence.device),
        "guest_address": str(evidence.guest_address or ""),
        "sub_state": int(evidence.sub_state or 0),
        "converged": "none" if not evidence.connected else "active" if evidence.active else "connected",
    }


def config_file_result(name: str, files: Sequence[FileChange]) -> dict[str, Any]:
    """Describe what was done with a domain's file, if it has one, and its error, if there was one."""
    for file in files:
        if file.want.name == name:
            config: dict[str, Any] = {"path": file.path, "changed": file.changed}
            if file.backup_file is not None:
                config["backup_file"] = file.backup_file
            return {"config": config, "error": file.error} if file.error else {"config": config}
    return {}


def config_file_diffs(files: Sequence[FileChange]) -> list[dict[str, Any]]:
    """Make the parts of Ansible's diff for the files of domains."""
    return [file_diff(file.path, _printable(file.before), _printable(file.after)) for file in files if file.changed]


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _addresses(devices: Iterable[Sbdf]) -> list[str]:
    """List addresses in their order, since the order in a connection is that in which devices came."""
    return [str(device) for device in sorted(devices)]
