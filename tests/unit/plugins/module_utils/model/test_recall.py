# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a device from an earlier boot, and when it must not count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import device

from ansible_collections.xen.pci.plugins.module_utils.model.device import NetInterface, PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.known_devices import KnownDevice, recall, worth_knowing
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.identity import Remembered

HERE, THERE = Sbdf.parse("0000:03:00.0"), Sbdf.parse("0000:04:00.0")
OLD = Remembered("NV1", earlier_boot=True)


def nvme(sbdf: Sbdf = HERE, **facts: Any) -> PciDevice:
    path = f"0000:00/{sbdf.bus:02x}.0/00.0"
    known = {"vendor": "1b36", "device": "0010", "class_code": "010802", "path": path}
    return device(sbdf, **{**known, **facts})


def hidden(sbdf: Sbdf = HERE, **facts: Any) -> PciDevice:
    return nvme(sbdf, driver="pciback", **facts)


def after_a_boot(before: list[PciDevice], *after: PciDevice) -> dict[Sbdf, Remembered]:
    known = worth_knowing({one.sbdf: one for one in before}, {})
    return recall(known, {one.sbdf: one for one in after})


BY_PLACE = nvme(driver="nvme", nvme_serial="NV1")
BY_SERIAL = replace(BY_PLACE, serial="00-01")


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ([BY_PLACE], [hidden()], {HERE: OLD}),
        ([BY_SERIAL], [hidden(serial="00-01")], {HERE: OLD}),
        ([BY_SERIAL], [hidden(THERE, serial="00-01")], {THERE: OLD}),
        # Another device than the one that was there:
        ([BY_PLACE], [hidden(THERE)], {}),
        ([BY_PLACE], [replace(hidden(), device="0011")], {}),
        ([BY_PLACE], [hidden(subsystem_device="0001")], {}),
        ([BY_PLACE], [hidden(serial="00-01")], {}),
        ([BY_SERIAL], [hidden(serial="00-02")], {}),
        ([BY_SERIAL], [hidden()], {}),
        # The serial number is no one device's:
        ([BY_SERIAL], [hidden(serial="00-01"), hidden(THERE, serial="00-01")], {HERE: OLD}),
        # What was remembered is seen elsewhere now:
        ([BY_PLACE], [hidden(), nvme(THERE, driver="nvme", nvme_serial="NV1")], {}),
        # It speaks for itself, or nobody keeps it from that:
        ([BY_PLACE], [nvme(driver="nvme", nvme_serial="NV9")], {}),
        ([BY_PLACE], [nvme()], {}),
    ],
)
def test_a_memory_counts_only_for_the_device_it_was_made_of(
    before: list[PciDevice], after: list[PciDevice], found: dict[Sbdf, Remembered]
) -> None:
    assert after_a_boot(before, *after) == found


def test_ports_of_one_card_that_share_its_serial_number_are_told_apart_by_their_function() -> None:
    ports = [
        nvme(replace(HERE, function=number), serial="00-01", net=(NetInterface(f"eth{number}", f"mac{number}", True),))
        for number in (0, 1)
    ]
    moved = [hidden(replace(THERE, function=number), serial="00-01") for number in (0, 1)]
    found = after_a_boot(ports, *moved)
    assert {sbdf.function: one.macs for sbdf, one in found.items()} == {0: ("mac0",), 1: ("mac1",)}


def test_what_devices_tell_now_replaces_what_was_known_and_the_rest_is_kept() -> None:
    noted = {HERE: OLD, THERE: Remembered("NV2")}
    kept = worth_knowing({HERE: hidden(), THERE: nvme(THERE, driver="nvme", nvme_serial="NV3")}, noted)
    assert {one.path: one.nvme_serial for one in kept} == {hidden().path: "NV1", nvme(THERE).path: "NV3"}
    assert worth_knowing({HERE: nvme()}, noted) == [], "without a driver nothing is known of it for certain"
    virtual = replace(BY_PLACE, physfn=THERE)
    assert worth_knowing({HERE: virtual}, {}) == []
    assert recall([KnownDevice.of(BY_PLACE, OLD)], {HERE: replace(hidden(), physfn=THERE)}) == {}
