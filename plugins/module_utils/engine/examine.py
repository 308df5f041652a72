# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a host until what seems wrong has proved to be wrong, and not just under way."""

from __future__ import annotations

import time
from typing import Callable

from ..decisions.diagnose import Finding, Signs, diagnose
from ..interfaces.xen_backend import kernel_connections
from ..model.backend import error_path
from ..model.host import Host
from .assignment import current_notes
from .observe import observe
from .outside import Outside

#: Seconds for which a fault must have looked the same. xl takes a device's marker and rights first, resets
#: it, and writes its entry last: for that long it looks like an attach that was never finished.
SETTLE_SECONDS = 2.0
#: Seconds to the next look, the first time; then twice as many each time, since a look reads the whole host.
_LOOK_AGAIN = 0.1
_ERRORS = "/local/domain/0/error/backend/pci"


def look(outside: Outside) -> Signs:
    """Everything that a diagnosis needs, read once. Raises the errors of the outside systems."""
    return signs_of(outside, observe(outside.store, outside.sysfs, outside.hypervisor))


def signs_of(outside: Outside, host: Host) -> Signs:
    """The same of a host that was observed just now."""
    domids = [int(name) for name in outside.store.list(_ERRORS) if name.isdecimal()]
    errors = outside.store.read_all([error_path(domid) for domid in domids])
    noted = {sbdf for sbdf, note in current_notes(outside.store, host).items() if note.quarantined}
    return Signs(
        host=host,
        kernel_connections=kernel_connections(outside.sysfs.root),
        kernel_errors={domid: text for domid, text in zip(domids, errors) if text},
        quarantined=frozenset(noted | host.driver_paths.keys()),
    )


def examine(
    outside: Outside, matters: Callable[[Finding], bool], settle: float, timeout: float
) -> tuple[Signs, list[Finding]]:
    """Look until the findings that matter are none, or the same for `settle` seconds; `timeout` bounds it all."""
    deadline = time.monotonic() + timeout
    unchanged_since, last, pause = time.monotonic(), None, _LOOK_AGAIN
    while True:
        signs = look(outside)
        findings = [one for one in diagnose(signs) if matters(one)]
        now = time.monotonic()
        if findings != last:
            unchanged_since, last, pause = now, findings, _LOOK_AGAIN
        if not findings or now - unchanged_since >= settle or now >= deadline:
            return signs, findings
        time.sleep(min(pause, unchanged_since + settle - now, deadline - now))
        pause *= 2
