# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load pciback where the kernel has it as a module and something is declared for it to hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..host.access import HostAccess
from ..model.boot_facts import PcibackKind
from ..model.device import PCIBACK
from ..model.host import Host
from ..plan.expected_host import with_pciback
from ..plan.plan_document import Document, plan_document
from ..results.common import change
from ..results.device_labels import DeviceLabels
from ..results.plan_text import GAINS, Part, PlanLine
from ..values.refusal import Refusal
from .stage import Outcome

_MODULE = "xen-pciback"


@dataclass(frozen=True)
class PcibackStage:
    """The plan to load the module."""

    host: Host

    @classmethod
    def needed(cls, access: HostAccess, host: Host) -> bool:
        """Whether pciback is not loaded, and can be."""
        return PCIBACK not in host.drivers and access.modules.pciback() is PcibackKind.MODULE

    @property
    def refusals(self) -> Sequence[Refusal]:
        """Nothing speaks against it."""
        return ()

    @property
    def document(self) -> Document:
        """The plan as data, with a fingerprint."""
        return plan_document("pciback", steps=[_MODULE], basis={}, changes=True)

    @property
    def host_after(self) -> Host:
        """The host with pciback loaded."""
        return with_pciback(self.host)

    @property
    def labels(self) -> DeviceLabels:
        """What devices are called."""
        return DeviceLabels(self.host)

    def expect(self) -> Outcome:
        """Say that it would be loaded."""
        return Outcome(
            changed=True,
            actions=[f"load {_MODULE}"],
            changes=[change("host", _MODULE, "load")],
            lines=[PlanLine(Part.KERNEL, "host", GAINS, _MODULE, change="module of the kernel, loaded")],
        )

    def carry_out(self, access: HostAccess) -> Outcome:
        """Load it."""
        problem = access.modules.load(_MODULE)
        if problem:
            return Outcome(error=f"pciback could not be loaded: {problem}. See dom0's kernel log, then run again.")
        return self.expect()
