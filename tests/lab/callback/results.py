# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback plugin of the tests: writes each task's result as a line of JSON to the file that XENLAB_RESULTS names."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: results
type: notification
short_description: Results of tasks as lines of JSON
description: For tests, which read what modules returned.
"""


class CallbackModule(CallbackBase):
    """Writes one line per task and host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "results"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write(result, failed=False)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write(result, failed=True)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write(result, failed=True)

    def _write(self, result: Any, failed: bool) -> None:
        returned = json.loads(json.dumps({**result._result, "failed": failed}, default=str))
        with open(os.environ["XENLAB_RESULTS"], "a", encoding="utf-8") as file:
            file.write(json.dumps({"task": result._task.get_name(), "result": returned}) + "\n")
