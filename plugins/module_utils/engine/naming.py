# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the names of a declaration mean on this host now, and what was declared with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..decisions.assignment import Situation, Wish
from ..decisions.facts import all_facts
from ..decisions.resolve import Lookup, Resolution
from ..decisions.safety import wrong_waivers
from ..decisions.select import resolve_all
from ..interfaces.notes import Note
from ..values.address import Sbdf
from ..values.catalogue import Entry, parse_catalogue
from ..values.identity import IdentityError
from .assignment import remembered_identities


def read_catalogue(declared: object) -> dict[str, Entry]:
    """The catalogue with its waivers checked. Raises IdentityError."""
    catalogue = parse_catalogue(declared)
    problems = wrong_waivers(catalogue)
    if problems:
        raise IdentityError(problems)
    return catalogue


def resolve_names(
    catalogue: Mapping[str, Entry], situation: Situation, notes: Mapping[Sbdf, Note], wanted: Iterable[str]
) -> Resolution:
    """The devices that wanted names and pools mean. Raises NeedsJmespath if an expression needs it and it is absent."""
    remembered = remembered_identities(notes)
    chosen_as = {sbdf: note.name for sbdf, note in notes.items() if note.name}
    where = Lookup(situation.host.devices, remembered, chosen_as)
    return resolve_all(catalogue, where, wanted, situation.host, lambda: all_facts(situation, remembered))


def wishes(catalogue: Mapping[str, Entry], names: Mapping[Sbdf, str]) -> dict[Sbdf, Wish]:
    """What was declared of each device besides which one it is; `names` are those they were found under."""
    entries = {sbdf: catalogue.get(name, Entry()) for sbdf, name in names.items()}
    return {sbdf: Wish(names[sbdf], entry.waive, entry.permissive) for sbdf, entry in entries.items()}
