# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find sentences that say the same of different things, so that a person reads it once with the list of things."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence

_ADDRESS = re.compile(r"\b[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b", re.ASCII)
_BLANK = "\0"

#: What must be the same in any case, what the texts are about, and the texts.
Said = tuple[Hashable, str, str, str]


def alike(said: Sequence[Said]) -> list[list[int]]:
    """Group the places of what says the same; a group is where its first one is.

    The same is said if only the subject differs, with its description in parentheses. Or they say it of each other:
    A has something with B and C, B with A and C.
    """
    groups = _grouped(range(len(said)), lambda at: _about(*said[at]))
    single = [group[0] for group in groups if len(group) == 1]
    mutual = _grouped(single, lambda at: _of_each_other(*said[at]))
    return sorted([*(group for group in groups if len(group) > 1), *mutual])


def merged(sentences: Iterable[str]) -> list[str]:
    """Join sentences that say the same of the device that they begin with; no sentence twice."""
    once = list(dict.fromkeys(sentences))
    subjects = [found[0] if (found := _ADDRESS.match(sentence)) else "" for sentence in once]
    groups = alike([("" if subject else at, subject, once[at], "") for at, subject in enumerate(subjects)])
    return [
        once[first] + (f". The same goes for {', '.join(subjects[at] for at in others)}" if others else "")
        for first, *others in groups
    ]


def _grouped(places: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    found: dict[Hashable, list[int]] = {}
    for at in places:
        found.setdefault(key(at), []).append(at)
    return list(found.values())


def _about(kind: Hashable, subject: str, *texts: str) -> Hashable:
    if not subject:
        return (kind, texts)
    # What follows in parentheses says which device it is, or which domain it is for: that is the owner.
    whole = rf"(?<![\w:.-])(['\"]?){re.escape(subject)}(?![\w:-])\1( \((?!for )[^()]*\))?"
    return (kind, *(re.sub(whole, _BLANK, text) for text in texts))


def _of_each_other(kind: Hashable, subject: str, *texts: str) -> Hashable:
    if not _ADDRESS.fullmatch(subject):
        return (kind, subject, texts)
    return (kind, frozenset(_ADDRESS.findall(texts[0])), *(_ADDRESS.sub(_BLANK, text) for text in texts))
