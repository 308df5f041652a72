# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SR-IOV on a real kernel: an NVMe's virtual functions come, one goes to a guest and returns, all go.

The tests of this file are one story and run in order, on a host whose SR-IOV device has no virtual functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import playbook
import pytest
from independent_view import attached_by_xl, driver_in_dom0

from xenlab import Host, topology

PF, VFS = topology.SRIOV_NVME, topology.SOME_VFS
CATALOGUE = {PF.name: {"class": "0108", "nvme_serial": PF.serial}}
#: The second virtual function, by what it is.
SECOND = {**CATALOGUE, "second": {"pf": PF.name, "vf": 1}}


def functions(host: Host, count: int, *options: str, **more: Any) -> Mapping[str, Any]:
    wanted = {"pf": PF.name, "count": count, "drivers_autoprobe": False, **more}
    arguments = {"physical_functions": [wanted], "catalog": CATALOGUE}
    return playbook.task(host, "xen.pci.virtual_functions", arguments, options=options)


def give(host: Host, *names: str) -> Mapping[str, Any]:
    """Have g1 own these and no others."""
    domains = {"g1": {"devices": list(names)}}
    arguments = {"domains": domains, "catalog": SECOND, "exclusive": True, "timeout": 300}
    return playbook.task(host, "xen.pci.domain_devices", arguments)


def number(host: Host) -> str:
    return host.run(f"cat /sys/bus/pci/devices/{PF.bdf}/sriov_numvfs").stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def _clean(host: Host) -> Iterator[None]:
    yield
    give(host)
    playbook.task(host, "xen.pci.assignable_devices", {"devices": ["second"], "catalog": SECOND, "state": "absent"})
    functions(host, 0)


def test_functions_come_and_the_physical_one_stays(host: Host) -> None:
    planned = functions(host, VFS, "--check", "--diff")
    assert planned["changed"]
    assert number(host) == "0"
    done = functions(host, VFS)
    assert done["actions"] == planned["actions"] and done["diff"] == planned["diff"]
    assert number(host) == str(VFS)
    (physical,) = done["physical_functions"]
    assert [one["driver"] for one in physical["vfs"]] == [None] * VFS
    for one in physical["vfs"]:
        link = host.run(f"readlink /sys/bus/pci/devices/{PF.bdf}/virtfn{one['index']}").stdout.strip()
        assert link.endswith(one["address"])
    assert driver_in_dom0(host, PF.bdf) == PF.driver
    assert not functions(host, VFS)["changed"]


def test_one_goes_to_a_guest(host: Host) -> None:
    taken = playbook.task(host, "xen.pci.assignable_devices", {"devices": ["second"], "catalog": SECOND})
    (device,) = taken["devices"]
    assert device["driver_after"] == "pciback", taken
    given = give(host, "second")
    assert given["changed"], given
    assert attached_by_xl(host, "g1") == {device["address"]}
    assert len(host.guest("g1").pci()) == 1


def test_no_number_changes_while_it_is_out(host: Host) -> None:
    for count in (0, 2):
        refused = functions(host, count)
        assert refused["failed"]
        assert [code for code, _function in playbook.codes(refused)] == ["vf-in-use"]
        assert number(host) == str(VFS)
    assert not functions(host, VFS)["changed"]


def test_nor_while_pciback_has_it(host: Host) -> None:
    assert give(host)["changed"]
    assert attached_by_xl(host, "g1") == set()
    refused = functions(host, 0)
    assert [code for code, _function in playbook.codes(refused)] == ["vf-in-use"]
    assert number(host) == str(VFS)


def test_a_driver_without_network_has_no_settings(host: Host) -> None:
    refused = functions(host, VFS, vfs=[{"index": 0, "vlan": 20}])
    assert playbook.codes(refused) == [("no-interface", PF.bdf)]


def test_all_are_gone_when_nobody_has_one(host: Host) -> None:
    arguments = {"devices": ["second"], "catalog": SECOND, "state": "absent"}
    released = playbook.task(host, "xen.pci.assignable_devices", arguments)
    assert released["changed"], released
    assert functions(host, 2)["changed"]
    assert number(host) == "2"
    assert functions(host, 0)["changed"]
    assert number(host) == "0"
    assert driver_in_dom0(host, PF.bdf) == PF.driver


def whole(host: Host, options: tuple[str, ...] = (), **declared: Any) -> Mapping[str, Any]:
    """Bring the host to a declaration as a whole."""
    return playbook.task(host, "xen.pci.host_state", {"timeout": 300, **declared}, options=options)


def test_one_task_makes_them_gives_one_and_takes_all_back(host: Host) -> None:
    declared: dict[str, Any] = {
        "catalog": SECOND,
        "virtual_functions": [{"pf": PF.name, "count": VFS}],
        "domains": {"g1": {"devices": ["second"]}},
    }
    planned = whole(host, ("--check",), **declared)
    assert not planned["failed"], planned["msg"]
    assert number(host) == "0"
    done = whole(host, **declared)
    assert not done["failed"], done["msg"]
    assert done["actions"] == planned["actions"], (
        "where functions appear, and which driver takes them, was known before"
    )
    (second,) = done["devices"]
    assert attached_by_xl(host, "g1") == {second["address"]}
    assert not whole(host, **declared)["changed"]

    nothing: dict[str, Any] = {
        "domains": {"g1": {"devices": []}},
        "parts": ["assignment", "domains"],
        "release_undeclared": True,
    }
    back = whole(host, **nothing)
    assert not back["failed"], back["msg"]
    assert [one["action"] for one in back["changes"]] == ["remove", "release"]
    gone = whole(host, catalog=CATALOGUE, virtual_functions=[{"pf": PF.name, "count": 0}], parts=["virtual_functions"])
    assert gone["changed"] and number(host) == "0"
