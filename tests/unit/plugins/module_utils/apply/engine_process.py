# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine in a process of its own, which answers one run a line.

The simulator wants a Python that was started with its variables.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible_collections.xen.pci.plugins.module_utils.apply.converge import ConvergeLevel, Refused, converge, prepare
from ansible_collections.xen.pci.plugins.module_utils.host.access import open_host
from ansible_collections.xen.pci.plugins.module_utils.host.observe import observe
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import DesiredDomain
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf


def serve() -> None:
    """Answer each request for a run with what came of it."""
    for line in sys.stdin:
        print(json.dumps(_run(**json.loads(line))), flush=True)


def _run(desired: list[dict[str, Any]], timeout: float, level: str) -> dict[str, Any]:
    wants = [DesiredDomain(**{**want, "devices": tuple(map(Sbdf.parse, want["devices"]))}) for want in desired]
    with open_host() as access:
        host = observe(access)
        try:
            plan = prepare(host, wants)
        except Refused as refusal:
            return {"refused": refusal.conflicts}
        outcome = converge(access, host, plan, ConvergeLevel(level), timeout)
    return {
        "changed": outcome.changed,
        "domains": {
            report.name: {
                "after": [str(device) for device in report.after],
                "states": [report.backend_state.value, report.frontend_state.value],
                "connected": [str(one.device) for one in report.evidence if one.connected],
                "active": [str(one.device) for one in report.evidence if one.active],
                "cycles": [
                    {"added": [str(one) for one in cycle.added], "removed": [str(one) for one in cycle.removed]}
                    for cycle in report.cycles
                ],
                "warnings": list(report.warnings),
                "error": report.error,
            }
            for report in outcome.reports
        },
    }


if __name__ == "__main__":
    serve()
