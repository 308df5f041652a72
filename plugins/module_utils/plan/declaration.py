# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one plan for the domains of a host from their declaration, or every refusal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from ..faults.finding import Finding
from ..faults.scope import Scope
from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf
from ..values.alike import merged
from ..values.catalog import Catalog, CatalogEntry, DevicePolicy
from ..values.declared_domain import DeclaredDomain, WhenHalted
from ..values.refusal import Refusal
from ..values.words import shortened
from .blocking_faults import blocking_faults
from .cards import splits
from .catalog_lookup import catalog_names, device_policies, resolve_names
from .domain_isolation import judge_isolation
from .domain_lookup import declared_twice, find_domain
from .domain_plan import BEYOND_REPAIR, DesiredDomain, DomainsPlan, make_plan, wrong_requests
from .file_plan import FileChange, listed_in_file, plan_files, undeclared_options
from .halted import judge_halted
from .managers import against_devices, against_domains
from .names import Resolution
from .option_checks import option_refusals
from .owners import held_elsewhere, owners_after
from .plan_document import Document, guest_identity, identities, plan_document
from .pools import against_request, share_out, taken_away
from .safety import Waived


@dataclass(frozen=True)
class Declaration:
    """What a task declares of the domains of a host; `refusals` say which options could not be read."""

    domains: tuple[DeclaredDomain, ...]
    catalog: Catalog = field(default_factory=Catalog)
    refusals: tuple[Refusal, ...] = ()

    @property
    def config_files(self) -> tuple[str, ...]:
        """Paths of the xl.cfg files that are to get the same devices."""
        return tuple(domain.config for domain in self.domains if domain.config is not None)

    @property
    def without_file(self) -> tuple[str, ...]:
        """Names of the domains for which no file is named."""
        return tuple(domain.name for domain in self.domains if domain.config is None)


@dataclass(frozen=True)
class ResolvedDeclaration:
    """A declaration with all names looked up on one host.

    `unclear` are domains for which some device could not be found, so that their isolation is not checked.
    """

    desired: tuple[DesiredDomain, ...]
    resolution: Resolution
    policies: Mapping[Sbdf, DevicePolicy]
    catalog: Mapping[str, CatalogEntry] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    unclear: frozenset[str] = frozenset()
    #: Devices that domains are to lose while they keep others, and that pciback does not hold.
    leaving: frozenset[Sbdf] = frozenset()
    #: Domains that do not run, of which only the file is kept in step.
    halted: frozenset[str] = frozenset()
    #: Domains that do not run, and for which nothing is done.
    skipped: tuple[str, ...] = ()
    #: What is to be said of domains that do not run.
    warnings: tuple[str, ...] = ()
    #: Numbers of the domains that are declared, as far as they run.
    domids: frozenset[int] = frozenset()

    @property
    def scope(self) -> Scope:
        """Faults of the domains that run, and of the devices that they are to have or lose."""
        running = [want for want in self.desired if want.name not in self.halted]
        return Scope(
            domains=self.domids,
            devices=frozenset(device for want in running for device in want.devices),
            leaving=self.leaving,
        )

    def newcomers(self, host: Host) -> list[Sbdf]:
        """Find the devices that domains would gain."""
        return [
            device
            for want in self.desired
            if want.present
            for device in want.devices
            if device not in _devices_of(host, want)
        ]


@dataclass(frozen=True)
class CompletePlan:
    """All that one run is to do; with any refusal, nothing may be done."""

    plan: DomainsPlan
    files: tuple[FileChange, ...] = ()
    resolution: Resolution = field(default_factory=lambda: Resolution({}))
    refusals: tuple[Refusal, ...] = ()
    #: Refusals that the user has overruled.
    waived: tuple[Waived, ...] = ()
    #: Domains that do not run, and for which nothing is done.
    skipped: tuple[str, ...] = ()


