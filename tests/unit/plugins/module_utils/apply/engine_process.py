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

from ansible_collections.xen.pci.plugins.module_utils.apply.converge import ConvergeLevel, converge
from ansible_collections.xen.pci.plugins.module_utils.host.access import open_host
from ansible_collections.xen.pci.plugins.module_utils.host.observe import observe
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import DesiredDomain, make_plan
from ansible_collections.xen.pci.plugins.module_utils.results.domain_report import look_again
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf


def serve() -> None:
    """Answer each request for a run with what came of it."""
    for line in sys.stdin:
        print(json.dumps(_run(**json.loads(line))), flush=True)


def _run(desired: list[dict[str, Any]], timeout: float, level: str) -> dict[str, Any]:
    wants = [DesiredDomain(**{**want, "devices": tuple(map(Sbdf.parse, want["devices"]))}) for want in desired]
    with open_host() as access:
        host = observe(access)
        plan, wanted = make_plan(host, wants), ConvergeLevel(level)
        if plan.refusals:
            return {"refused": [str(refusal) for refusal in plan.refusals]}
        outcomes = converge(access, host, plan, wanted, timeout)
        reports = look_again(access, plan, outcomes, wanted)
    return {
        "changed": any(report.changed for report in reports),
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
            for report in reports
        },
    }


if __name__ == "__main__":
    serve()
