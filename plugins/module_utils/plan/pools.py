# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose which devices a pool has, and which of them each domain gets.

A choice is stable: a device that was chosen under the same name, or that is in use already, comes before any other.
Selection works on plain facts as `host_info` returns them, so that an expression means the same everywhere.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

try:
    import jmespath
except ImportError:
    JMESPATH_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    JMESPATH_IMPORT_ERROR = None

from ..model.host import Host
from ..values.address import AddressError, Sbdf
from ..values.catalog import CatalogEntry, Criteria, Pool
from ..values.declared_domain import PoolRequest, read_request
from ..values.errors import XenPciError
from ..values.identity import Match
from ..values.refusal import Refusal, Refused, refused
from ..values.words import counted, did_you_mean, listed, shortened
from .expressions import Mistake, advice_on_syntax, check_fields
from .names import (
    DECLARE_FUNCTIONS,
    Lookup,
    Resolution,
    find,
    find_functions,
    last_places,
    moves,
    resolve,
    too_few_functions,
    with_physical_function,
)
from .safety import against_any_use, judge

Facts = Mapping[str, Any]


class SelectionError(XenPciError):
    """An expression cannot be read, or does not yield devices; the message has no full stop, `advice` may be empty."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.advice = advice


class NeedsJmespath(XenPciError):
    """An expression has to be evaluated, but Python's jmespath cannot be imported."""


def select(facts: Sequence[Facts], criteria: Criteria) -> list[Facts]:
    """Choose the devices that fit, in the order of the expression's result, else of the input.

    With `free`, these are devices that pciback holds, even if a domain uses them, and devices that could be given away.
    Raises SelectionError, NeedsJmespath.
    """
    chosen = list(facts) if criteria.select is None else _search(criteria.select, facts)
    return [
        device
        for device in chosen
        if (criteria.numa_node is None or device.get("numa_node") == criteria.numa_node)
        and (not criteria.free or device.get("assignable") or device.get("free"))
    ]


def in_use_first(facts: Sequence[Facts]) -> list[Facts]:
    """Sort devices: first those that domains have, then those that pciback holds, then the rest."""
    return sorted(facts, key=lambda device: (not device.get("domain"), not device.get("assignable")))


def resolve_all(
    catalog: Mapping[str, CatalogEntry],
    where: Lookup,
    wanted: Iterable[str],
    host: Host,
    facts: Callable[[], Sequence[Facts]],
    leaving: Collection[str] = (),
) -> Resolution:
    """Find the devices that wanted names mean, pools included; `facts` is only called if there are pools.

    Devices that have a name of their own never become part of a pool, and those of one pool never of another. All pools
    of the catalog are filled in their order, wanted or not, so that every task of a play makes the same choice. A pool
    of `leaving` also means the devices that were chosen for it and have left the host, and need not have enough.
    """
    wanted = list(wanted)
    pools = {name: entry.pool for name, entry in catalog.items() if entry.pool is not None}
    single = resolve(catalog, where, [name for name in wanted if name not in pools], leaving)
    if not pools:
        return single
    taken = {*single.found.values(), *(sbdf for card in single.pools.values() for sbdf in card)} | named_devices(
        catalog, where
    )
    filled: dict[str, tuple[Sbdf, ...]] = {}
    refusals, missing = list(single.refusals), list(single.missing)
    known = facts()
    for name, pool in pools.items():
        try:
            filled[name] = _fill(name, pool, catalog, where, host, known, taken)
        except Refused as error:
            refusals += error.refusals if name in wanted else ()
            filled[name] = ()
            continue
        taken.update(filled[name])
        short = _shortage(name, pool, filled[name], _too_few_functions(pool, catalog, where))
        if short and catalog[name].required and name in wanted and name not in leaving:
            refusals.append(short)
        elif name in wanted and not filled[name]:
            missing.append(name)
    moved = moves(wanted, catalog, where)
    gone = {**single.gone, **{name: last_places(name, catalog[name], where) for name in pools if name in leaving}}
    return replace(
        single,
        refusals=tuple(refusals),
        missing=tuple(missing),
        pools={**single.pools, **filled},
        moved=moved,
        gone=gone,
    )