def resolve_declaration(host: Host, declaration: Declaration) -> ResolvedDeclaration:
    """Look up all names of the declaration. Raises NeedsJmespath.

    A domain is left alone if all of its devices are missing and none of them is required.
    """
    refusals = [*declaration.refusals, *declaration.catalog.refusals]
    refusals += [refusal for domain in declaration.domains for refusal in domain.refusals]
    if not declaration.domains and not refusals:
        refusals.append(Refusal("no-domain", "domains", "domains is empty", "name at least one domain in it"))
    no_pools = [*_against_requests(declaration)]
    refusals += [refusal for refusal in no_pools if refusal.subject not in declaration.catalog.unreadable]
    doubtful = declaration.catalog.unreadable.union(refusal.subject for refusal in no_pools)
    wanted = dict.fromkeys(name for domain in declaration.domains for name in domain.names if name not in doubtful)
    staying = {name for domain in declaration.domains if domain.present for name in domain.names}
    resolution = resolve_names(declaration.catalog.entries, host, wanted, wanted.keys() - staying)
    doubtful = doubtful.union(refusal.subject for refusal in resolution.refusals)
    unclear = {
        domain.name for domain in declaration.domains if domain.refusals or not doubtful.isdisjoint(domain.names)
    }
    listed = _listed(host, declaration)
    halted = judge_halted(host, declaration.domains, resolution.found)
    given, shortages = _given(listed, declaration, resolution, halted.skipped)
    refusals += resolution.refusals
    refusals += _unknown_places(host, declaration, resolution, listed)
    refusals += [refusal for refusal in shortages if not resolution.refusals and refusal.subject not in unclear]
    refusals += halted.refusals
    refusals += declared_twice(host, ((domain.name, domain.uuid) for domain in declaration.domains))
    names = {sbdf: name for devices in given.values() for sbdf, name in devices.items()}
    policies = device_policies(declaration.catalog.entries, names)
    desired = [
        _desired(host, domain, given[domain.name], policies)
        for domain in declaration.domains
        if given[domain.name] or (domain.exclusive and domain.present) or not (domain.devices or domain.name in unclear)
    ]
    refusals += wrong_requests(desired)  # of all domains, whichever of them run
    desired = [want for want in desired if want.name not in {*halted.skipped, *halted.unknown}]
    return ResolvedDeclaration(
        desired=tuple(desired),
        resolution=resolution,
        policies=policies,
        catalog=declaration.catalog.entries,
        refusals=tuple(refusals),
        unclear=frozenset(unclear),
        leaving=_leaving(host, desired),
        halted=frozenset(want.name for want in desired if _domain_of(host, want) is None),
        skipped=halted.skipped,
        warnings=halted.warnings,
        domids=frozenset(domain.domid for one in declaration.domains if (domain := _domain_of(host, one)) is not None),
    )


def complete_plan(host: Host, declared: ResolvedDeclaration, findings: Iterable[Finding]) -> CompletePlan:
    """Plan all domains and their files, and collect all refusals; `findings` are the faults that are left."""
    plan = make_plan(host, declared.desired)
    clear = DomainsPlan(tuple(step for step in plan.domains if step.domain.name not in declared.unclear))
    files, unreadable = plan_files(host, declared.desired, declared.resolution.moved)
    catalog, policies = declared.catalog, declared.policies
    moved, owners = owners_after(host, plan, files)
    lacking = [*splits(host, moved, owners, policies, lambda: catalog_names(catalog, host))]
    lacking += [sentence for file in files for sentence in undeclared_options(file)]
    lacking += held_elsewhere(host, plan, files)
    plan = replace(plan, doubts=tuple(merged((*declared.warnings, *plan.doubts, *lacking))))
    isolation = judge_isolation(
        host, clear, policies, [file for file in files if file.want.name not in declared.unclear]
    )
    refusals = (
        *declared.refusals,
        *plan.refusals,
        *blocking_faults(findings, plan),
        *isolation.refusals,
        *_against_managers(host, plan, files),
        *option_refusals(host, declared.desired),
        *unreadable,
    )
    once = tuple(dict.fromkeys(refusals))
    return CompletePlan(plan, files, declared.resolution, once, isolation.waived, declared.skipped)


def _against_managers(host: Host, plan: DomainsPlan, files: Sequence[FileChange]) -> list[Refusal]:
    """Refuse changes that what manages a domain would undo, or that take what libvirt has."""
    written = {file.want.name for file in files if file.changed}
    changing = [step.domain for step in plan.domains if step.changes or step.domain.name in written]
    return [*against_domains(host, changing), *against_devices(host, plan.devices_to_add)]


def domains_document(
    host: Host, declared: ResolvedDeclaration, plan: CompletePlan, repaired: Sequence[str] = ()
) -> Document:
    """Write the plan as a document; `repaired` are the faults that are repaired before it is carried out, in words."""
    steps = plan.plan.domains
    devices = {device for step in steps for device in (*step.after, *step.remove)}
    files = [{"path": file.path, "before": file.before, "after": file.after} for file in plan.files if file.changed]
    return plan_document(
        "domains",
        steps={
            "repairs": repaired,
            "domains": [
                {**{part.name: getattr(step, part.name) for part in fields(step)}, "domain": step.domain.name}
                for step in steps
            ],
            "files": files,
        },
        basis={
            "declared": declared.desired,
            "policies": declared.policies,
            "domains": [guest_identity(step.domain) for step in steps],
            "devices": identities(host, devices),
        },
        changes=bool(repaired or files or any(step.changes for step in steps)),
        refusals=plan.refusals,
        warnings=[*map(str, declared.resolution.moved), *declared.resolution.recalled, *plan.plan.doubts],
    )


def cannot_be_repaired(host: Host, declared: ResolvedDeclaration) -> bool:
    """Whether the declaration is refused even if all faults of the host are repaired, or none may be."""
    if declared.refusals or plan_files(host, declared.desired, declared.resolution.moved)[1]:
        return True
    return any(refusal.code in BEYOND_REPAIR for refusal in make_plan(host, declared.desired).refusals)


