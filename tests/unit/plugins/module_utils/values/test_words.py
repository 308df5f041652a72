# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists, numbers and resembling words, as messages use them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.values.words import (
    counted,
    did_you_mean,
    listed,
    nearest,
    shortened,
)

KNOWN = ("vendor", "device", "subsystem_vendor", "nvme_serial", "vf-pool")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("venodr", "vendor"),
        ("VENDOR", "vendor"),
        ("nvme-serial", "nvme_serial"),
        ("vf_pool", "vf-pool"),
        ("color", None),
        ("", None),
        (5, None),
    ],
)
def test_the_nearest_word_is_one_that_is_spelled_almost_alike(word: object, meant: str | None) -> None:
    assert nearest(word, KNOWN) == meant


def test_advice_names_the_nearest_word_and_what_else_can_be_done() -> None:
    assert did_you_mean("devise", KNOWN, "add it to the catalog") == "did you mean 'device'? Add it to the catalog"
    assert did_you_mean("color", KNOWN, "add it to the catalog") == "add it to the catalog"


def test_things_are_listed_with_commas() -> None:
    assert listed([1, "b", 3.5]) == "1, b, 3.5"
    assert listed(["a"], "none") == "a"
    assert listed([], "none") == "none"
    assert listed([]) == ""


@given(st.lists(st.integers()), st.integers(1, 10))
def test_a_long_list_is_cut_and_says_how_many_more_there_are(things: list[int], most: int) -> None:
    text = shortened(things, most)
    shown, separator, more = text.partition(" and ")
    assert shown == listed(things[:most])
    assert (separator, more) == ((" and ", f"{len(things) - most} more") if len(things) > most else ("", ""))


def test_eight_are_shown_unless_another_number_is_asked_for() -> None:
    assert shortened(range(8)) == "0, 1, 2, 3, 4, 5, 6, 7"
    assert shortened(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"


@pytest.mark.parametrize(("number", "text"), [(0, "0 devices"), (1, "1 device"), (2, "2 devices")])
def test_a_noun_is_in_the_plural_unless_there_is_one(number: int, text: str) -> None:
    assert counted(number, "device") == text
