# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is written to the connection of a guest that works, no expected repair takes a device in use from it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from builders import assignable, domain, host, nodes
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.faults.diagnose import diagnose
from ansible_collections.xen.pci.plugins.module_utils.faults.expected_repair import expected_repair
from ansible_collections.xen.pci.plugins.module_utils.faults.scope import Scope
from ansible_collections.xen.pci.plugins.module_utils.faults.table import Fault
from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import ConfigFlags, XenOwner
from ansible_collections.xen.pci.plugins.module_utils.model.device_model import DeviceModel, Plugged, qemu_name
from ansible_collections.xen.pci.plugins.module_utils.model.domain import DomainKind
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.values.address import GuestAddress, Sbdf

A, B, C = (Sbdf(0, bus, 0, 0) for bus in (1, 2, 3))
RUN = ConfigFlags(memory=True, bus_master=True)
#: What anybody may write, to whichever node.
VALUES = st.sampled_from([None, "", "x", "0", "1", "2", "3", "4", "5", "9", str(A), str(B), str(C), "0000:00:05.00"])
NAMES = st.sampled_from([f"{kind}-{at}" for kind in ("dev", "key", "state", "vdev", "opts") for at in (0, 1, 2)])
#: An end of the connection that says that it closes really does, so those states are left out.
STATES = st.sampled_from(["1", "2", "3", "4", "8", "9", "", "x", None])


def working(written: Mapping[str, str | None], state: str | None, frontend: str | None, model: bool) -> Host:
    """A guest that uses A and B, with C beside it, after this was written to its connection."""
    found = {name: value for name, value in {**nodes(A, B), **written, "state": state}.items() if value is not None}
    own = PciConnection.from_nodes(1, found, frontend)
    plugged = {qemu_name(one): Plugged(GuestAddress(0, 0, one.bus, 0), True) for one in (A, B)}
    facts = {"kind": DomainKind.HVM, "device_model": DeviceModel(plugged)} if model else {}
    guest = domain(1, "g1", own_connection=own, configured=(A, B), **facts)
    devices = [assignable(A, config=RUN), assignable(B, config=RUN), assignable(C)]
    owners = {A: XenOwner.GUEST, B: XenOwner.GUEST, C: XenOwner.HOST}
    known = {"markers": {A: 1, B: 1}, "xen_owners": owners, "quarantined": frozenset({A, B, C})}
    return host(devices, [guest], kernel_connections=frozenset({1}), **known)


@pytest.mark.parametrize("everything", [True, False], ids=["repair", "never"])
@given(st.dictionaries(NAMES, VALUES, max_size=5), STATES, STATES, st.booleans(), VALUES)
def test_nothing_that_is_written_costs_a_device(
    everything: bool,
    written: dict[str, str | None],
    state: str | None,
    frontend: str | None,
    model: bool,
    count: str | None,
) -> None:
    damaged = working({**written, "num_devs": count}, state, frontend, model)
    expected = expected_repair(damaged, Scope(), everything)
    after = expected.host
    assert {after.xen_owners[device] for device in (A, B)} == {XenOwner.GUEST}
    assert after.xen_owners[C] is XenOwner.HOST
    assert all(after.devices[device].config == RUN for device in (A, B))
    left = {finding.fault for finding in diagnose(after)}
    missing = {A, B} - {*after.domains[1].devices}
    told = {Fault.LOST_ENTRY, Fault.DISORDERED_ENTRIES, Fault.LOST_BACKEND, Fault.STUCK_KERNEL_DEVICE}
    assert not missing or left & {*told, Fault.NEVER_CONNECTED, Fault.EMPTY_CONNECTION}


@given(STATES, STATES)
def test_states_alone_are_written_again(state: str | None, frontend: str | None) -> None:
    """And the guest's end that is missing has really ended for dom0's kernel."""
    expected = expected_repair(working({}, state, frontend, model=False), Scope(), everything=True)
    assert expected.left == () and expected.host.domains[1].devices == (A, B)
