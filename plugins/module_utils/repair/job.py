# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recipe gets to know: the finding to repair, the host it was found on, and until when."""

from __future__ import annotations

from dataclasses import dataclass

from ..apply.loop import Clock
from ..faults.finding import Finding
from ..faults.recipes import Recipe
from ..host.access import HostAccess
from ..model.device import PciDevice
from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf


@dataclass(frozen=True)
class RepairJob:
    """One finding to repair."""

    access: HostAccess
    #: The host as it was observed before this pass.
    host: Host
    finding: Finding
    #: When it must be over.
    clock: Clock

    @property
    def token(self) -> str:
        """The name of its flow and of the watches on its domain's connection."""
        return f"xen.pci-repair-{self.domid}"

    @property
    def recipe(self) -> Recipe:
        """The recipe of its fault."""
        return self.finding.required_recipe

    @property
    def devices(self) -> tuple[Sbdf, ...]:
        """The devices that the finding is about."""
        return self.finding.devices

    @property
    def domid(self) -> int:
        """The domid that the finding is about."""
        return self.finding.required_domid

    @property
    def domain(self) -> Domain:
        """The domain that the finding is about; without a name if it does not exist."""
        return self.host.domains.get(self.domid) or Domain(self.domid, "")

    def others_of(self, domid: int, device: Sbdf) -> list[PciDevice]:
        """All devices of a domain but this one."""
        domain = self.host.domains.get(domid)
        others = domain.devices if domain is not None else ()
        return [self.host.devices[sbdf] for sbdf in others if sbdf != device and sbdf in self.host.devices]
