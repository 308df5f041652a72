# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What YAML makes of text without quotes is recognized, and text that no number looks like is left alone."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import read_catalog
from ansible_collections.xen.pci.plugins.module_utils.values.declared_domain import read_domain
from ansible_collections.xen.pci.plugins.module_utils.values.unquoted import advice_if_unquoted

FUNCTIONS = st.builds(Sbdf, st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7))


@pytest.mark.parametrize(
    "value", [60.0, 128, 1e10, True, False, "60.0", "41135085296", "1e5", ".5", "-1", float("inf")]
)
def test_numbers_and_truth_values_are_not_what_was_written(value: Any) -> None:
    assert "quotes" in advice_if_unquoted(value)


@pytest.mark.parametrize("value", ["0000:01:00.0", "uplink", "", "52:54:00:00:01:01", "10de", "1f.2", [60.0], {}, None])
def test_text_and_lists_are(value: Any) -> None:
    assert advice_if_unquoted(value) == ""


@given(FUNCTIONS, st.booleans())
def test_an_address_without_quotes_is_itself_or_refused_with_advice(function: Sbdf, short: bool) -> None:
    """As every document is loaded: YAML makes a number of some addresses, and text of the others."""
    text = str(function)[5:] if short and not function.segment else str(function)
    written = yaml.safe_load(f"[{text}]")
    domain = read_domain("web01", {"devices": written})
    catalog = read_catalog({"uplink": written[0], "mapped": {"address": written[0]}})
    if written == [text]:
        assert domain.devices == (text,) and not catalog.refusals
        return
    assert [refusal.code for refusal in domain.refusals] == ["device-request"]
    assert [refusal.code for refusal in catalog.refusals] == ["catalog-entry", "catalog-value"]
    assert all("quotes" in refusal.advice for refusal in (*domain.refusals, *catalog.refusals))


@given(st.lists(st.integers(0, 255), min_size=6, max_size=6))
def test_a_mac_address_without_quotes_is_itself_or_refused_with_advice(numbers: list[int]) -> None:
    text = ":".join(f"{number:02x}" for number in numbers)
    written = yaml.safe_load(f"[{text}]")[0]
    refusals = read_catalog({"uplink": {"mac": written}}).refusals
    assert [refusal.code for refusal in refusals] == ([] if written == text else ["catalog-value"])
    assert all("quotes" in refusal.advice for refusal in refusals)


@given(st.integers(0, 0xFFFF), st.sampled_from(["{:04x}", "0x{:04x}", "{:04X}"]))
def test_an_identifier_without_quotes_is_itself_or_refused_with_advice(number: int, form: str) -> None:
    text = form.format(number)
    written = yaml.safe_load(f"[{text}]")[0]
    refusals = read_catalog({"card": {"vendor": written, "class": "02"}}).refusals
    assert [refusal.code for refusal in refusals] == ([] if isinstance(written, str) else ["catalog-value"])
    assert all("quotes" in refusal.advice for refusal in refusals)
