# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as it will be once its faults are mended, as far as a plan looks at it: for who only wants to know. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ..model.backend import Backend, Entry
from ..model.host import Domain, Host
from ..values.states import SubState, XenbusState
from .diagnose import Finding
from .faults import Fault

#: What mending them takes from a domain, or from nobody knows whom.
_FREE_DEVICES = (
    Fault.UNFINISHED_REMOVAL,
    Fault.UNFINISHED_CLOSE,
    Fault.UNEXPORTED_ENTRY,
    Fault.LEFT_RIGHTS,
    Fault.UNEXPLAINED_OWNER,
)
_END_CONNECTION = (Fault.UNFINISHED_CLOSE, Fault.EMPTY_CONNECTION, Fault.GHOST_CONNECTION)
_COME_BACK = (Fault.UNFINISHED_REPAIR,)
#: Devices that a living domain may list nonetheless.
_END_MARKERS = (Fault.DEAD_MARKER, Fault.GHOST_CONNECTION)


def assuming_mended(host: Host, findings: Collection[Finding]) -> Host:
    """This host without these faults; one that a plan does not see, or whose end is open, changes nothing."""
    free = {device for one in findings if one.fault in _FREE_DEVICES for device in one.devices}
    back = {one.whose: _with_connection(host.domains[one.whose], one) for one in findings if one.fault in _COME_BACK}
    ended = {one.domid for one in findings if one.fault in _END_CONNECTION}
    dead = {one.domid for one in findings if one.fault in _END_MARKERS}
    after = host.assuming_free(free)
    return replace(
        after,
        domains={
            domid: replace(domain, backend=None) if domid in ended else back.get(domid, domain)
            for domid, domain in after.domains.items()
        },
        ghosts={domid: ghost for domid, ghost in after.ghosts.items() if domid not in ended},
        markers={device: domid for device, domid in after.markers.items() if domid not in dead},
    )


def _with_connection(domain: Domain, finding: Finding) -> Domain:
    """The domain as it has the devices of a finding."""
    entries = tuple(Entry(index, one, SubState.EXPORTED, None) for index, one in enumerate(finding.devices))
    at_rest = Backend(domain.domid, XenbusState.CONNECTED, XenbusState.CONNECTED, entries, count_is_sound=True)
    return replace(domain, backend=at_rest)
