# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the declaration of domains, by names, addresses and selections, to the devices that each is to have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..decisions.assignment import Situation
from ..decisions.plan import DesiredDomain
from ..decisions.resolve import Resolution
from ..decisions.select import Share, parse_request, share_out, taken_away
from ..interfaces.notes import Note
from ..values.address import Sbdf
from ..values.catalogue import Entry
from ..values.identity import IdentityError
from .naming import resolve_names


def desired_domains(
    domains: Mapping[str, Mapping[str, Any]],
    problems: Sequence[str],
    exclusive: bool,
    catalogue: Mapping[str, Entry],
    situation: Situation,
    notes: Mapping[Sbdf, Note],
) -> tuple[list[DesiredDomain], Resolution, dict[Sbdf, str]]:
    """What is wanted of each domain with all names resolved, and the name of each device; raises IdentityError.

    `domains` are the options of each, validated; `problems` are those found so far, to be told with all others;
    `exclusive` is meant where a domain does not say. A domain all of whose devices are absent and need not be there is
    left alone.
    """
    problems = [*problems]
    requests = {name: _requests(spec["devices"], catalogue, problems) for name, spec in domains.items()}
    for name, asked in requests.items():
        listed = Counter(one.pool if isinstance(one, Share) else one for one in asked)
        problems += [f"{one} is declared twice for {name}; list it once" for one, count in listed.items() if count > 1]
    problems += [
        f"{name}: exclusive says that it has no other devices, state: absent that it has not these; declare one of them"
        for name, spec in domains.items()
        if spec["exclusive"] and spec["state"] == "absent"
    ]
    wanted = dict.fromkeys(one.pool if isinstance(one, Share) else one for asked in requests.values() for one in asked)
    resolution = resolve_names(catalogue, situation, notes, wanted)
    has = {domain.name: domain.devices for domain in situation.host.domains.values()}
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


def _listed_again(requests: Sequence[str | Share], resolution: Resolution) -> list[Sbdf]:
    """Devices of names that are there more than once, which the plan refuses."""
    names = [one for one in requests if isinstance(one, str)]
    return list(resolution.expand(name for at, name in enumerate(names) if name in names[:at]))


def _requests(devices: Sequence[Any], catalogue: Mapping[str, Entry], problems: list[str]) -> list[str | Share]:
    requests = []
    for one in devices:
        try:
            requests.append(parse_request(one, catalogue))
        except IdentityError as error:
            problems += error.problems
    return requests
