# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rights are given and taken as a whole, whichever call Xen refuses."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.apply import rights
from ansible_collections.xen.pci.plugins.module_utils.host.hypervisor import Hypervisor
from ansible_collections.xen.pci.plugins.module_utils.host.xen_calls import HypervisorError
from ansible_collections.xen.pci.plugins.module_utils.model.device import PciDevice, Resource
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

DOMID = 7
MEMORY, PORTS = 0x40200, 0x40101


@dataclass
class Xen:
    """What Xen keeps of one domain's rights, and which call it refuses: the `fails`-th, counted from 1."""

    fails: int = 0
    calls: int = 0
    pvh: bool = False
    held: set[tuple[str, int]] = field(default_factory=set)

    def _change(self, kind: str, numbers: range, give: bool) -> int:
        self.calls += 1
        if self.calls == self.fails:
            return errno.EPERM
        things = {(kind, number) for number in numbers}
        self.held = self.held | things if give else self.held - things
        return 0

    def test_assign(self, domid: int, sbdf: Sbdf) -> int:
        return errno.EINVAL if ("device", int(sbdf)) in self.held else 0

    def assign(self, domid: int, sbdf: Sbdf, relaxed: bool) -> int:
        return self._change("device", range(int(sbdf), int(sbdf) + 1), True)

    def deassign(self, domid: int, sbdf: Sbdf) -> int:
        return self._change("device", range(int(sbdf), int(sbdf) + 1), False)

    def ioports(self, domid: int, first: int, count: int, allow: bool) -> int:
        return self._change("port", range(first, first + count), allow)

    def iomem(self, domid: int, first_frame: int, count: int, allow: bool) -> int:
        return self._change("frame", range(first_frame, first_frame + count), allow)

    def irq(self, domid: int, pirq: int, allow: bool) -> int:
        return self._change("irq", range(pirq, pirq + 1), allow)

    def map_pirq(self, domid: int, gsi: int) -> int:
        return self._change("pirq", range(gsi, gsi + 1), True)

    def unmap_pirq(self, domid: int, pirq: int) -> int:
        return self._change("pirq", range(pirq, pirq + 1), False)

    def device_group(self, domid: int, sbdf: Sbdf) -> list[Sbdf]:
        return []

    def has_iommu(self) -> bool:
        return True

    def dom0_is_hvm(self) -> bool:
        return self.pvh

    def close(self) -> None:
        pass


NOTHING = Resource(0, 0, 0)
DEVICE = PciDevice(
    Sbdf(0, 3, 0, 0),
    "8086",
    "1521",
    "8086",
    "0001",
    "020000",
    "01",
    irq=17,
    resources=(
        Resource(0xFEA0_0000, 0xFEA1_FFFF, MEMORY),
        NOTHING,
        Resource(0xE000, 0xE01F, PORTS),
        Resource(0xFEA2_0800, 0xFEA2_08FF, MEMORY),
        NOTHING,
        NOTHING,
        Resource(0x1_0000_0000_0000, 0x1_0000_0000_FFFF, MEMORY),
        Resource(0xDEAD_0000, 0xDEAD_FFFF, MEMORY),  # not the device's own: after the ROM
    ),
)
OTHER = replace(DEVICE, sbdf=Sbdf(0, 4, 0, 0), resources=())
ALL = (
    {("frame", frame) for frame in range(0xFEA00, 0xFEA20)}
    | {("frame", 0xFEA20)}
    | {("frame", frame) for frame in range(0x10_0000_0000, 0x10_0000_0010)}
    | {("port", port) for port in range(0xE000, 0xE020)}
    | {("irq", 17), ("pirq", 17), ("device", int(DEVICE.sbdf))}
)
#: Three windows of memory, one of ports, the interrupt mapped and granted, the device.
GRANTING = REVOKING = 7


def test_a_device_gets_all_it_has_and_no_more() -> None:
    xen = Xen()
    rights.grant(Hypervisor(xen), DOMID, DEVICE, others=[])
    assert xen.held == ALL
    assert xen.calls == GRANTING


def test_all_that_was_given_can_be_taken() -> None:
    xen = Xen()
    rights.grant(Hypervisor(xen), DOMID, DEVICE, others=[])
    assert rights.revoke(Hypervisor(xen), DOMID, DEVICE, others=[]) == []
    assert xen.held == set()


@pytest.mark.parametrize("fails", range(1, GRANTING + 1))
def test_whichever_call_is_refused_nothing_stays_given(fails: int) -> None:
    xen = Xen(fails)
    with pytest.raises(HypervisorError, match=str(DEVICE.sbdf)):
        rights.grant(Hypervisor(xen), DOMID, DEVICE, others=[])
    assert xen.calls >= fails
    assert xen.held == set()


