# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs the modules: the collector is off while it does, and every module is run by it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.plugins.action.normal import ActionModule as NormalAction

from ansible_collections.xen.pci.plugins.action.quick_packing import ActionModule

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ActionModule]:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "run"))
    made = object.__new__(ActionModule)
    made._task = SimpleNamespace(action="xen.pci.host_info")
    yield made
    gc.unfreeze()


def test_the_collector_is_off_while_a_module_runs(action: ActionModule, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_self: Any, tmp: object, task_vars: object) -> dict[str, Any]:
        return {"collected": gc.isenabled(), "given": (tmp, task_vars)}

    monkeypatch.setattr(NormalAction, "run", run)
    assert action.run(None, {"a": 1}) == {"collected": False, "given": (None, {"a": 1})}
    assert gc.isenabled() and gc.get_freeze_count()


def test_the_collector_is_on_again_after_a_failure(action: ActionModule, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_arguments: object) -> None:
        raise ConnectionError("unreachable")

    monkeypatch.setattr(NormalAction, "run", run)
    with pytest.raises(ConnectionError):
        action.run()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off(action: ActionModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NormalAction, "run", lambda *_arguments: {})
    gc.disable()
    try:
        action.run()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_every_module_is_run_by_it() -> None:
    routing = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["plugin_routing"]["modules"]
    modules = {file.stem for file in (ROOT / "plugins/modules").glob("*.py")}
    assert routing == {module: {"action_plugin": "xen.pci.quick_packing"} for module in modules}
