# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what users declare of a domain, strictly.

Whether the devices, the pools and the domain exist is not known here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Callable

from .keys import DOMAIN_KEYS, SHARE_KEYS, read_keys
from .refusal import Refusal, Refused, refused
from .unquoted import advice_if_unquoted


@dataclass(frozen=True)
class PoolRequest:
    """How many devices a domain takes from a pool: `count`, None for all."""

    pool: str
    count: int | None = None


class WhenHalted(Enum):
    """What to do for a domain that does not run."""

    #: Keep its file in step.
    CONFIG = "config"
    SKIP = "skip"
    FAIL = "fail"


@dataclass(frozen=True)
class DeclaredDomain:
    """What is declared of one domain; its devices are names, addresses and parts of pools.

    `refusals` say what could not be read. The other fields hold what could.
    """

    name: str
    devices: tuple[str | PoolRequest, ...] = ()
    exclusive: bool = False
    present: bool = True
    config: str | None = None
    #: Empty if the name says which domain it is.
    uuid: str = ""
    #: None if that is not declared.
    when_halted: WhenHalted | None = None
    #: It is in no declaration: it runs, and loses its devices because nothing declares it.
    emptied: bool = False
    refusals: tuple[Refusal, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of devices and pools, and addresses, in the order of the declaration."""
        return tuple(request.pool if isinstance(request, PoolRequest) else request for request in self.devices)

    @property
    def if_halted(self) -> WhenHalted:
        """What to do if it does not run; if that is not declared, what a file makes possible."""
        return self.when_halted or (WhenHalted.SKIP if self.config is None else WhenHalted.CONFIG)


def read_domains(
    declared: Mapping[Any, Any], exclusive: bool, as_path: Callable[[str], str]
) -> tuple[DeclaredDomain, ...]:
    """Read the declaration of all domains; `as_path` replaces ~ and variables in the paths of their files."""
    domains = (read_domain(str(name), one, exclusive) for name, one in declared.items())
    return tuple(one if one.config is None else replace(one, config=as_path(one.config)) for one in domains)


def read_domain(name: str, declared: Any, exclusive: bool = False) -> DeclaredDomain:
    """Read the declaration of one domain; `exclusive` counts if the declaration does not say."""
    if not isinstance(declared, Mapping):
        reason = f"{name} is declared as {declared!r}, which is not a dictionary"
        advice = "write {devices: [...]}"
        unquoted = advice_if_unquoted(declared)
        advice = f"{advice}, and {unquoted}" if unquoted else advice
        return DeclaredDomain(name, refusals=(Refusal("domain-options", name, reason, advice),))
    values, wrong = read_keys(DOMAIN_KEYS, "a domain", declared)
    devices, refusals = _requests(values.get("devices", ()))
    domain = DeclaredDomain(
        name=name,
        devices=devices,
        exclusive=values.get("exclusive", exclusive),
        present=values.get("state", "present") == "present",
        config=values.get("config"),
        uuid=values.get("uuid", "").lower(),
        when_halted=WhenHalted(values["when_halted"]) if "when_halted" in values else None,
    )
    return replace(
        domain,
        refusals=(
            *(Refusal("domain-options", name, f"{name}: {error}", error.advice) for error in wrong),
            *(replace(refusal, reason=f"{name}: {refusal.reason}") for refusal in refusals),
            *_contradictions(domain, bool(values.get("exclusive")), "config" in declared),
        ),
    )


def read_request(written: Any) -> str | PoolRequest:
    """Read one element of a list of devices: a name, an address, or `{from: pool, count: N}` (one by default).

    Raises Refused.
    """
    if isinstance(written, str) and written.strip():
        return written
    subject, advice = str(written), advice_if_unquoted(written) or "write a name, an address, or {from: pool, count: 2}"
    if not isinstance(written, Mapping):
        raise refused("device-request", subject, f"{written!r} is not a device", advice)
    values, wrong = read_keys(SHARE_KEYS, "a part of a pool", written)
    if wrong:
        raise Refused(
            Refusal("device-request", subject, f"{dict(written)!r} is not a device: {error}", error.advice or advice)
            for error in wrong
        )
    return PoolRequest(values["from"], values.get("count", 1))


def _requests(written: Iterable[Any]) -> tuple[tuple[str | PoolRequest, ...], list[Refusal]]:
    requests: list[str | PoolRequest] = []
    refusals: list[Refusal] = []
    for element in written:
        try:
            requests.append(read_request(element))
        except Refused as error:
            refusals += error.refusals
    return tuple(requests), refusals


def _contradictions(domain: DeclaredDomain, exclusive: bool, has_file: bool) -> Iterator[Refusal]:
    """Find what does not go together; `exclusive` is what the declaration of the domain itself says.

    `has_file`: it names a file, whether or not as it must.
    """
    if exclusive and not domain.present:
        reason = f"{domain.name}: exclusive cannot be combined with state: absent"
        yield Refusal("exclusive-absent", domain.name, reason, "remove one of them")
    if domain.if_halted is WhenHalted.CONFIG and not has_file:
        reason = f"{domain.name}: when_halted: config needs the file of the domain"
        yield Refusal("domain-options", domain.name, reason, "name it in config, or declare when_halted: skip")
    for device, count in Counter(domain.names).items():
        if count > 1:
            yield Refusal("listed-twice", domain.name, f"{device} is declared twice for {domain.name}", "list it once")
