# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find which function of the host each declared name means now, or refuse the name.

An address beside a key that only this device has is the last known place of the device: if the device is elsewhere now,
it is used there, and the move is reported. An address without such a key is the identity itself.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..model.notes import GoneDevice
from ..values.address import Sbdf
from ..values.catalog import CatalogEntry, address_of
from ..values.identity import DeviceFacts, Identity, Match, Remembered
from ..values.refusal import Refusal, Refused, refused
from ..values.unquoted import advice_if_unquoted
from ..values.words import did_you_mean, shortened
from .cards import functions_of_card

#: What to do where virtual functions are missing that the card can have.
DECLARE_FUNCTIONS = "declare more in xen_pci_virtual_functions, or make more with xen.pci.virtual_functions"


@dataclass(frozen=True)
class Moved:
    """A device that is no longer at its last known address."""

    name: str
    before: Sbdf
    after: Sbdf

    def __str__(self) -> str:
        return f"{self.name} moved {self.before} → {self.after}"


@dataclass(frozen=True)
class Resolution:
    """The devices that wanted names mean, and a refusal for each name that is not clear.

    `missing` are names whose devices are absent and not required. `recalled` has a sentence for each name whose device
    is known only from an earlier boot. `gone` has the last places of devices that are absent, as
    they are to be.
    """

    found: Mapping[str, Sbdf]
    refusals: tuple[Refusal, ...] = ()
    missing: tuple[str, ...] = ()
    moved: tuple[Moved, ...] = ()
    pools: Mapping[str, tuple[Sbdf, ...]] = field(default_factory=dict)
    recalled: tuple[str, ...] = ()
    gone: Mapping[str, tuple[Sbdf, ...]] = field(default_factory=dict)

    def expand(self, names: Iterable[str]) -> dict[Sbdf, str]:
        """Return the devices of these names in order, each with its name; missing ones are left out."""
        devices: dict[Sbdf, str] = {}
        for name in names:
            found = self.pools.get(name, ()) or ((self.found[name],) if name in self.found else ())
            for sbdf in (*found, *self.gone.get(name, ())):
                devices.setdefault(sbdf, name)
        return devices


@dataclass(frozen=True)
class Lookup:
    """Where names are looked up: the host's functions, and what is remembered of them.

    `chosen_as` has the name under which each function was chosen last. `gone` is what is left of functions that the
    host does not have any more.
    """

    devices: Mapping[Sbdf, DeviceFacts]
    remembered: Mapping[Sbdf, Remembered] = field(default_factory=dict)
    chosen_as: Mapping[Sbdf, str] = field(default_factory=dict)
    gone: Mapping[Sbdf, GoneDevice] = field(default_factory=dict)

    def match(self, identity: Identity, sbdf: Sbdf) -> Match:
        return identity.match(self.devices[sbdf], self.remembered.get(sbdf, Remembered()))


class _Absent(Refused):
    """The device is not on this host, as far as can be seen."""


class _Ambiguous(Refused):
    """Several devices fit."""

    def __init__(self, refusals: Iterable[Refusal], candidates: Collection[Sbdf]) -> None:
        super().__init__(refusals)
        self.candidates = candidates


def resolve(
    catalog: Mapping[str, CatalogEntry], where: Lookup, wanted: Iterable[str], leaving: Collection[str] = ()
) -> Resolution:
    """Find the function that each wanted name (of the catalog) or address means, or all of a card, without pools.

    A name is refused if it is missing, ambiguous or not what was declared, and so are two names for one function. A
    name of `leaving` also means the places where its device was and none is now: there it is to be absent, too.
    """
    found: dict[str, Sbdf] = {}
    cards: dict[str, tuple[Sbdf, ...]] = {}
    names: dict[Sbdf, list[str]] = defaultdict(list)
    refusals: list[Refusal] = []
    missing: list[str] = []
    gone: dict[str, tuple[Sbdf, ...]] = {}
    for name in wanted:
        entry = catalog.get(name, CatalogEntry())
        if name in leaving and (places := last_places(name, entry, where)):
            gone[name] = places
        try:
            functions = find_functions(name, catalog, where)
        except Refused as error:
            if isinstance(error, _Absent) and not entry.required:
                missing.append(name)
            elif not (isinstance(error, _Absent) and name in gone):
                refusals += error.refusals
            continue
        if entry.functions:
            cards[name] = functions
        else:
            found[name] = functions[0]
        for sbdf in functions:
            names[sbdf].append(name)
    refusals += [
        Refusal("same-device", str(sbdf), f"{_quoted(same)} are the same device, {sbdf}", "list it once")
        for sbdf, same in names.items()
        if len(same) > 1
    ]
    recalled = [_recalled(name, sbdf, catalog, where) for name, sbdf in found.items()]
    moved = moves(found, catalog, where)
    said = tuple(filter(None, recalled))
    return Resolution(found, tuple(refusals), tuple(missing), moved, pools=cards, recalled=said, gone=gone)


