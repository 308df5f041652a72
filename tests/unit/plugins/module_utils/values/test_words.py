# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists, numbers and resembling words, as messages use them."""

from __future__ import annotations

import pytest

from ansible_collections.xen.pci.plugins.module_utils.values.words import did_you_mean, nearest

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
