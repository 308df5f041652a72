# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all modules return alike: refusals, changes, waivers, diffs, and how a failure is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..plan.safety import Waived
from ..values.errors import XenPciError
from ..values.refusal import Refusal, Refused, shown


def failure(error: XenPciError) -> dict[str, Any]:
    """What a module returns that fails by this error; what an error knows of its consequences is in it."""
    if isinstance(error, Refused):
        return refusal_result(error.refusals)
    return {"msg": str(error), "changed": bool(getattr(error, "left", ()))}


def refusal_result(refusals: Sequence[Refusal], lead: str = "Nothing was changed") -> dict[str, Any]:
    """What a module returns that refuses its task; `lead` says what became of the host."""
    return {
        "msg": shown(refusals, lead),
        "refusals": [refusal.as_result() for refusal in refusals],
        "changed": False,
        "actions": [],
        "changes": [],
    }


def change(subject: object, device: object, action: str) -> dict[str, str]:
    """One change: who or what it concerns, the device (or file), and what is done with it."""
    return {"subject": str(subject), "device": str(device), "action": action}


def waiver_result(waived: Waived) -> dict[str, str]:
    """A refusal that the user has waived."""
    refusal = waived.refusal
    return {
        "address": refusal.subject,
        "check": refusal.code,
        "reason": f"{refusal.reason}.",
        "waiver": waived.why,
    }


def diff_of(before: Any, after: Any) -> dict[str, Any]:
    """One part of Ansible's diff."""
    return {"before": before, "after": after}


def file_diff(path: str, before: str, after: str) -> dict[str, Any]:
    """The part of Ansible's diff for one file."""
    return {"before_header": path, "after_header": path, **diff_of(before, after)}
