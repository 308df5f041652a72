# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""More states that other programs may write into a connection that works: one of each kind is in test_repair_on_xen.py.

The fault suite has them all, on the simulated host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from disposable_host import Ward, ward
from test_repair_on_xen import (
    PARTS,
    A,
    B,
    FaultyHost,
    frontend_state_written,
    is_named_and_repaired,
    state_written,
    sub_state_written,
)

from xenlab import Host

STATES = [
    FaultyHost("dom0's state is 1", [A, B], state_written("1"), ["altered_state"], [A, B]),
    FaultyHost("dom0's state is x", [A, B], state_written("x"), ["altered_state"], [A, B]),
    FaultyHost("the guest's state is 1", [A, B], frontend_state_written("1"), ["altered_state"], [A, B]),
    FaultyHost("the guest's state is 8", [A, B], frontend_state_written("8"), ["altered_state"], [A, B]),
    FaultyHost("a sub-state is 5", [A, B], sub_state_written("5"), ["altered_entry"], [A, B]),
]


@pytest.fixture(scope="module")
def lab(host: Host) -> Iterator[Ward]:
    with ward(host, PARTS) as running:
        yield running


@pytest.mark.parametrize("faulty", STATES, ids=[faulty.name for faulty in STATES])
def test_a_state_is_named_and_repaired(lab: Ward, faulty: FaultyHost, happened: Callable[[str], None]) -> None:
    try:
        happened(is_named_and_repaired(lab, faulty))
    except BaseException:
        lab.renew()
        raise
