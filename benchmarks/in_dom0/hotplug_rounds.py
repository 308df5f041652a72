# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rounds of hotplug.py, run inside dom0: reads its order from standard input, writes a sample per line.

The guest keeps one more device all the time, so that its connection stays up as it does in a
guest that has other devices; what is measured is hot-plug, not the first connection.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence

from ansible_collections.xen.pci.plugins.module_utils.apply.converge import converge
from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess, open_host
from ansible_collections.xen.pci.plugins.module_utils.host.observe import observe
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore_nodes import read_connection
from ansible_collections.xen.pci.plugins.module_utils.model.evidence import ConvergeLevel
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import DesiredDomain, make_plan
from ansible_collections.xen.pci.plugins.module_utils.results.domain_report import look_again
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import shown

ANCHOR = "0000:00:09.0"


def main() -> None:
    """Assign all, run the rounds, release all."""
    order = json.load(sys.stdin)
    devices: list[str] = order["devices"]
    for device in [ANCHOR, *devices]:
        xl("pci-assignable-add", device)
    try:
        with open_host() as access:
            ours(access, order["guest"], [ANCHOR])
            for _round in range(order["rounds"]):
                for count in order["counts"]:
                    for sample in one_round(access, order["guest"], devices[:count]):
                        print(json.dumps(sample), flush=True)
            ours(access, order["guest"], [])
    finally:
        for device in [ANCHOR, *devices]:
            xl("pci-assignable-remove", "-r", device)


def one_round(access: HostAccess, guest: str, devices: Sequence[str]) -> list[dict[str, object]]:
    """Add and remove the devices, twice in our way, then in xl's.

    xl has had them before our first time, so they are reset on their way in, and not at our second.
    """
    operations = [
        ("add", [ANCHOR, *devices]),
        ("remove", [ANCHOR]),
        ("add again", [ANCHOR, *devices]),
        ("remove", [ANCHOR]),
    ]
    timed = [(operation, *ours(access, guest, wanted)) for operation, wanted in operations]
    by_xl = {"add": one_by_one(access, "pci-attach", guest, devices)}
    by_xl |= {"remove": one_by_one(access, "pci-detach", guest, devices), "add again": by_xl["add"]}
    return [
        {"operation": operation, "count": len(devices), "ours": seconds, "kernel": kernel, "xl": by_xl[operation]}
        for operation, seconds, kernel in timed
    ]


def ours(access: HostAccess, guest: str, devices: Sequence[str]) -> tuple[float, float]:
    """Seconds of the apply step, verification included, and the kernels' share of them."""
    desired = [DesiredDomain(guest, tuple(map(Sbdf.parse, devices)), exclusive=True)]
    host = observe(access)
    plan, level = make_plan(host, desired), ConvergeLevel.CONNECTED
    if plan.refusals:
        raise SystemExit(shown(plan.refusals))
    began = time.monotonic()
    outcomes = converge(access, host, plan, level, timeout=600)
    reports = look_again(access, plan, outcomes, level)
    seconds = time.monotonic() - began
    errors = [report.error for report in reports if report.error]
    if errors:
        raise SystemExit("; ".join(errors))
    return seconds, sum(cycle.seconds for report in reports for cycle in report.cycles)


def one_by_one(access: HostAccess, command: str, guest: str, devices: Sequence[str]) -> float:
    """Seconds until xl has done it device by device and both ends are at rest."""
    domid = int(xl("domid", guest))
    began = time.monotonic()
    for device in devices:
        xl(command, guest, device)
    while not ((backend := read_connection(access.store, domid)) and backend.connected):
        time.sleep(0.01)
    return time.monotonic() - began


def xl(*words: str) -> str:
    """Run xl; its output."""
    done = subprocess.run(["xl", *words], check=True, capture_output=True, text=True)
    return done.stdout


if __name__ == "__main__":
    main()
