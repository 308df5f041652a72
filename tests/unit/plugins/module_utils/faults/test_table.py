# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of faults is complete and consistent, and the module's documentation lists what is in it."""

from __future__ import annotations

import dataclasses
from typing import get_args, get_type_hints

import pytest
import yaml

from ansible_collections.xen.pci.plugins.module_utils.faults import table
from ansible_collections.xen.pci.plugins.module_utils.faults.recipes import Recipe
from ansible_collections.xen.pci.plugins.module_utils.faults.table import Blocks, Fault, Looks, Removal, RepairedBy
from ansible_collections.xen.pci.plugins.modules import repair

COLUMNS = {name: get_args(kind) or (kind,) for name, kind in get_type_hints(table._Row).items()}
FAULTS = pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.code)


@FAULTS
def test_each_cell_has_the_type_of_its_column(fault: Fault) -> None:
    assert set(COLUMNS) == {column.name for column in dataclasses.fields(fault)}
    wrong = [name for name, kinds in COLUMNS.items() if not isinstance(getattr(fault, name), kinds)]
    assert wrong == []


@FAULTS
def test_a_person_is_needed_exactly_where_there_is_no_recipe(fault: Fault) -> None:
    assert (fault.recipe is None) == (fault.repaired_by in (RepairedBy.PERSON, RepairedBy.NOTHING))


@FAULTS
def test_what_may_be_intended_or_is_a_suspicion_blocks_nothing(fault: Fault) -> None:
    if fault.repaired_by in (RepairedBy.NAMED_REPAIR, RepairedBy.NOTHING):
        assert fault.blocks is Blocks.NOTHING
    if fault.blocks is Blocks.PLANS_UNLESS_IT_PASSES:
        assert fault.looks is Looks.UNDER_WAY
    if fault.removal is not Removal.LEAVES_IT:
        assert fault.blocks is Blocks.PLANS


@FAULTS
def test_its_texts_are_sentences_without_their_last_full_stop(fault: Fault) -> None:
    for text in (fault.meaning, fault.advice):
        assert text and not text.endswith((".", " ")) and "; " not in text
    assert fault.advice[0].isupper()
    if fault.repaired_by is RepairedBy.NAMED_REPAIR:
        assert "name this fault in the option faults" in fault.advice


def test_no_two_faults_have_the_same_meaning() -> None:
    assert len({fault.meaning for fault in Fault}) == len(Fault)


def test_each_recipe_repairs_a_fault() -> None:
    assert {fault.recipe for fault in Fault} - {None} == set(Recipe)


def test_the_documentation_of_repair_lists_all_faults() -> None:
    option = yaml.safe_load(repair.DOCUMENTATION)["options"]["faults"]
    assert option["choices"] == sorted(fault.code for fault in Fault)
    told = " ".join(option["description"])
    assert all(f"V({fault.code})" in told for fault in Fault if fault.repaired_by is RepairedBy.NAMED_REPAIR)


def test_the_documentation_of_findings_lists_all_ways_of_repair() -> None:
    key = yaml.safe_load(repair.RETURN)["findings"]["contains"]["repaired_by"]
    assert key["choices"] == [way.value for way in RepairedBy]