def share_out(
    requests: Mapping[str, Sequence[str | PoolRequest]], resolution: Resolution, has: Mapping[str, Collection[Sbdf]]
) -> tuple[dict[str, dict[Sbdf, str]], list[Refusal]]:
    """Choose the devices of each domain, with the names they come from, and refuse pools that are too small.

    `has` are the devices of each domain of the host now. A domain keeps what it has of a pool. The rest comes from
    devices that no domain has, and last from those that another domain of the declaration gives up.
    """
    given: dict[str, dict[Sbdf, str]] = {}
    for domain, wanted in requests.items():
        given[domain] = resolution.expand(request for request in wanted if isinstance(request, str))
    shares = [
        (domain, request)
        for domain, wanted in requests.items()
        for request in wanted
        if isinstance(request, PoolRequest)
    ]
    for domain, share in shares:  # first round: each domain keeps what it has
        kept = [sbdf for sbdf in resolution.pools.get(share.pool, ()) if sbdf in has.get(domain, ())]
        for sbdf in _available(kept, given)[: share.count]:
            given[domain][sbdf] = share.pool
    refusals = []
    for domain, share in shares:
        members = resolution.pools.get(share.pool, ())
        lacking = (share.count or len(members)) - sum(name == share.pool for name in given[domain].values())
        held = {sbdf for devices in has.values() for sbdf in devices}
        available = sorted(_available(members, given), key=lambda sbdf: sbdf in held)
        for sbdf in available[: max(lacking, 0)]:
            given[domain][sbdf] = share.pool
        if lacking > len(available) and share.pool not in resolution.missing:
            reason = _sum_of(share.pool, members, requests)
            refusals.append(Refusal("pool-too-small", domain, reason, "ask for fewer, or raise the pool's count"))
    return given, refusals


def _sum_of(pool: str, members: Collection[Sbdf], requests: Mapping[str, Sequence[str | PoolRequest]]) -> str:
    """Say who asks for how many devices of a pool that has too few."""
    asked = {
        domain: len(members) if isinstance(request, str) else request.count or len(members)
        for domain, wanted in requests.items()
        for request in wanted
        if (request if isinstance(request, str) else request.pool) == pool
    }
    shares = " + ".join(f"{number} for {domain}" for domain, number in asked.items())
    total = f" = {sum(asked.values())}" if len(asked) > 1 else ""
    has = f"{counted(len(members), 'device')} ({shortened(sorted(members))})" if members else "no device"
    return f"Pool {pool!r} has {has}, but {shares}{total} are asked of it"


def taken_away(wanted: Sequence[str | PoolRequest], resolution: Resolution, has: Collection[Sbdf]) -> dict[Sbdf, str]:
    """Find the devices that a domain is not to have: those named, and of pools those it has, up to the count."""
    found = resolution.expand(request for request in wanted if isinstance(request, str))
    for share in wanted:
        if isinstance(share, PoolRequest):
            members = (*resolution.pools.get(share.pool, ()), *resolution.gone.get(share.pool, ()))
            held = [sbdf for sbdf in members if sbdf in has and sbdf not in found]
            found.update(dict.fromkeys(held[: share.count], share.pool))
    return found


def parse_request(written: Any, catalog: Mapping[str, CatalogEntry]) -> str | PoolRequest:
    """Read one element of a list of devices, and check that the catalog has its pool. Raises Refused."""
    request = read_request(written)
    wrong = against_request(request, catalog)
    if wrong is not None:
        raise Refused([wrong])
    return request


def against_request(request: str | PoolRequest, catalog: Mapping[str, CatalogEntry]) -> Refusal | None:
    """Refuse a part of a pool that the catalog does not have; None for anything else."""
    if isinstance(request, str) or (request.pool in catalog and catalog[request.pool].pool is not None):
        return None
    pools = [name for name, entry in catalog.items() if entry.pool is not None]
    reason = f"Devices are to come from {request.pool!r}, which is not a pool of the catalog"
    advice = did_you_mean(request.pool, pools, f"the pools are {listed(pools)}" if pools else "declare a pool")
    return Refusal("unknown-pool", request.pool, reason, advice)


