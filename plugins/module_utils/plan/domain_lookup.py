# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the one domain that a name or a UUID means, or say why there is none.

A name is only a label: a failed migration leaves two domains of one name. Then nothing is guessed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from ..model.domain import Domain
from ..model.host import Host
from ..values.keys import UUID
from ..values.refusal import Refusal
from ..values.unquoted import advice_if_unquoted
from ..values.words import did_you_mean, listed

#: Code of the refusal of a name that no domain has, so it may be that of one that does not run.
NOT_RUNNING = "unknown-domain"
#: Codes of all refusals of names.
OF_NAMES = (NOT_RUNNING, "ambiguous-domain", "other-domain", "same-domain", "lost-name", "not-a-name")
#: The name that toolstacks give to the host itself.
_DOM0 = "Domain-0"


def find_domain(host: Host, name: str, uuid: str = "") -> Domain | Refusal:
    """Find the domain that is declared by its name, or by its UUID: then the name is what the user calls it.

    A UUID may also be written in place of a name.
    """
    named = [domain for domain in host.domains.values() if domain.name == name]
    written = uuid or (name if re.fullmatch(UUID, name, re.ASCII) else "")
    identified = [domain for domain in host.domains.values() if written and domain.uuid == written.lower()]
    if uuid:
        return _identified(host, name, uuid, named, identified)
    found = [*named, *(domain for domain in identified if domain not in named)]
    # Where it has lost its name, another domain may have been given that.
    nameless = [domain for domain in host.domains.values() if not domain.name and domain.stored_name == name]
    if found and len(found) + len(nameless) > 1:
        return _several(name, [*found, *nameless])
    return found[0] if found else _unknown(host, name, nameless)


def declared_twice(host: Host, declared: Iterable[tuple[str, str]]) -> list[Refusal]:
    """Refuse names and UUIDs that mean the same domain; each is a name with its UUID, or with none."""
    keys: dict[int, list[str]] = defaultdict(list)
    for name, uuid in declared:
        found = find_domain(host, name, uuid)
        if isinstance(found, Domain):
            keys[found.domid].append(name)
    return [
        Refusal(
            "same-domain",
            names[0],
            f"{' and '.join(names)} are the same domain: {host.domains[domid].described}",
            "declare it once",
        )
        for domid, names in keys.items()
        if len(names) > 1
    ]


def _identified(host: Host, name: str, uuid: str, named: list[Domain], identified: list[Domain]) -> Domain | Refusal:
    """Take the domain of a UUID, unless another domain has the name that the user calls it."""
    if len(identified) > 1:
        return _several(uuid, identified)
    if not identified and named:
        reason = f"{name} is declared with the UUID {uuid}, which no domain has, and {named[0].described} has the name"
        return Refusal("other-domain", name, reason, "correct the UUID")
    if not identified:
        reason = f"No domain with the UUID {uuid} runs on this host, which is declared for {name} ({_running(host)})"
        return Refusal(NOT_RUNNING, name, reason, "correct the UUID, or start the domain")
    if named and identified[0] not in named:
        reason = f"{name} is declared with the UUID of {identified[0].described}, but {named[0].described} has the name"
        return Refusal("other-domain", name, reason, "correct the name or the UUID, whichever is wrong")
    return identified[0]


def _several(name: str, found: list[Domain]) -> Refusal:
    reason = f"{name} may mean {len(found)} domains that live: {listed(domain.described for domain in found)}"
    advice = (
        "say which one with the key uuid, or end the one that is not wanted (after a failed migration: `xl destroy"
        " NUMBER`), or give it another name (`xl rename NUMBER NAME`)"
    )
    return Refusal("ambiguous-domain", name, reason, advice)


def _unknown(host: Host, name: str, nameless: list[Domain]) -> Refusal:
    if name == _DOM0:
        reason = f"{name} is the host itself, which has all devices that no guest has"
        return Refusal("not-a-name", name, reason, "name a guest")
    if name.isdecimal() and int(name) in host.domains:
        reason = f"{name} is the number of {host.domains[int(name)].described}, and no domain has that name"
        return Refusal("not-a-name", name, reason, "write its name or its UUID: its number changes at each restart")
    reason = f"No domain named {name} runs on this host ({_running(host)})"
    if nameless:
        advice = f"run xen.pci.repair, which gives {nameless[0].described} this name again"
        return Refusal("lost-name", name, reason, advice)
    running = [domain.name for domain in host.domains.values() if domain.name]
    advice = did_you_mean(name, running, "correct the name, or start the domain")
    unquoted = advice_if_unquoted(name)
    advice = f"{unquoted}; else {advice}" if unquoted else advice
    return Refusal(NOT_RUNNING, name, reason, advice)


def _running(host: Host) -> str:
    names = sorted(domain.name for domain in host.domains.values() if domain.name)
    unnamed = [domain.described for domain in host.domains.values() if not domain.name]
    texts = [f"running: {listed(names, 'none')}"]
    texts += [f"without a name: {listed(unnamed)}"] if unnamed else []
    texts += [f"dying: {listed(sorted(host.dying))}"] if host.dying else []
    return "; ".join(texts)
