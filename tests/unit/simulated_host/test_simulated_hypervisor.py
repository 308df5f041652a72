# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Xen's checks and what becomes of a device's owner."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from simulated_xen.host.machine import build
from simulated_xen.hypervisor import DOMID_INVALID, DOMID_IO, Hypervisor

NIC = 0x0100


def hypervisor(iommu: bool = True, xen: tuple[int, int] = (4, 17)) -> Hypervisor:
    version = "{}.{}".format(*xen)
    machine = build({"devices": [{"at": "01:00.0", "model": "e1000e"}], "iommu": iommu, "xen": version})
    created = Hypervisor({device.address: device for device in machine.devices}, machine, lambda *_: None)
    created.create(1, passthrough=True)
    created.create(2, passthrough=False)
    created.create(3, passthrough=True)
    return created


def refused(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(OSError) as caught:
        call(*arguments)
    # Linux has two names for this number.
    return "EOPNOTSUPP" if caught.value.errno == errno.EOPNOTSUPP else errno.errorcode[caught.value.errno or 0]


def test_a_device_goes_through_quarantine() -> None:
    xen = hypervisor()
    address = next(iter(xen._devices))
    xen.assign(DOMID_IO, NIC)
    xen.assign(1, NIC)
    assert xen.owner(address) == 1
    assert refused(xen.assign, 3, NIC) == "EBUSY"
    assert refused(xen.assign, DOMID_IO, NIC) == "EBUSY"
    assert refused(xen.test_assign, DOMID_INVALID, NIC) == "EINVAL"
    assert refused(xen.deassign, DOMID_IO, NIC) == "ENODEV"
    xen.deassign(1, NIC)
    assert xen.owner(address) == DOMID_IO
    xen.test_assign(DOMID_INVALID, NIC)
    xen.deassign(DOMID_IO, NIC)
    assert xen.owner(address) == 0
    assert refused(xen.deassign, DOMID_IO, NIC) == "ENODEV"


def test_a_dead_domains_device_is_quarantined() -> None:
    xen = hypervisor()
    xen.assign(1, NIC)
    xen.destroy(1)
    assert xen.owner(next(iter(xen._devices))) == DOMID_IO
    assert refused(xen.assign, 1, NIC) == "ESRCH"


def test_a_guest_created_without_passthrough_gets_nothing() -> None:
    assert refused(hypervisor().assign, 2, NIC) == "EOPNOTSUPP"
    assert refused(hypervisor().test_assign, 2, NIC) == "EOPNOTSUPP"


@pytest.mark.parametrize(("xen", "error"), [((4, 12), "ENOSYS"), ((4, 13), "EOPNOTSUPP")])
def test_without_an_iommu_nothing_can_be_assigned(xen: tuple[int, int], error: str) -> None:
    without = hypervisor(iommu=False, xen=xen)
    assert refused(without.assign, 1, NIC) == error
    assert refused(without.assign, DOMID_IO, NIC) == error


def test_a_dying_domain_and_a_broken_device() -> None:
    xen = hypervisor()
    xen.domains[1].dying = True
    assert refused(xen.assign, 1, NIC) == "EINVAL"
    xen.broken.add(next(iter(xen._devices)))
    assert refused(xen.assign, 3, NIC) == "EBADF"


def test_unknown_devices_and_domains() -> None:
    xen = hypervisor()
    assert refused(xen.assign, 1, 0x0200) == "ENODEV"
    assert refused(xen.test_assign, 1, 0x0200) == "EINVAL"
    assert refused(xen.assign, 9, NIC) == "ESRCH"
    assert refused(xen.iomem_permission, 9, 1, 1, True) == "ESRCH"


def test_interrupts_are_mapped_once() -> None:
    xen = hypervisor()
    assert xen.map_pirq(1, 20, 20) == 20
    assert xen.map_pirq(1, 20, 20) == 20
    assert refused(xen.map_pirq, 1, 21, 20) == "EEXIST"
    xen.unmap_pirq(1, 20)
    assert refused(xen.unmap_pirq, 1, 20) == "EINVAL"


def test_a_guest_needs_every_page_of_a_device() -> None:
    xen = hypervisor()
    device = next(iter(xen._devices.values()))
    regions = [region for region in device.regions if region.start and not region.io]
    for region in regions:
        assert not xen.may_touch(1, device)
        xen.iomem_permission(1, region.start >> 12, (region.end >> 12) - (region.start >> 12) + 1, True)
    assert xen.may_touch(1, device)
    xen.iomem_permission(1, regions[0].start >> 12, 1, False)
    assert not xen.may_touch(1, device)
