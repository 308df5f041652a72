# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One fault of one connection or device of a host, as data and in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..model.domain import Domain
from ..values.address import Sbdf
from ..values.words import listed
from .recipes import Recipe, RecipeKind
from .table import Fault, RepairedBy


@dataclass(frozen=True)
class Finding:
    """A fault of a host: which one, where it is, and what shows it."""

    fault: Fault
    #: What was seen that shows it: words without a full stop.
    evidence: str
    #: The domain that it is about, None if it is about the host.
    domid: int | None = None
    #: The name of that domain, empty if it has none or does not live.
    domain: str = ""
    devices: tuple[Sbdf, ...] = ()
    #: The number of the guest whose device model runs in that domain, if it is a stub domain.
    serves: int | None = None
    #: Devices that the guest uses and that the recipe would take from it.
    costs: tuple[Sbdf, ...] = ()

    @property
    def repaired_by(self) -> RepairedBy:
        """Which run repairs it: what costs a guest a device in use, only one that is asked for that."""
        if self.fault.recipe is not self.recipe:
            return RepairedBy.PERSON
        return RepairedBy.NAMED_REPAIR if self.costs else self.fault.repaired_by

    @property
    def advice(self) -> str:
        """What to do next, without the last full stop."""
        if self.fault.recipe is not self.recipe:
            return "Restart the guest: which device of the host it is, nothing says"
        if not self.costs:
            return self.fault.advice
        return (
            f"A repair would take {listed(self.costs)} from {where(self)}, which uses "
            f"{'it' if len(self.costs) == 1 else 'them'}, so it is done only if this fault is named in the option "
            "faults of xen.pci.repair. A restart of the guest ends it as well"
        )

    @property
    def recipe(self) -> Recipe | None:
        """What repairs it, None if nothing is known to: a device model is asked for one of the host's devices."""
        recipe = self.fault.recipe
        nameless = recipe is not None and recipe.kind is RecipeKind.DEVICE_MODEL and not self.devices
        return None if nameless else recipe

    @property
    def required_recipe(self) -> Recipe:
        """The recipe of a fault that has one; ValueError for one that has none."""
        recipe = self.recipe
        if recipe is None:
            raise ValueError(f"no recipe repairs {self.fault.code}")
        return recipe

    @property
    def required_domid(self) -> int:
        """The domid of a finding about a domain; ValueError for one about the host."""
        if self.domid is None:
            raise ValueError(f"{self.fault.code} is about no domain")
        return self.domid

    @property
    def key(self) -> tuple[Fault, int | None, tuple[Sbdf, ...]]:
        """What distinguishes it from all others, whatever shows it: one half repaired shows by something else."""
        return self.fault, self.domid, self.devices


def of(domain: Domain, fault: Fault, evidence: str, devices: Iterable[Sbdf] = ()) -> Finding:
    """Make a finding about a domain."""
    return Finding(fault, evidence, domain.domid, domain.name, tuple(devices))


def where(finding: Finding) -> str:
    """Name the domain that it is about, or the host."""
    return finding.domain or (f"domain {finding.domid}" if finding.domid is not None else "host")


def title(finding: Finding) -> str:
    """Where it is and its code, such as `web01: silent_guest (0000:03:00.0)`."""
    devices = f" ({listed(finding.devices)})" if finding.devices else ""
    return f"{where(finding)}: {finding.fault.code}{devices}"


def in_words(finding: Finding) -> str:
    """Give the title, and what is done about it, by a recipe or by a person."""
    cost = f" (which takes {listed(finding.costs)} from {where(finding)})" if finding.costs else ""
    return f"{title(finding)}: {finding.recipe.text if finding.recipe else finding.advice}{cost}"
