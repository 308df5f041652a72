# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback plugin of the demo: every task's result as one line of JSON on standard output, and nothing else."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: events
type: stdout
short_description: Results of tasks as lines of JSON
description: For a program that reads what modules returned while a playbook runs.
"""


class CallbackModule(CallbackBase):
    """Writes one line per task and host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "events"

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write(result, "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write(result, "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write(result, "unreachable")

    def _write(self, result: Any, status: str) -> None:
        event = {
            "host": result.host.get_name(),
            "action": result.task.action,
            "status": status,
            "result": result.result,
        }
        print(json.dumps(event, default=str), flush=True)
