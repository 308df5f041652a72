# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host will do at its next boot: observed from files and kernel modules, and changed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ..decisions.persistence import BootPlan, declared_by_us
from ..model.boot import BootFacts
from ..model.host import Host
from ..values.address import Sbdf
from .outside import Outside


def observe_boot(outside: Outside) -> BootFacts:
    """The next boot as it is set now. Raises BootConfigError where it cannot be read."""
    return outside.boot.facts(outside.modules.pciback(outside.sysfs.root))


def with_modules(outside: Outside, host: Host, boot: BootFacts, devices: Collection[Sbdf]) -> BootFacts:
    """The same, and what would drive these devices and those that are kept already, as far as they are there."""
    present = [host.devices[sbdf] for sbdf in {*devices, *declared_by_us(boot)} if sbdf in host.devices]
    return replace(boot, modules=outside.modules.drivers_of((one.sbdf, one.modalias) for one in present))


def apply_boot(outside: Outside, plan: BootPlan) -> None:
    """Carry the plan out. Raises BootConfigError; then everything is as before."""
    if plan.changes:
        outside.boot.apply(plan.files, plan.stages)
