# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what becomes of declared domains that do not run: a refusal, or a warning that says what is done for them.

A misspelled name is one that no domain has, too. Where that can be seen, it is refused and not skipped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf
from ..values.declared_domain import DeclaredDomain, WhenHalted
from ..values.refusal import Refusal
from ..values.unquoted import advice_if_unquoted
from ..values.words import did_you_mean, nearest
from .domain_lookup import NOT_RUNNING, find_domain

_OTHERWISE = "declare what to do while it does not run (when_halted: config or skip)"


@dataclass(frozen=True)
class Halted:
    """Declared domains that do not run: those to skip, refusals of names that mean none, and what is to be said.

    `unknown` are domains that are refused because none of this name runs.
    """

    skipped: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()


def judge_halted(
    host: Host, domains: Sequence[DeclaredDomain], single: Mapping[str, Sbdf] = MappingProxyType({})
) -> Halted:
    """Judge each declared domain that does not run, or whose name is not clear.

    `single` has the devices that names mean, apart from pools.
    """
    found = {domain.name: find_domain(host, domain.name, domain.uuid) for domain in domains}
    declared = {domain.name for domain in domains if not domain.emptied}
    undeclared = {domain.name for domain in host.domains.values() if domain.name} - declared
    emptied = [found[domain.name] for domain in domains if domain.emptied]
    losing = [domain for domain in emptied if isinstance(domain, Domain)]
    skipped, unknown, refusals, warnings = [], [], [], []
    for domain in domains:
        wrong = found[domain.name]
        if not isinstance(wrong, Refusal):
            continue
        if wrong.code != NOT_RUNNING:
            refusals.append(wrong)
        elif domain.if_halted is WhenHalted.FAIL or _may_run(host, domain) or _may_be_one_of(domain, losing, single):
            unknown.append(domain.name)
            refusals.append(replace(wrong, advice=f"{wrong.advice}, or {_OTHERWISE}"))
        elif domain.if_halted is WhenHalted.SKIP:
            skipped.append(domain.name)
            warnings.append(_skipped(host, domain, wrong, undeclared))
        elif not domain.refusals:
            warnings.append(f"{domain.name} does not run, so only its file {domain.config} is kept in step")
    return Halted(tuple(skipped), frozenset(unknown), tuple(refusals), tuple(warnings))


def _may_run(host: Host, domain: DeclaredDomain) -> bool:
    """Whether the domain may run under another name, and nothing in the declaration says that it does not.

    The name may be a number that YAML has made, or a running domain's name in another spelling, or a running domain
    has lost its name and what it was.
    """
    if domain.when_halted is not None or domain.config is not None or domain.name in host.usual_files:
        return False
    others = host.domains.values()
    nameless = any(not (other.name or other.stored_name or other.serves or domain.uuid) for other in others)
    spelled = {_spelled(other.name) for other in others if other.name}
    misspelled = not domain.name.strip() or bool(advice_if_unquoted(domain.name)) or _spelled(domain.name) in spelled
    return nameless or (misspelled and not domain.uuid)


def _may_be_one_of(domain: DeclaredDomain, losing: Sequence[Domain], single: Mapping[str, Sbdf]) -> bool:
    """Whether it may be a running domain that is to lose its devices, as nothing declares it under its own name.

    That has a name like this one, or a device that is declared for this one.
    """
    if domain.when_halted is not None or domain.config is not None:
        return False
    devices = {single[name] for name in domain.names if name in single}
    has_one = any(not devices.isdisjoint(other.devices) for other in losing)
    return has_one or nearest(domain.name, [other.name for other in losing]) is not None


def _spelled(name: str) -> str:
    return name.lower().replace("-", "_")


def _skipped(host: Host, domain: DeclaredDomain, wrong: Refusal, undeclared: Collection[str]) -> str:
    if domain.config is not None:
        return f"{wrong.reason}, so nothing is done for it, and {domain.config} is left as it is"
    advice = "start it, or name its file in config to have that kept in step"
    if domain.name in host.usual_files:
        advice = f"{host.usual_files[domain.name]} is its file; name that in config to have it kept in step"
    else:
        advice = did_you_mean(domain.name, {*undeclared, *host.usual_files}, advice)
    return f"{wrong.reason}, so nothing is done for it: {advice}"
