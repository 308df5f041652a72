# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which faults a repair is asked for, and which of them it is to look at, to repair or to finish."""

from __future__ import annotations

from dataclasses import dataclass

from ..values.address import Sbdf
from .finding import Finding
from .table import Blocks, Fault, Looks, Removal, RepairedBy


@dataclass(frozen=True)
class Scope:
    """What is to be repaired: the faults of these domains and devices, or all faults if both are empty.

    Faults of a stub domain count as those of its guest. Faults of a device count in whichever domain it is.
    """

    #: By their numbers, since two domains can have one name.
    domains: frozenset[int] = frozenset()
    devices: frozenset[Sbdf] = frozenset()
    #: These faults only, and then also those that are repaired only if they are named.
    named: frozenset[Fault] = frozenset()
    #: Devices that are declared to leave their domains and that pciback does not hold, so that no cycle removes them.
    leaving: frozenset[Sbdf] = frozenset()

    @property
    def names_some(self) -> bool:
        """Whether it is limited to some domains or devices."""
        return bool(self.domains or self.devices)

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is within the domains, devices and faults asked for."""
        if self.named and finding.fault not in self.named:
            return False
        named = finding.domid in self.domains or finding.serves in self.domains
        return not self.names_some or named or not self.devices.isdisjoint(finding.devices)

    def matters(self, finding: Finding) -> bool:
        """Whether the finding is covered and must be looked into before a change.

        With such a finding, devices are not as declared, or a cycle goes on.
        """
        fault = finding.fault
        return self.covers(finding) and (fault.looks is Looks.UNDER_WAY or fault.blocks is not Blocks.NOTHING)

    def repairs(self, finding: Finding) -> bool:
        """Whether it is covered and has a recipe that may be carried out."""
        allowed = finding.repaired_by is not RepairedBy.NAMED_REPAIR or finding.fault in self.named
        return self.covers(finding) and finding.recipe is not None and allowed

    def finishes(self, finding: Finding) -> bool:
        """Whether it is covered, and a killed run of ours leaves it or its recipe does no more than was declared."""
        unfinished = finding.repaired_by is RepairedBy.ANY_RUN
        return self.covers(finding) and (unfinished or self._is_declared(finding))

    def _is_declared(self, finding: Finding) -> bool:
        """Whether its recipe removes a device as declared; pciback stops at that device, and is led past it."""
        if finding.fault is Fault.STUCK_CYCLE:
            return not self.leaving.isdisjoint(finding.devices)
        leaves = finding.recipe is not None and bool(finding.devices) and self.leaving.issuperset(finding.devices)
        return leaves and finding.fault.removal is Removal.ENDS_IT_WITH_CONNECTION
