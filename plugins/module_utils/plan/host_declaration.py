# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declaration of a whole host: virtual functions, what pciback holds, the devices of domains, and the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Callable

from ..model.domain import Domain
from ..model.host import Host
from ..values.catalog import Catalog
from ..values.declared_devices import assignable_names
from ..values.declared_domain import DeclaredDomain, read_domains
from ..values.refusal import Refusal
from ..values.variables import unknown_variables
from ..values.words import did_you_mean, listed, shortened
from .assignment import WantedDevices, read_wanted
from .catalog_lookup import checked_catalog
from .declaration import Declaration
from .domain_lookup import find_domain

if TYPE_CHECKING:
    from .functions import WantedFunctions

#: Parts of a declaration that a task can be limited to.
PARTS = FUNCTIONS, ASSIGNMENT, DOMAINS = "virtual_functions", "assignment", "domains"

NOTHING_DECLARED = (
    "Nothing is done on this host: no devices, no domains and no virtual functions are declared for it, and undeclared"
    " devices are not to be released."
)


@dataclass(frozen=True)
class HostDeclaration:
    """What a task declares of a host; a part is None if it is not declared, or not asked for."""

    functions: WantedFunctions | None
    devices: WantedDevices | None
    domains: Declaration | None
    #: All domains that are declared, also if the task is not to change them.
    declared: tuple[DeclaredDomain, ...] = ()
    #: Whether domains that are not declared lose their devices, too; only if undeclared devices are released.
    empties_undeclared: bool = False
    refusals: tuple[Refusal, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do, whatever host it is; a refused declaration is not empty."""
        return not (self.functions or self.devices or self.domains or self.refusals)

    @property
    def releases(self) -> bool:
        """Whether devices that nothing declares go back to the host."""
        return self.devices is not None and self.devices.exclusive

    @property
    def _empties(self) -> bool:
        return self.empties_undeclared and self.domains is not None

    def with_undeclared(self, host: Host) -> HostDeclaration:
        """Say what becomes of the devices of domains that are not declared, on this host.

        Where the task is not to change domains, all of them keep what they have.
        """
        if not self.releases or self.devices is None:
            return self
        others = undeclared_domains(host, self.declared if self.domains is not None else ())
        if self.domains is None or not self._empties:
            kept = frozenset(device for domain in others for device in domain.devices)
            return replace(self, devices=replace(self.devices, left_alone=kept))
        emptied = (DeclaredDomain(domain.name, exclusive=True, uuid=domain.uuid, emptied=True) for domain in others)
        return replace(self, domains=replace(self.domains, domains=(*self.domains.domains, *emptied)))

    def warnings(self, host: Host) -> list[str]:
        """Write a sentence for each domain whose devices nothing declares, and that keeps them."""
        if not self.releases or self._empties:
            return []
        return [
            f"{domain.numbered} has {shortened(domain.devices)}, and nothing declares that; it keeps them. Declare the"
            " domain, or give undeclared_domains: release."
            for domain in undeclared_domains(host, self.declared)
        ]


@dataclass(frozen=True)
class HostOptions:
    """How a declaration is read: options of the task, as they were written."""

    catalog: Mapping[str, Any] = field(default_factory=dict)
    domains: Mapping[str, Any] = field(default_factory=dict)
    virtual_functions: Sequence[Any] = ()
    exclusive: bool = True
    release_undeclared: bool = False
    undeclared_domains: str = "keep"
    persistent: bool | None = None
    require_reset: bool = False
    parts: Collection[str] = PARTS
    only: Sequence[str] | None = None
    #: Names of variables of the inventory.
    variables: Sequence[str] = ()
    #: Replaces ~ and variables in a path, as in every option that is one.
    as_path: Callable[[str], str] = str


def read_host(options: HostOptions) -> HostDeclaration:
    """Read the declaration of a host; what is wrong with it is in the refusals of its parts."""
    catalog, only, domains = checked_catalog(options.catalog), options.only, options.domains
    chosen = domains if only is None else {name: domains[name] for name in domains if name in only}
    names = assignable_names(options.catalog, domains, options.virtual_functions, only)
    functions = list(options.virtual_functions)
    if only is not None:
        known = (catalog.entries.get(name) for name in names if isinstance(name, str))
        physical = {entry.pf for entry in known if entry is not None}
        functions = [one for one in functions if isinstance(one, Mapping) and one.get("pf") in physical]
    declared = read_domains(chosen, options.exclusive, options.as_path)
    following = [one for one in declared if one.present and DOMAINS in options.parts]
    devices = read_wanted(
        devices=names,
        catalog=catalog,
        exclusive=options.release_undeclared and only is None,
        persistent=options.persistent,
        require_reset=options.require_reset,
        for_domains=frozenset(name for one in following for name in one.names),
    )
    return HostDeclaration(
        functions=_functions(functions, catalog) if functions and FUNCTIONS in options.parts else None,
        devices=devices if (names or devices.exclusive) and ASSIGNMENT in options.parts else None,
        domains=Declaration(declared, catalog) if declared and DOMAINS in options.parts else None,
        declared=declared,
        empties_undeclared=options.undeclared_domains == "release",
        refusals=(
            *unknown_variables(options.variables),
            *(_unknown(name, domains) for name in only or () if name not in domains),
        ),
    )


def _functions(declared: Sequence[Any], catalog: Catalog) -> WantedFunctions:
    from .functions import read_functions  # noqa: PLC0415 - only for hosts that declare virtual functions

    return read_functions(declared, catalog)


def _unknown(name: str, domains: Mapping[str, Any]) -> Refusal:
    reason = f"only has {name!r}, which is not one of the declared domains"
    return Refusal("not-declared", str(name), reason, did_you_mean(name, domains, f"they are {listed(domains)}"))


def undeclared_domains(host: Host, declared: Sequence[DeclaredDomain]) -> list[Domain]:
    """List the domains that have devices and are not declared."""
    found = [find_domain(host, domain.name, domain.uuid) for domain in declared]
    known = {domain.domid for domain in found if isinstance(domain, Domain)}
    return [
        domain
        for domain in host.domains.values()
        if domain.devices and domain.domid not in known and domain.serves is None
    ]
