# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write to the system's log what a run has changed, one line for each device."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Callable

from ..faults.finding import where
from ..host.actor import actor
from ..model.host import Host
from ..repair.outcome import RepairAttempt, Repaired
from ..values.address import Sbdf
from .domain_report import DomainReport

_POOL = "the pool"
#: Characters that end a line or control a terminal, including C1 controls and Unicode's own line ends.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def record(log: Callable[[str], None], lines: Iterable[str]) -> None:
    """Write lines to the log, each with the user who ran the task.

    A domain can have any name, and a device can say anything of itself. Control characters are written as escapes, so
    neither can add a line to the log.
    """
    who = actor()
    for line in lines:
        log(_CONTROL.sub(lambda found: repr(found[0])[1:-1], f"{line}; by {who}"))


def audit(host: Host, reports: Sequence[DomainReport]) -> Iterator[str]:
    """Yield a line for each device that moved: from where to where, and the evidence; `host` is that of before."""
    gave = {device: report.name for report in reports for device in set(report.before) - set(report.after)}
    gained = {device for report in reports for device in set(report.after) - set(report.before)}
    for report in reports:
        for device in sorted(set(report.after) - set(report.before)):
            yield f"{_who(host, device)} from {gave.get(device, _POOL)} to {report.name}: {_shown(report, device)}"
        for device in sorted(set(report.before) - set(report.after) - gained):
            yield f"{_who(host, device)} from {report.name} to {_POOL}: its connection does not list it any more"
        if report.error:
            yield f"{report.name} (domain {report.domid}) failed: {report.error}"


def audit_repair(repaired: Repaired) -> Iterator[str]:
    """Yield a line for each fault that a repair was tried on, and for each device that another domain has now."""
    before, after = repaired.before, repaired.after
    for attempt in repaired.attempts:
        found, devices = attempt.finding, ", ".join(_who(before, device) for device in attempt.finding.devices)
        what = f"{found.fault.code} of {devices}" if devices else found.fault.code
        yield f"{where(found)}: {what}: {_outcome(attempt)}; evidence: {found.evidence}"
    concerned = {device for attempt in repaired.attempts for device in attempt.finding.devices}
    for sbdf in sorted(concerned):
        holders = [domain.called if (domain := host.holder_of(sbdf)) else _POOL for host in (before, after)]
        if holders[0] != holders[1]:
            owner = after.xen_owners.get(sbdf)
            shown = f"Xen's owner is now {owner.value}" if owner is not None else "pciback does not hold it"
            yield f"{_who(before, sbdf)} from {holders[0]} to {holders[1]} by a repair: {shown}"


def _outcome(attempt: RepairAttempt) -> str:
    recipe = attempt.finding.recipe.text if attempt.finding.recipe else ""
    problem = f" ({attempt.problem})" if attempt.problem else ""
    return f"{'repaired' if attempt.repaired else 'not repaired'}{problem}: {recipe}"


def _who(host: Host, sbdf: Sbdf) -> str:
    device = host.devices.get(sbdf)
    if device is None:
        return str(sbdf)
    serial = device.serial or device.nvme_serial
    return f"{sbdf} ({device.vendor}:{device.device}{f', serial {serial}' if serial else ''})"


def _shown(report: DomainReport, sbdf: Sbdf) -> str:
    evidence = next((seen for seen in report.evidence if seen.device == sbdf), None)
    if evidence is None:
        return "no evidence"
    owner = "a guest owns it" if evidence.owned_by_guest else "no guest owns it"
    if evidence.by_device_model:
        return f"domain {report.domid}, in its device model at {evidence.guest_address}, {owner}"
    sub_state = int(evidence.sub_state or 0)
    ends = f"backend {report.backend_state}, frontend {report.frontend_state}"
    return f"domain {report.domid}, {ends}, sub-state {sub_state}, at {evidence.guest_address}, {owner}"