def last_places(name: str, entry: CatalogEntry, where: Lookup) -> tuple[Sbdf, ...]:
    """Find where an absent device was, by our notes or else by the declaration: places where no device is now."""
    identity = entry.identity
    noted = [
        sbdf for sbdf, gone in where.gone.items() if gone.note.name == name or identity.was_read_as(gone.note.identity)
    ]
    declared = [address for address in (identity.address, address_of(name)) if address is not None]
    if entry.functions:
        declared = [replace(address, function=function) for address in declared for function in range(8)]
    return tuple(sorted(sbdf for sbdf in noted or declared if sbdf not in where.devices))


def moves(names: Iterable[str], catalog: Mapping[str, CatalogEntry], where: Lookup) -> tuple[Moved, ...]:
    """Find which of these names, and of the physical functions they refer to, are not at their last known address."""
    last_places = {name: sbdf for sbdf, name in where.chosen_as.items()}
    entries = {name: catalog[name] for name in names if name in catalog}
    physical = [entry.pf for entry in entries.values()]
    moved = []
    for name in dict.fromkeys([*entries, *(pf for pf in physical if pf is not None and pf in catalog)]):
        identity = catalog[name].identity
        before = identity.address or last_places.get(name)
        if catalog[name].pool is None and before is not None:
            with contextlib.suppress(Refused):  # refused where the name is looked up
                moved.append(Moved(name, before, find(name, catalog, where)))
    return tuple(move for move in moved if move.before != move.after)


def find_functions(name: str, catalog: Mapping[str, CatalogEntry], where: Lookup) -> tuple[Sbdf, ...]:
    """Find the function that one name means, or all functions of the card that it means. Raises Refused."""
    if not catalog.get(name, CatalogEntry()).functions:
        return (find(name, catalog, where),)
    try:
        fitting: Collection[Sbdf] = (find(name, catalog, where),)
    except _Ambiguous as error:
        fitting = error.candidates
    cards = sorted((functions_of_card(where.devices, sbdf) for sbdf in fitting), key=len)
    if any(not set(card) <= set(cards[-1]) for card in cards):
        raise _several(name, catalog[name].identity, [*fitting])
    if not cards[-1]:
        reason = f"{name!r} has no functions besides bridges"
        raise refused("bridge", name, reason, "name what can be given away")
    return cards[-1]


def find(name: str, catalog: Mapping[str, CatalogEntry], where: Lookup, asked: frozenset[str] = frozenset()) -> Sbdf:
    """Find the function that one name or address means. Raises Refused."""
    entry = catalog.get(name)
    address = address_of(name)
    if entry is None and address is None:
        reason = f"{name!r} is neither a name in the catalog nor a PCI address (such as 0000:03:00.0)"
        advice = (
            _advice_for_functions(name)
            or advice_if_unquoted(name)
            or did_you_mean(name, catalog, "correct it, or add it to the catalog")
        )
        raise refused("unknown-device", name, reason, advice)
    if entry is not None and entry.pool is not None:
        raise refused("pool-for-device", name, f"{name!r} is a pool, but a single device is needed", "name a device")
    identity = entry.identity if entry is not None else Identity(address=address)
    identity = with_physical_function(name, identity, catalog, where, asked)
    if identity.address is not None and identity.tells_apart:
        return _find_by_last_place(name, identity, where)
    return _find_anywhere(name, identity, where)


def with_physical_function(
    name: str,
    identity: Identity,
    catalog: Mapping[str, CatalogEntry],
    where: Lookup,
    asked: frozenset[str] = frozenset(),
) -> Identity:
    """Return the identity with `physfn` set to what its `pf` means now. Raises Refused if that is not clear."""
    if identity.pf is None:
        return identity
    if name in asked:
        raise refused("own-pf", name, f"{name!r} has itself as its physical function", "correct its pf")
    try:
        return replace(identity, physfn=find(identity.pf, catalog, where, asked | {name}))
    except Refused as error:
        kind = _Absent if isinstance(error, _Absent) else Refused
        raise kind(
            replace(refusal, subject=name, reason=f"The physical function of {name!r} is not clear: {refusal.reason}")
            for refusal in error.refusals
        ) from error


def _find_by_last_place(name: str, identity: Identity, where: Lookup) -> Sbdf:
    """Find a device with an address and a stronger identity: at the address, or elsewhere if it is not there."""
    place = identity.address
    at_place = where.match(identity, place) if place is not None and place in where.devices else Match.NO
    if place is not None and at_place is Match.YES:
        return place
    bare = identity.without_address()
    elsewhere = [sbdf for sbdf in where.devices if sbdf != place and where.match(bare, sbdf) is Match.YES]
    if place is not None and at_place is Match.UNKNOWN and not elsewhere:
        return place
    if len(elsewhere) == 1:
        return elsewhere[0]
    if elsewhere:
        raise _several(name, identity, elsewhere)
    possible = [sbdf for sbdf in where.devices if where.match(bare, sbdf) is Match.UNKNOWN]
    if possible:
        raise _unreadable(name, identity, possible, where)
    raise _missing(name, identity, where)