@pytest.mark.parametrize("fails", range(1, GRANTING + 1))
def test_a_refused_device_does_not_cost_another_one_the_line_they_share(fails: int) -> None:
    xen = Xen()
    rights.grant(Hypervisor(xen), DOMID, OTHER, others=[])
    before = set(xen.held)
    xen.calls, xen.fails = 0, fails
    with pytest.raises(HypervisorError):
        rights.grant(Hypervisor(xen), DOMID, DEVICE, others=[OTHER])
    assert xen.held == before


@pytest.mark.parametrize("fails", range(1, REVOKING + 1))
def test_one_refusal_keeps_nothing_else(fails: int) -> None:
    xen = Xen()
    rights.grant(Hypervisor(xen), DOMID, DEVICE, others=[])
    xen.calls, xen.fails = 0, fails
    problems = rights.revoke(Hypervisor(xen), DOMID, DEVICE, others=[])
    assert xen.calls == REVOKING
    assert len({kind for kind, _number in xen.held}) == 1
    # A pirq without the right to it is harmless, and the guest may have unmapped it itself.
    assert bool(problems) == (xen.held != {("pirq", 17)})
    assert all(f"domain {DOMID}" in problem and str(DEVICE.sbdf) in problem for problem in problems)


def test_every_refusal_is_told() -> None:
    class Stubborn(Xen):
        def _change(self, kind: str, numbers: range, give: bool) -> int:
            self.calls += 1
            return errno.EPERM

    xen = Stubborn(held={("device", int(DEVICE.sbdf))})
    assert len(rights.revoke(Hypervisor(xen), DOMID, DEVICE, others=[])) == REVOKING - 1


def test_a_domain_that_is_gone_has_no_rights_left() -> None:
    class Buried(Xen):
        def _change(self, kind: str, numbers: range, give: bool) -> int:
            return errno.ESRCH

    assert rights.revoke(Hypervisor(Buried()), DOMID, DEVICE, others=[]) == []


def test_a_shared_line_stays_when_a_device_goes() -> None:
    xen = Xen()
    for device in (OTHER, DEVICE):
        rights.grant(Hypervisor(xen), DOMID, device, others=[])
    assert rights.revoke(Hypervisor(xen), DOMID, DEVICE, others=[OTHER]) == []
    assert xen.held == {("irq", 17), ("pirq", 17), ("device", int(OTHER.sbdf))}


#: Of the one device the last page, of the other the first, and a small one in between: all in frame 0xFE011.
PAGE = [Resource(0xFE01_0000, 0xFE01_17FF, MEMORY), Resource(0xFE01_1800, 0xFE01_1BFF, MEMORY)]
PAGE += [Resource(0xFE01_1C00, 0xFE01_2FFF, MEMORY)]


@pytest.mark.parametrize("gone", range(3))
def test_a_shared_page_stays_when_a_device_goes(gone: int) -> None:
    xen = Xen()
    devices = [replace(OTHER, sbdf=Sbdf(0, bus, 0, 0), irq=0, resources=(one,)) for bus, one in enumerate(PAGE, 5)]
    for device in devices:
        rights.grant(Hypervisor(xen), DOMID, device, others=[])
    others = [device for device in devices if device is not devices[gone]]
    assert rights.revoke(Hypervisor(xen), DOMID, devices[gone], others) == []
    due = Xen()
    for device in others:
        rights.grant(Hypervisor(due), DOMID, device, others=[])
    assert xen.held == due.held


@pytest.mark.parametrize("irq", [0, 255])
def test_no_interrupt_is_no_interrupt(irq: int) -> None:
    xen = Xen()
    rights.grant(Hypervisor(xen), DOMID, replace(OTHER, irq=irq), others=[])
    assert xen.held == {("device", int(OTHER.sbdf))}


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 14))
def test_of_memory_every_frame_is_given_that_holds_a_byte_of_it(start: int, size: int) -> None:
    xen = Xen()
    device = replace(OTHER, irq=0, resources=(Resource(start, start + size - 1, MEMORY),))
    rights.grant(Hypervisor(xen), DOMID, device, others=[])
    frames = {number for kind, number in xen.held if kind == "frame"}
    assert frames == set(range(start // 4096, (start + size - 1) // 4096 + 1))
    rights.revoke(Hypervisor(xen), DOMID, device, others=[])
    assert xen.held == set()


def test_a_device_that_was_taken_already_is_no_problem() -> None:
    xen = Xen()
    rights.grant(Hypervisor(xen), DOMID, DEVICE, others=[])
    xen.deassign(DOMID, DEVICE.sbdf)
    xen.calls, xen.fails = 0, 1  # as Xen refuses a device that the domain does not own
    assert rights.revoke(Hypervisor(xen), DOMID, DEVICE, others=[]) == []
    assert xen.held == set()