def _search(expression: str, facts: Sequence[Facts]) -> list[Facts]:
    if JMESPATH_IMPORT_ERROR is not None:
        raise NeedsJmespath
    try:
        compiled = jmespath.compile(expression)
        check_fields(compiled.parsed, facts)
        result = compiled.search(facts)
    except Mistake as error:
        raise SelectionError(f"{expression!r} is not right: {error}", error.advice) from error
    except jmespath.exceptions.JMESPathError as error:
        message = " ".join(str(error).split())
        reason = f"{expression!r} cannot be evaluated as an expression ({message})"
        raise SelectionError(reason, advice_on_syntax(expression)) from error
    by_address = {device.get("address"): device for device in facts}
    addresses = [item.get("address") if isinstance(item, Mapping) else item for item in _as_list(result)]
    strange = [address for address in addresses if not isinstance(address, str) or address not in by_address]
    if result is None or strange:
        got = "nothing that is a list" if result is None else f"{strange[0]!r}"
        reason = f"{expression!r} yields {got}, not devices or their addresses"
        raise SelectionError(reason, "write it such as [?numa_node==`0`]")
    return [by_address[address] for address in dict.fromkeys(addresses)]


def _as_list(result: Any) -> list[Any]:
    return result if isinstance(result, list) else [result]


def named_devices(catalog: Mapping[str, CatalogEntry], where: Lookup) -> set[Sbdf]:
    """Find the devices that have a name of their own in the catalog, as far as they can be found."""
    found = set[Sbdf]()
    for name, entry in catalog.items():
        if entry.pool is None:
            try:
                found.update(find_functions(name, catalog, where))
            except Refused:
                continue  # refused where the name is wanted
    return found


def _fill(
    name: str,
    pool: Pool,
    catalog: Mapping[str, CatalogEntry],
    where: Lookup,
    host: Host,
    facts: Sequence[Facts],
    taken: Collection[Sbdf],
) -> tuple[Sbdf, ...]:
    try:
        fitting = [Sbdf.parse(str(device["address"])) for device in select(facts, pool.criteria)]
    except (SelectionError, AddressError) as error:
        advice = error.advice if isinstance(error, SelectionError) else ""
        raise refused("pool-select", name, f"Pool {name!r}: {error}", advice) from error
    kind = with_physical_function(name, pool.kind, catalog, where)
    candidates = [
        sbdf
        for sbdf in fitting
        if sbdf not in taken
        and where.match(kind, sbdf) is Match.YES
        and not judge(against_any_use(host.devices[sbdf]), catalog[name].waive).refusals
    ]
    held = {sbdf for domain in host.domains.values() for sbdf in domain.devices}
    chosen_as = {
        sbdf: chosen for sbdf, chosen in where.chosen_as.items() if chosen in catalog and host.devices[sbdf].in_pciback
    }

    def rank(sbdf: Sbdf) -> tuple[int, bool]:
        if sbdf in chosen_as:
            return (0 if chosen_as[sbdf] == name else 3), sbdf not in held
        return (1 if host.devices[sbdf].in_pciback else 2), sbdf not in held

    return tuple(sorted(candidates, key=rank)[: pool.count])


def _too_few_functions(pool: Pool, catalog: Mapping[str, CatalogEntry], where: Lookup) -> str:
    """Say how many virtual functions there are, if a pool is of these and the card can have more."""
    if pool.kind.pf is None:
        return ""
    try:
        return too_few_functions(where.devices[find(pool.kind.pf, catalog, where)])
    except Refused:  # refused where the pool is filled
        return ""


def _shortage(name: str, pool: Pool, found: Sequence[Sbdf], too_few: str) -> Refusal | None:
    if found and (pool.count is None or len(found) >= pool.count):
        return None
    wanted = "at least 1 device" if pool.count is None else counted(pool.count, "device")
    got = f"only {len(found)} ({shortened(sorted(found))})" if found else "none"
    fits = "fit" if len(found) > 1 else "fits"
    reason = f"Pool {name!r} ({pool}) needs {wanted}, but this host has {got} that {fits} and can be given away"
    if too_few:
        return Refusal("pool-shortage", name, f"{reason}: {too_few}", DECLARE_FUNCTIONS)
    return Refusal("pool-shortage", name, reason, "see the refusals of the other devices in xen.pci.host_info")


def _available(members: Iterable[Sbdf], given: Mapping[str, Mapping[Sbdf, str]]) -> list[Sbdf]:
    return [sbdf for sbdf in members if not any(sbdf in devices for devices in given.values())]
