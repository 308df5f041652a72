# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Misspelled variables, and that nothing reads a variable that the table does not have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.xen.pci.plugins.filter import unknown_variables as filter_module
from ansible_collections.xen.pci.plugins.module_utils.values.variables import VARIABLES

ROOT = Path(__file__).resolve().parents[4]
unknown_variables = filter_module.FilterModule().filters()["unknown_variables"]


def test_a_misspelled_variable_is_named_with_the_nearest_one() -> None:
    (sentence,) = unknown_variables([*VARIABLES, "xen_pci_domain", "ansible_user", "xen_hosts"])
    assert sentence.startswith("xen_pci_domain is not a variable of xen.pci. Did you mean 'xen_pci_domains'?")
    assert "xen_pci_devices" in sentence


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("xen_pci_device", "xen_pci_devices"),
        ("xen_pcidevices", "xen_pci_devices"),
        ("xen_pci_exclusiv", "xen_pci_exclusive"),
        ("xen_pci_release_undeclard", "xen_pci_release_undeclared"),
        ("xen_pci_virtualfunctions", "xen_pci_virtual_functions"),
    ],
)
def test_the_nearest_variable(name: str, meant: str) -> None:
    assert f"Did you mean '{meant}'?" in unknown_variables([name])[0]


@pytest.mark.parametrize("names", ["xen_pci_device", {"xen_pci_device": 1}, [1], None])
def test_something_else_than_names_is_an_error(names: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="takes a list of names"):
        unknown_variables(names)


def test_the_table_has_the_variables_that_are_read_and_no_others() -> None:
    roles = (file for name in ("apply", "host") for file in (ROOT / "roles" / name).rglob("*.yml"))
    files = [ROOT / "playbooks/apply.yml", *roles]
    read = {name for file in files for name in re.findall(r"{{.*?\b(xen_pci_[a-z_]+)", file.read_text())}
    assert read == set(VARIABLES)
