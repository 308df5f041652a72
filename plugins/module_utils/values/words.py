# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write lists and numbers in sentences, and find words that resemble each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def listed(things: Iterable[object], none: str = "") -> str:
    """Write all things, separated by commas; `none` if there are none."""
    return ", ".join(map(str, things)) or none


def shortened(things: Collection[object], most: int = 8) -> str:
    """Write all things, separated by commas; of a long list the first ones and how many more there are."""
    texts = [str(thing) for thing in things]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def counted(number: int, noun: str) -> str:
    """Write a number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def nearest(word: object, known: Iterable[object]) -> str | None:
    """Find the known word that is most like this one; None if no word is like it.

    Upper and lower case count as alike, and so do - and _.
    """
    # Imported here: only a refusal needs it, and every run would pay for it.
    from difflib import get_close_matches  # noqa: PLC0415

    spelled = {str(candidate).lower().replace("-", "_"): str(candidate) for candidate in known}
    found = get_close_matches(str(word).lower().replace("-", "_"), spelled, n=1)
    return spelled[found[0]] if found else None


def did_you_mean(word: object, known: Iterable[object], otherwise: str) -> str:
    """Write advice for an unknown word: the nearest known one, and what to do if that was not meant."""
    meant = nearest(word, known)
    return f"did you mean {meant!r}? {otherwise[:1].upper()}{otherwise[1:]}" if meant is not None else otherwise


def itemized(sentences: Sequence[str]) -> str:
    """Write what follows a colon: a single sentence on the same line, several as a list."""
    return f" {sentences[0]}" if len(sentences) == 1 else "".join(f"\n- {sentence}" for sentence in sentences)
