# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each recipe has one implementation, according to its kind; and what those do that no simulated host shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.apply.loop import Clock
from ansible_collections.xen.pci.plugins.module_utils.faults.finding import Finding
from ansible_collections.xen.pci.plugins.module_utils.faults.recipes import Recipe, RecipeKind
from ansible_collections.xen.pci.plugins.module_utils.faults.table import Fault
from ansible_collections.xen.pci.plugins.module_utils.model.device_model import DeviceModel
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.repair.connection_recipes import CONNECTION_RECIPES
from ansible_collections.xen.pci.plugins.module_utils.repair.device_model_recipes import is_for_device_model
from ansible_collections.xen.pci.plugins.module_utils.repair.device_recipes import DEVICE_RECIPES
from ansible_collections.xen.pci.plugins.module_utils.repair.job import RepairJob
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A = Sbdf(0, 1, 0, 0)
OF_CONNECTIONS = (RecipeKind.CONNECTION, RecipeKind.END_OF_CONNECTION, RecipeKind.GUEST)
FAULT_OF = {fault.recipe: fault for fault in Fault}


def job(recipe: Recipe, model: DeviceModel | None = None, access: Any = None) -> RepairJob:
    host = Host({}, {1: Domain(1, "g1", device_model=model)})
    return RepairJob(access, host, Finding(FAULT_OF[recipe], "as seen", 1, "g1", (A,)), Clock(0.0))


@pytest.mark.parametrize("recipe", Recipe, ids=lambda recipe: recipe.name)
def test_each_recipe_is_implemented_according_to_its_kind(recipe: Recipe) -> None:
    assert (recipe in DEVICE_RECIPES) == (recipe.kind is RecipeKind.DEVICE)
    assert (recipe in CONNECTION_RECIPES) == (recipe.kind in OF_CONNECTIONS)
    by_model = recipe.kind in (RecipeKind.DEVICE_MODEL, RecipeKind.GUEST)
    assert is_for_device_model(job(recipe, DeviceModel())) == by_model
    assert not is_for_device_model(job(recipe))


class ListOfPciback:
    """pciback's list with a device, and whether pciback holds that."""

    def __init__(self, times: int, holds: bool) -> None:
        self.listed = [A] * times
        self.driver = "pciback" if holds else "e1000e"

    def remove_slot(self, device: Sbdf) -> None:
        self.listed = [one for one in self.listed if one != device]

    def add_slot(self, device: Sbdf) -> None:
        self.listed.append(device)

    def driver_of(self, _device: Sbdf) -> str:
        return self.driver


@pytest.mark.parametrize(("times", "holds", "left"), [(1, False, 0), (3, True, 1), (2, False, 0)])
def test_pcibacks_list_names_a_device_once_if_pciback_holds_it(times: int, holds: bool, left: int) -> None:
    """No kernel of today lists one twice, so no simulated host does."""
    sysfs = ListOfPciback(times, holds)
    assert DEVICE_RECIPES[Recipe.CORRECT_SLOT](job(Recipe.CORRECT_SLOT, access=SimpleNamespace(sysfs=sysfs))) == []
    assert sysfs.listed == [A] * left
