# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which faults stand against a plan: with them, what the plan calls done would not be so. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ..faults.diagnose import Finding, title
from ..faults.table import Fault
from .domain_plan import Plan

#: Told beside the result, or harmless to whoever has the device.
_HARMLESS = (Fault.AER_FAILURE, Fault.LEAKED_HOLD, Fault.UNQUARANTINED)
#: What a cycle looks like while it goes on: its end is waited for.
_MAY_PASS = (Fault.SILENT_GUEST, Fault.LOST_EVENT, Fault.UNANSWERED_CLOSE)
_HOW_TO_MEND = "run xen.pci.repair, or this task with repair: first"
#: Faults of devices, not of the connection: a removal ends them as well.
_OF_DEVICES = (
    Fault.DEVICE_GONE,
    Fault.MISSING_MARKER,
    Fault.NOT_CONFIGURED,
    Fault.NOT_IN_PCIBACK,
    Fault.RIGHTS_MISSING,
    Fault.SHARED_DEVICE,
    Fault.UNEXPLAINED_OWNER,
    Fault.WRONG_MARKER,
)
#: Of these, the ones with which a cycle gets stuck, since pciback does not have what it is to take from the guest.
_END_WITH_CONNECTION = (Fault.DEVICE_GONE, Fault.NOT_IN_PCIBACK)


def is_tolerable(fault: Fault) -> bool:
    """Whether a domain's devices may be as declared in spite of it."""
    return fault.on_request or fault in _HARMLESS


def blocking_faults(findings: Iterable[Finding], plan: Plan) -> list[str]:
    """Why the plan cannot be called good while these faults are there, a sentence each."""
    standing = (
        finding
        for finding in findings
        if not is_tolerable(finding.fault) and finding.fault not in _MAY_PASS and not _ends(finding, plan)
    )
    return [
        f"{title(finding)}: {finding.advice}" + (f"; {_HOW_TO_MEND}" if finding.recipe is not None else "")
        for finding in standing
    ]


def _ends(finding: Finding, plan: Plan) -> bool:
    """Whether the plan's removals end the fault."""
    leaving = {device for step in plan.domains for device in step.remove}
    if finding.fault not in _OF_DEVICES or not finding.devices or not leaving.issuperset(finding.devices):
        return False
    goes_on = {step.domain.domid for step in plan.domains if step.after and step.domain.device_model is None}
    return finding.fault not in _END_WITH_CONNECTION or finding.domid not in goes_on
