# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest whose virtual PCI bus is full, on real Xen: we refuse one device more; xl does not, and pciback loses it.

The tests go on from each other. In the end the host is rebooted, as pciback needs it then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import playbook
import pytest
from independent_view import attached_by_xl, drivers, not_as_xen_says, traces_of
from module_runner import Modules, modules

from xenlab import Host, topology

PF, NIC, ONE_MORE = topology.SRIOV_NVME, topology.NICS[0], topology.NICS[1]
#: Functions 0 and 1 of each device, of which the physical function has the very first: pciback gives the first kind a
#: slot for itself and has all others of one device share another, so with the NIC this fills its 32 slots.
VFS = tuple(f"0000:05:{device:02x}.{function}" for device in range(16) for function in (0, 1))[1:]
ALL = (NIC.bdf, *VFS)
#: For a change of 32 devices, and for as many resets.
PATIENCE = 600


@pytest.fixture(scope="module")
def full(host: Host) -> Iterator[Modules]:
    """Guest g1 has 32 devices, and two processes run modules; its bus is not emptied: the host's end does that."""
    made = {"physical_functions": [{"pf": PF.bdf, "count": PF.vfs, "drivers_autoprobe": False}]}
    assert not playbook.task(host, "xen.pci.virtual_functions", made)["failed"]
    hold(host, *ALL, ONE_MORE.bdf)
    with modules(host) as running:
        yield running


def hold(host: Host, *devices: str, state: str = "present") -> None:
    """Have pciback hold these, or dom0's drivers."""
    result = playbook.task(host, "xen.pci.assignable_devices", {"devices": list(devices), "state": state})
    assert not result["failed"], result["msg"]


def declare(running: Modules, *devices: str, guest: str = "g1") -> Mapping[str, Any]:
    return running.devices({guest: devices}, timeout=PATIENCE)


def test_thirty_two_devices_come_in_one_cycle(host: Host, full: Modules) -> None:
    result = declare(full, *ALL)
    assert not result.get("failed"), result["msg"]
    [told] = result["domains"]
    assert [len(cycle["added"]) for cycle in told["cycles"]] == [len(ALL)]
    assert attached_by_xl(host, "g1") == set(ALL)
    assert len(host.guest("g1").pci()) == len(ALL)
    assert not_as_xen_says(host, {"g1": ALL}) == []
    again = declare(full, *ALL)
    assert (again["changed"], again["actions"]) == (False, [])


def test_one_more_is_refused_before_anything_is_touched(host: Host, full: Modules) -> None:
    refused = declare(full, *ALL, ONE_MORE.bdf)
    assert refused["failed"] and playbook.codes(refused) == [("bus-full", "g1")]
    assert traces_of(host, [ONE_MORE]) == []


def test_another_function_shares_a_slot(host: Host, full: Modules) -> None:
    neighbour = VFS[1].replace(".0", ".2")
    hold(host, neighbour)
    result = declare(full, *ALL, neighbour)
    assert not result.get("failed"), result["msg"]
    assert attached_by_xl(host, "g1") == {*ALL, neighbour}
    assert not declare(full, *ALL).get("failed")


def test_xl_does_not_count_and_repair_knows_what_it_has_done(host: Host, full: Modules) -> None:
    """pciback refuses the device and holds it from then on, for nobody."""
    host.run(["xl", "pci-attach", "g1", ONE_MORE.bdf], check=False)
    full.act(("until", f"/local/domain/0/backend/pci/{host.guest('g1').domid}/0/state", "5"))
    assert [one["fault"] for one in full.repair(check=True)["findings"]] == ["refused_cycle"]
    repaired = full.repair(timeout=PATIENCE)
    assert not repaired.get("failed"), repaired["msg"]
    assert [(one["fault"], one["devices"]) for one in repaired["left"]] == [("leaked_hold", [ONE_MORE.bdf])]
    assert attached_by_xl(host, "g1") == set(ALL)
    assert not_as_xen_says(host, {"g1": ALL}, [ONE_MORE.bdf]) == []


def test_we_leave_it_alone(host: Host, full: Modules) -> None:
    given = declare(full, ONE_MORE.bdf, guest="g2")
    assert given["failed"] and playbook.codes(given) == [("lost-hold", ONE_MORE.bdf)]
    released = {"devices": [ONE_MORE.bdf], "state": "absent"}
    kept = playbook.task(host, "xen.pci.assignable_devices", released)
    assert kept["failed"] and playbook.codes(kept) == [("lost-hold", ONE_MORE.bdf)]
    assert traces_of(host, [ONE_MORE]) == []


def test_and_xl_that_does_not_gets_nothing(host: Host, full: Modules) -> None:
    host.run(["xl", "pci-attach", "g2", ONE_MORE.bdf], check=False)
    domid = host.guest("g2").domid
    said = f"22 Couldn't locate PCI device ({ONE_MORE.bdf})! perhaps already in-use?"
    full.act(("until", f"/local/domain/0/error/backend/pci/{domid}/0/error", said))
    repaired = full.repair()
    assert not repaired.get("failed"), repaired["msg"]
    assert (attached_by_xl(host, "g2"), traces_of(host, [ONE_MORE])) == (set(), [])


def test_all_go_in_one_cycle(host: Host, full: Modules) -> None:
    result = declare(full)
    assert not result.get("failed"), result["msg"]
    [told] = result["domains"]
    assert [len(cycle["removed"]) for cycle in told["cycles"]] == [len(ALL)]
    assert (attached_by_xl(host, "g1"), host.guest("g1").pci()) == (set(), {})


def test_after_a_reboot_of_the_host_it_can_be_given_out_again(host: Host) -> None:
    host.reboot()
    hold(host, ONE_MORE.bdf)
    for devices in ((ONE_MORE.bdf,), ()):
        declared = {"domains": {"g2": {"devices": list(devices), "exclusive": True}}, "timeout": PATIENCE}
        assert not playbook.task(host, "xen.pci.domain_devices", declared)["failed"]
        assert drivers(host.guest("g2")) == [str(ONE_MORE.driver) for _device in devices]
    hold(host, ONE_MORE.bdf, state="absent")