def _find_anywhere(name: str, identity: Identity, where: Lookup) -> Sbdf:
    matches = {sbdf: where.match(identity, sbdf) for sbdf in where.devices}
    certain = [sbdf for sbdf, match in matches.items() if match is Match.YES]
    possible = [sbdf for sbdf, match in matches.items() if match is Match.UNKNOWN]
    if len(certain) == 1:
        return certain[0]
    if certain:
        raise _several(name, identity, certain)
    if len(possible) == 1 and identity.says_more_than_drivers:
        return possible[0]
    if possible:
        raise _unreadable(name, identity, possible, where)
    raise _missing(name, identity, where)


def _recalled(name: str, sbdf: Sbdf, catalog: Mapping[str, CatalogEntry], where: Lookup) -> str:
    """Write a sentence if only the memory of an earlier boot distinguishes this device; empty otherwise."""
    identity, memory = catalog.get(name, CatalogEntry()).identity, where.remembered.get(sbdf, Remembered())
    if not memory.earlier_boot or (identity.nvme_serial is None and identity.mac is None):
        return ""
    what = (
        f"NVMe serial number {memory.nvme_serial}"
        if identity.nvme_serial is not None
        else f"MAC address {identity.mac}"
    )
    by = f"PCI serial number {where.devices[sbdf].serial}" if where.devices[sbdf].serial else "make and path"
    return f"{name} is taken to be {sbdf}: an earlier boot read {what} from the device with this {by}"


def _several(name: str, identity: Identity, candidates: list[Sbdf]) -> Refused:
    reason = f"{name!r} ({identity}) fits several devices: {shortened(sorted(candidates))}"
    advice = "declare another key that only one of them has"
    if len({sbdf.host_slot for sbdf in candidates}) == 1:
        advice = "they are functions of one card: add functions: all if all of them are meant, else function"
    return _Ambiguous([Refusal("ambiguous", name, reason, advice)], candidates)


def _advice_for_functions(name: str) -> str:
    """Advise on how to name all functions of a slot, which xl writes with a star."""
    is_slot = name.endswith(".*") and address_of(f"{name[:-1]}0") is not None
    return "name the card in the catalog, with the address of one function and functions: all" if is_slot else ""


def _unreadable(name: str, identity: Identity, possible: list[Sbdf], where: Lookup) -> Refused:
    what = "NVMe serial number" if identity.nvme_serial is not None else "MAC address"
    drivers = sorted({where.devices[sbdf].driver or "no driver" for sbdf in possible})
    reason = (
        f"{name!r} ({identity}) could be {shortened(sorted(possible))}, whose {what} cannot be read while"
        f" {' or '.join(drivers)} holds it"
    )
    return refused("unreadable-identity", name, reason, "declare its path, slot or PCI serial number as well")


def _missing(name: str, identity: Identity, where: Lookup) -> Refused:
    place = identity.address
    if place is None:
        reason = f"No device of this host fits {name!r} ({identity})"
        physical = where.devices.get(identity.physfn) if identity.physfn is not None else None
        too_few = too_few_functions(physical) if physical is not None else ""
        if too_few:
            return _absent(name, f"{reason}: {too_few}", DECLARE_FUNCTIONS)
        return _absent(name, reason, "correct the catalog, or check that the device is plugged in")
    bare = identity.without_address()
    if not str(bare):
        return _absent(name, f"This host has no PCI device {place}", "check the address with `lspci -D`")
    sitting = where.devices.get(place)
    there = f"{place} is {_described(sitting)}" if sitting else f"there is no device at {place}"
    reason = f"{name!r} ({identity}) is not at its declared address: {there}"
    elsewhere = [sbdf for sbdf in where.devices if where.match(bare, sbdf) is Match.YES]
    if not elsewhere:
        return _absent(name, f"{reason}, and no other device of this host fits", "correct the catalog")
    return _absent(
        name,
        f"{reason}, but elsewhere {shortened(sorted(elsewhere))} would fit",
        "correct the address, or declare a serial number, a slot or a path",
    )


def too_few_functions(physical: DeviceFacts) -> str:
    """Say how many virtual functions a physical one has, if it can have more; empty if it cannot."""
    now, most = len(physical.virtfns), physical.sriov_totalvfs
    return f"{physical.sbdf} has {now} of {most} virtual functions" if now < most else ""


def _absent(name: str, reason: str, advice: str) -> _Absent:
    return _Absent([Refusal("absent", name, reason, advice)])


def _quoted(names: Iterable[str]) -> str:
    return " and ".join(repr(name) for name in names)


def _described(facts: DeviceFacts) -> str:
    parts = [f"{facts.vendor}:{facts.device} (class {facts.class_code}"]
    parts += [f"serial {facts.serial}"] if facts.serial else []
    parts += [f"NVMe serial {facts.nvme_serial}"] if facts.nvme_serial else []
    return ", ".join(parts) + ")"
