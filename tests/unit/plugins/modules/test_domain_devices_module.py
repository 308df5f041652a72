# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the options of domain_devices are read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.xen.pci.plugins.module_utils.plan.declaration import Declaration
from ansible_collections.xen.pci.plugins.modules import domain_devices


def declared(exclusive: bool = False, **domains: Any) -> Declaration:
    params = {"domains": domains, "exclusive": exclusive, "catalog": {}}
    return domain_devices._declaration(SimpleNamespace(params=params))


def test_the_path_of_a_file_may_have_a_variable_and_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUESTS", "/etc/xen")
    monkeypatch.setenv("HOME", "/root")
    files = declared(web01={"devices": [], "config": "$GUESTS/web01.cfg"}, web02={"devices": [], "config": "~/a.cfg"})
    assert files.config_files == ("/etc/xen/web01.cfg", "/root/a.cfg")


def test_what_holds_for_all_domains_is_no_contradiction_in_one() -> None:
    (domain,) = declared(exclusive=True, web01={"devices": ["0000:03:00.0"], "state": "absent"}).domains
    assert domain.exclusive and not domain.present
    assert domain.refusals == ()
