# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the functions of one card, and the cards whose functions a plan gives to several owners."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from ..model.device import PciDevice
from ..model.host import Host
from ..values.address import Sbdf
from ..values.catalog import DevicePolicy, address_of
from ..values.identity import DeviceFacts
from ..values.words import listed
from .safety import Check

#: Who has a function that no domain has.
HOST, NO_DOMAIN = "the host", "no domain"
_BRIDGE = "06"
_DISPLAY = "03"
#: What else is on a graphics card, by class: its driver expects to find them together.
_BESIDE_DISPLAY = {"0403": "audio", "0c03": "USB", "0c80": "serial bus"}


def functions_of_card(devices: Mapping[Sbdf, DeviceFacts], function: Sbdf) -> tuple[Sbdf, ...]:
    """Find all functions in the slot of one, and those below if it is the bridge of a card.

    Bridges are left out, and virtual functions, which are given away one by one.
    """
    path = devices[function].path
    slot = f"{path.rpartition('.')[0]}." if path else None
    return tuple(
        sbdf
        for sbdf, device in sorted(devices.items())
        if (sbdf.host_slot == function.host_slot or (slot is not None and device.path.startswith(slot)))
        and device.physfn is None
        and not device.class_code.startswith(_BRIDGE)
    )


def companions(devices: Mapping[Sbdf, PciDevice], function: Sbdf) -> dict[Sbdf, str]:
    """Find the other functions of a graphics card, each with a word for what it is; none of any other card."""
    if not _kind(devices[function].class_code):
        return {}
    slot = _all_functions(function)
    kinds = {sbdf: _kind(devices[sbdf].class_code) for sbdf in slot if sbdf in devices}
    if "display" not in kinds.values():
        return {}
    return {sbdf: kind for sbdf, kind in kinds.items() if kind and sbdf != function}


def splits(
    host: Host,
    moved: Iterable[Sbdf],
    owners: Mapping[Sbdf, str],
    policies: Mapping[Sbdf, DevicePolicy],
    names: Callable[[], Mapping[Sbdf, str]],
) -> Iterator[str]:
    """Yield a sentence for the cards whose functions are to have several owners, if the plan moves one of them.

    `owners` are the domains (or pciback, where a plan knows no domains) that are to have functions. A waiver of acs for
    one function of a card ends it for that card. Cards that lack the same and have the same owners share a sentence.
    """
    found: dict[tuple[bool, bool, tuple[str, ...]], dict[Sbdf, str]] = defaultdict(dict)
    for slot in sorted({replace(sbdf, function=0) for sbdf in moved}):
        functions = [sbdf for sbdf in _all_functions(slot) if sbdf in host.devices]
        if any(Check.ACS.value in policies[sbdf].waive for sbdf in functions if sbdf in policies):
            continue
        kinds = {sbdf: _kind(host.devices[sbdf].class_code) for sbdf in functions}
        graphics = "display" in kinds.values()
        bare = [sbdf for sbdf in functions if host.topology.of_one_card(sbdf)]
        parts = [sbdf for sbdf in functions if kinds[sbdf]] if graphics else bare
        with_owner = {sbdf: owners.get(sbdf) or _without_owner(host, sbdf) for sbdf in parts}
        # What no domain has yet can reach none, but the driver of a graphics card may need it.
        different = set(with_owner.values()) - ({NO_DOMAIN} if not graphics else set())
        if len(different) > 1 and not owners.keys().isdisjoint(parts):
            found[graphics, bool(bare), tuple(sorted(different))].update(with_owner)
    for (graphics, without_acs, _owners), with_owner in found.items():
        yield _split(host, with_owner, graphics, without_acs, {**names(), **_declared_names(policies)})


def _all_functions(slot: Sbdf) -> list[Sbdf]:
    return [replace(slot, function=number) for number in range(8)]


def _without_owner(host: Host, sbdf: Sbdf) -> str:
    return NO_DOMAIN if sbdf in host.in_pciback else HOST


def _declared_names(policies: Mapping[Sbdf, DevicePolicy]) -> dict[Sbdf, str]:
    return {sbdf: policy.name for sbdf, policy in policies.items() if policy.name and address_of(policy.name) is None}


def _split(host: Host, owners: Mapping[Sbdf, str], graphics: bool, without_acs: bool, names: Mapping[Sbdf, str]) -> str:
    def called(sbdf: Sbdf) -> str:
        kind = _kind(host.devices[sbdf].class_code) if graphics else ""
        words = listed(word for word in (str(sbdf) if sbdf in names else "", kind) if word)
        return f"{names.get(sbdf, sbdf)} ({words})" if words else str(sbdf)

    shares: dict[str, list[str]] = defaultdict(list)
    for sbdf, owner in owners.items():
        shares[owner].append(called(sbdf))
    who = "; ".join(f"{listed(functions)} with {owner}" for owner, functions in shares.items())
    several = len({sbdf.host_slot for sbdf in owners}) > 1
    cards = ("cards" if several else "card") if not graphics else ("graphics cards" if several else "graphics card")
    sentences = [f"Functions of the same {cards} are to have different owners: {who}"]
    if graphics:
        sentences.append("Drivers may need them together: declare them for one domain, or the card with functions: all")
    if without_acs:
        sentences.append(
            "Without ACS, only the design of the card keeps one function from reaching another past the IOMMU"
        )
    return ". ".join(sentences)


def _kind(class_code: str) -> str:
    if class_code.startswith(_DISPLAY):
        return "display"
    return next((word for code, word in _BESIDE_DISPLAY.items() if class_code.startswith(code)), "")
