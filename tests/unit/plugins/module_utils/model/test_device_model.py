# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What QEMU says of a guest's bus, as recorded on real Xen 4.17 with QEMU 7.2; and what is not to be believed."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.model.device_model import (
    DeviceModel,
    DeviceModelError,
    Plugged,
    qemu_name,
    read_bus,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import GuestAddress, Sbdf

NIC, EDU = Sbdf(0, 1, 0, 0), Sbdf(0, 0, 9, 0)
UNMAPPED = 2**64 - 1


def function(slot: int, name: str = "", *addresses: int) -> dict[str, Any]:
    regions = [{"bar": number, "address": address} for number, address in enumerate(addresses)]
    return {"bus": 0, "slot": slot, "function": 0, "qdev_id": name, "regions": regions}


#: A NIC whose I/O window and ROM stay unmapped while its driver works; a device that no driver has taken.
REAL = [
    {
        "bus": 0,
        "devices": [
            function(0),
            function(2, "", 0xC000, 0xF0000000),
            function(3, "pci-pt-01_00.0", 0xF1040000, 0xF1060000, UNMAPPED, 0xF1080000, UNMAPPED),
            function(5, "pci-pt-00_09.0", UNMAPPED),
        ],
    }
]


def test_a_real_answer() -> None:
    model = read_bus(REAL)
    assert model.has(NIC) == Plugged(GuestAddress(0, 0, 3, 0), True)
    assert model.has(EDU) == Plugged(GuestAddress(0, 0, 5, 0), False)
    assert model.free_slots == 28
    assert model.lacks([NIC, Sbdf(0, 2, 0, 0)]) == (Sbdf(0, 2, 0, 0),)
    assert model.unexpected([NIC]) == (qemu_name(EDU),)


@pytest.mark.parametrize("name", ["pci-pt-", "pci-pt-01_00.8", "pci-pt-01_00.0\n", f"pci-pt-{'x' * 5000}"])
def test_a_name_that_libxl_does_not_give_is_not_repeated(name: str) -> None:
    with pytest.raises(DeviceModelError, match="not valid") as caught:
        read_bus([{"bus": 0, "devices": [function(3, name)]}])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("bus", [0, 1], ids=["two in one place", "another bus"])
def test_it_has_no_more_than_its_bus_takes(bus: int) -> None:
    devices = [function(3, "pci-pt-01_00.0"), {**function(3, "pci-pt-02_00.0"), "bus": bus}]
    with pytest.raises(DeviceModelError, match="not valid"):
        read_bus([{"bus": 0, "devices": devices}])


def test_of_a_silent_one_nothing_is_known() -> None:
    silent = DeviceModel(None, problem="deaf")
    assert (silent.has(NIC), silent.lacks([NIC]), silent.unexpected([])) == (None, (), ())


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        [{}],
        [{"devices": [{}]}],
        [{"devices": [function(32)]}],
        [{"devices": [function(-1)]}],
        [{"devices": [{**function(3, "pci-pt-01_00.0"), "slot": 3.0}]}],
        [{"devices": [{**function(3, "pci-pt-01_00.0"), "bus": "0"}]}],
        [{"devices": [{**function(3), "qdev_id": 7}]}],
        [{"devices": [{**function(3, "pci-pt-01_00.0"), "regions": None}]}],
    ],
)
def test_nonsense_is_refused(answer: Any) -> None:
    if answer == {}:
        assert read_bus(answer).plugged == {}
        return
    with pytest.raises(DeviceModelError, match="not valid"):
        read_bus(answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text() | st.sampled_from(list(function(0))), children),
)


@given(JSON)
def test_whatever_it_says_there_is_an_answer_or_the_error(answer: Any) -> None:
    with contextlib.suppress(DeviceModelError):
        read_bus(answer)