def left_to_manager(host: Host, declared: ResolvedDeclaration) -> bool:
    """Whether nothing may be repaired for the declaration: another manager than xl has its domains or its devices."""
    domains = [host.domains[domid] for domid in declared.domids if domid in host.domains]
    return bool(against_domains(host, domains) or against_devices(host, declared.scope.devices))


def _against_requests(declaration: Declaration) -> Iterator[Refusal]:
    """Yield refusals of parts of pools that the catalog does not have."""
    for domain in declaration.domains:
        for request in domain.devices:
            wrong = against_request(request, declaration.catalog.entries)
            if wrong is not None:
                yield wrong


def _listed(host: Host, declaration: Declaration) -> dict[str, tuple[Sbdf, ...]]:
    """Find the devices that each domain has, and those that the file of a declared one lists that does not run.

    Declared domains are there under the names that they are declared by, the others under their numbers.
    """
    files = {domain.name: listed_in_file(host, domain.config) for domain in declaration.domains}
    running = {domain.name: found for domain in declaration.domains if (found := _domain_of(host, domain)) is not None}
    declared = {domain.domid for domain in running.values()}
    others = {f"#{domid}": domain.devices for domid, domain in host.domains.items() if domid not in declared}
    return {**others, **files, **{name: domain.devices for name, domain in running.items()}}


def _unknown_places(
    host: Host, declaration: Declaration, resolution: Resolution, listed: Mapping[str, tuple[Sbdf, ...]]
) -> Iterator[Refusal]:
    """Refuse a missing name that is to be absent while a domain lists a device that may be the one."""
    unknown = [name for name in resolution.missing if name not in resolution.gone]
    for domain in declaration.domains:
        names = [] if domain.present else [name for name in domain.names if name in unknown]
        if not names:
            continue
        running = _domain_of(host, domain)
        everything = (
            *listed.get(domain.name, ()),
            *listed_in_file(host, domain.config),
            *((running.configured or ()) if running is not None else ()),
        )
        known = resolution.expand(domain.names)
        strange = sorted({sbdf for sbdf in everything if sbdf not in host.devices and sbdf not in known})
        for name in names if strange else ():
            reason = (
                f"{name!r} is not on this host, and where it was is not known, but {domain.name} lists"
                f" {shortened(strange)}, where this host has no device"
            )
            advice = f"name that address instead of {name!r}, or beside it in the catalog, if it is the same device"
            yield Refusal("absent", name, reason, advice)


def _leaving(host: Host, desired: Sequence[DesiredDomain]) -> frozenset[Sbdf]:
    """Find the devices that PV guests are to lose while they keep others, and that pciback does not hold.

    The device model of an HVM guest ejects them like all others.
    """
    found: set[Sbdf] = set()
    for want in desired:
        domain = _domain_of(host, want)
        has = frozenset(domain.devices) if domain is not None and domain.device_model is None else frozenset()
        if want.present:
            lost = has - frozenset(want.devices) if want.exclusive else frozenset()
        else:
            lost = has & frozenset(want.devices)
        found |= lost if has - lost or (want.present and want.devices) else frozenset()
    return frozenset(found) - host.in_pciback


def _given(
    has: Mapping[str, tuple[Sbdf, ...]],
    declaration: Declaration,
    resolution: Resolution,
    skipped: Collection[str] = (),
) -> tuple[dict[str, dict[Sbdf, str]], list[Refusal]]:
    """Find the devices of each domain with the names they come from, and refuse pools that are too small.

    Domains that are skipped choose last: they get nothing now, but their shares must be there when they run.
    """
    choosing = sorted(declaration.domains, key=lambda domain: domain.name in skipped)
    present = {domain.name: domain.devices for domain in choosing if domain.present}
    given, shortages = share_out(present, resolution, has)
    for domain in declaration.domains:
        if not domain.present:
            given[domain.name] = taken_away(domain.devices, resolution, has.get(domain.name, ()))
    return given, shortages


def _domain_of(host: Host, declared: DeclaredDomain | DesiredDomain) -> Domain | None:
    found = find_domain(host, declared.name, declared.uuid)
    return found if isinstance(found, Domain) else None


def _devices_of(host: Host, declared: DeclaredDomain | DesiredDomain) -> tuple[Sbdf, ...]:
    """List the devices that the declared domain has; none if it does not run."""
    domain = _domain_of(host, declared)
    return () if domain is None else domain.devices


def _desired(
    host: Host, declared: DeclaredDomain, given: Mapping[Sbdf, str], policies: Mapping[Sbdf, DevicePolicy]
) -> DesiredDomain:
    domain = _domain_of(host, declared)
    return DesiredDomain(
        name=declared.name,
        devices=tuple(given),
        exclusive=declared.exclusive,
        present=declared.present,
        config=declared.config,
        defers=declared.if_halted is WhenHalted.CONFIG and declared.config is not None,
        uuid=declared.uuid,
        guest_name="" if domain is None or domain.name == declared.name else domain.name,
        options={device: policies[device].options for device in given if policies[device].options},
    )
