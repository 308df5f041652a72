# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe a host until what looks like a fault has proved to be one, and not a change that is under way."""

from __future__ import annotations

import time
from typing import Callable

from ..faults.diagnose import diagnose
from ..faults.finding import Finding
from ..host.access import HostAccess
from ..host.observe import observe
from ..model.host import Host

#: Seconds for which a fault must have looked the same. xl takes a device's marker and rights first, resets
#: it, and writes its entry last: for that long it looks like an attach that was never finished.
SETTLE_SECONDS = 2.0
#: Seconds to the next look, the first time; then twice as many each time, since a look reads the whole host.
_LOOK_AGAIN = 0.1


def observe_until_settled(
    access: HostAccess, matters: Callable[[Finding], bool], settle: float, timeout: float
) -> tuple[Host, list[Finding]]:
    """Observe until the findings that matter are none, or the same for `settle` seconds; at most `timeout` seconds."""
    deadline = time.monotonic() + timeout
    unchanged_since, last, pause = time.monotonic(), None, _LOOK_AGAIN
    while True:
        host = observe(access)
        findings = [finding for finding in diagnose(host) if matters(finding)]
        now = time.monotonic()
        if findings != last:
            unchanged_since, last, pause = now, findings, _LOOK_AGAIN
        if not findings or now - unchanged_since >= settle or now >= deadline:
            return host, findings
        time.sleep(min(pause, unchanged_since + settle - now, deadline - now))
        pause *= 2
