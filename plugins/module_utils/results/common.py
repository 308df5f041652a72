# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a result that all modules return in the same form: refusals, changes, waivers, diffs, failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..plan.safety import Waived
from ..values.catalog import address_of
from ..values.errors import XenPciError
from ..values.refusal import Refusal, Refused, shown
from .device_labels import DeviceLabels


def failure(error: XenPciError) -> dict[str, Any]:
    """Return what a module returns that fails with this error; `changed` if the error says that something was."""
    if isinstance(error, Refused):
        return refusal_result(error.refusals)
    return {"msg": f"{error}.", "changed": error.changed}


def refusal_result(
    refusals: Sequence[Refusal], lead: str = "Nothing was changed", labels: DeviceLabels | None = None
) -> dict[str, Any]:
    """Return what a module returns that refuses its task; `lead` says what was changed.

    With `labels`, the message has the names of devices before their addresses.
    """
    message = shown(refusals, lead)
    return {
        "msg": message if labels is None else labels.named(message),
        "refusals": [{**refusal.as_result(), "name": _name_of(refusal.subject, labels)} for refusal in refusals],
        "changed": False,
        "actions": [],
        "changes": [],
    }


def _name_of(subject: str, labels: DeviceLabels | None) -> str | None:
    address = address_of(subject)
    return labels.name(address) if labels is not None and address is not None else None


def change(subject: object, device: object, action: str, name: str | None = None) -> dict[str, Any]:
    """Describe one change: what it concerns, the device (or file) and its name, and what is done with it."""
    return {"subject": str(subject), "device": str(device), "name": name, "action": action}


def waiver_result(labels: DeviceLabels, waived: Waived) -> dict[str, str | None]:
    """Describe a refusal that the user has waived."""
    refusal = waived.refusal
    return {
        "address": refusal.subject,
        "name": _name_of(refusal.subject, labels),
        "check": refusal.code,
        "reason": f"{refusal.reason}.",
        "waiver": waived.why,
    }


def file_diff(path: str, before: str, after: str) -> dict[str, Any]:
    """Make the part of Ansible's diff for one file."""
    return {"before_header": path, "after_header": path, "before": before, "after": after}
