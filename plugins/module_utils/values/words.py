# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists and numbers in sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterable


def listed(things: Iterable[object], none: str = "") -> str:
    """The texts of all things, separated by commas; `none` if there are none."""
    return ", ".join(map(str, things)) or none


def shortened(things: Collection[object], most: int = 8) -> str:
    """The texts of all things; of a long list the first ones and how many more there are."""
    texts = [str(one) for one in things]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def counted(number: int, noun: str) -> str:
    """The number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
