# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module of this collection as Ansible runs any module, but pack it once, and not once in each run of Ansible.

What was packed is kept (plugin_utils/kept_packages.py). Where it has to be packed, Python's garbage collector is off.
Ansible parses every file that a module reaches by imports, and the collector would look at all of Ansible's memory
again and again, which takes as long as the parsing itself (docs/performance.md). This happens in the process that
Ansible forks for the task, and that ends with it.
"""

from __future__ import annotations

import gc
from typing import Any

from ansible.plugins.action.normal import ActionModule as NormalAction

from ansible_collections.xen.pci.plugins.plugin_utils.kept_packages import KeptPackages


class ActionModule(NormalAction):
    """The class that Ansible looks for in an action plugin."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        packages = KeptPackages(self._task.action.rpartition(".")[2])
        packages.bring()
        was_on = gc.isenabled()
        gc.disable()
        try:
            result: dict[str, Any] = super().run(tmp, task_vars)
            packages.keep()
            return result
        finally:
            if was_on:
                gc.freeze()  # or the first thing that a collector does is to look at all that packing has left
                gc.enable()
