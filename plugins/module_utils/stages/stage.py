# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stages of a run have in common: each is planned on one host, and then carried out or only expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..host.access import HostAccess
from ..model.host import Host
from ..plan.plan_document import Document
from ..results.device_labels import DeviceLabels
from ..results.plan_text import PlanLine, plan_diff
from ..values.refusal import Refusal


class Ending(Protocol):
    """What an outcome needs of AnsibleModule."""

    def warn(self, warning: str) -> None:
        """Show a warning."""

    def fail_json(self, msg: str, **kwargs: Any) -> None:
        """End the run as failed."""

    def exit_json(self, **kwargs: Any) -> None:
        """End the run."""


@dataclass(frozen=True)
class Outcome:
    """What a stage has done, or in check mode would do.

    `lines` and `files` are the parts of Ansible's diff, `values` its own keys of the result. `error` says what is not
    as declared; empty if all is.
    """

    changed: bool = False
    actions: Sequence[str] = ()
    changes: Sequence[Mapping[str, Any]] = ()
    lines: Sequence[PlanLine] = ()
    files: Sequence[dict[str, Any]] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    error: str = ""

    def end(self, module: Ending, **values: Any) -> None:
        """End the run of a module with this outcome and more values of the result."""
        for warning in self.warnings:
            module.warn(warning)
        result = {
            "changed": self.changed,
            "actions": list(self.actions),
            "changes": list(self.changes),
            "diff": plan_diff(self.lines, self.files),
            **self.values,
            **values,
        }
        if self.error:
            module.fail_json(msg=self.error, **result)
        module.exit_json(**result)


class Stage(Protocol):
    """One part of a host's declaration, planned. With any refusal, nothing may be done."""

    @property
    def refusals(self) -> Sequence[Refusal]:
        """All reasons for which it cannot be carried out."""

    @property
    def document(self) -> Document:
        """Its plan as data, with a fingerprint."""

    @property
    def host_after(self) -> Host:
        """The host as it is expected to be then."""

    @property
    def labels(self) -> DeviceLabels:
        """What devices are called."""

    def expect(self) -> Outcome:
        """Say what it would do."""

    def carry_out(self, access: HostAccess) -> Outcome:
        """Do it, and verify it by a second look. Raises XenPciError."""
