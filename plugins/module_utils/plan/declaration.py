# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the declaration of domains, by names, addresses and selections, to the devices that each is to have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..model.host import Host
from ..plan.catalog_lookup import resolve_names
from ..values.address import Sbdf
from ..values.catalog import CatalogEntry
from ..values.identity import IdentityError
from .domain_plan import DesiredDomain
from .names import Resolution
from .pools import PoolRequest, parse_request, share_out, taken_away


def desired_domains(
    domains: Mapping[str, Mapping[str, Any]],
    problems: Sequence[str],
    exclusive: bool,
    catalog: Mapping[str, CatalogEntry],
    host: Host,
) -> tuple[list[DesiredDomain], Resolution, dict[Sbdf, str]]:
    """What is wanted of each domain with all names resolved, and the name of each device; raises IdentityError.

    `domains` are the options of each, validated; `problems` are those found so far, to be told with all others;
    `exclusive` is meant where a domain does not say. A domain all of whose devices are absent and need not be there is
    left alone.
    """
    problems = [*problems]
    requests = {name: _requests(spec["devices"], catalog, problems) for name, spec in domains.items()}
    for name, asked in requests.items():
        listed = Counter(one.pool if isinstance(one, PoolRequest) else one for one in asked)
        problems += [f"{one} is declared twice for {name}; list it once" for one, count in listed.items() if count > 1]
    problems += [
        f"{name}: exclusive says that it has no other devices, state: absent that it has not these; declare one of them"
        for name, spec in domains.items()
        if spec["exclusive"] and spec["state"] == "absent"
    ]
    wanted = dict.fromkeys(
        one.pool if isinstance(one, PoolRequest) else one for asked in requests.values() for one in asked
    )
    resolution = resolve_names(catalog, host, wanted)
    has = {domain.name: domain.devices for domain in host.domains.values()}
    present = {name: asked for name, asked in requests.items() if domains[name]["state"] == "present"}
    given, shortages = share_out(present, resolution, has)
    for name, asked in requests.items():
        if name not in present:
            given[name] = taken_away(asked, resolution, has.get(name, ()))
    problems += [*resolution.problems, *([] if resolution.problems else shortages)]
    if problems:
        raise IdentityError(problems)
    desired = [
        DesiredDomain(
            name=name,
            devices=(*given[name], *_listed_again(requests[name], resolution)),
            exclusive=exclusive if spec["exclusive"] is None else spec["exclusive"],
            present=spec["state"] == "present",
            config=spec["config"],
        )
        for name, spec in domains.items()
    ]
    skipped = [one for one in desired if requests[one.name] and not one.devices and not (one.exclusive and one.present)]
    names = {sbdf: found for devices in given.values() for sbdf, found in devices.items()}
    return [one for one in desired if one not in skipped], resolution, names


def _listed_again(requests: Sequence[str | PoolRequest], resolution: Resolution) -> list[Sbdf]:
    """Devices of names that are there more than once, which the plan refuses."""
    names = [one for one in requests if isinstance(one, str)]
    return list(resolution.expand(name for at, name in enumerate(names) if name in names[:at]))


def _requests(
    devices: Sequence[Any], catalog: Mapping[str, CatalogEntry], problems: list[str]
) -> list[str | PoolRequest]:
    requests = []
    for one in devices:
        try:
            requests.append(parse_request(one, catalog))
        except IdentityError as error:
            problems += error.problems
    return requests
