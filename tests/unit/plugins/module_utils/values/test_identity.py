# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which function of the host a declaration means, and when it must be refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.model.host import NetInterface, PciDevice
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.identity import (
    IdentityError,
    Remembered,
    parse_catalogue,
    resolve,
)

SERIAL = "52-54-00-ff-ff-00-01-01"


def device(address: str, **facts: Any) -> PciDevice:
    known = {
        "vendor": "8086",
        "device": "10d3",
        "subsystem_vendor": "8086",
        "subsystem_device": "0000",
        "class_code": "020000",
        "revision": "00",
        "driver": "e1000e",
    }
    return PciDevice(Sbdf.parse(address), **{**known, **facts})


def nvme(address: str, serial: str | None, driver: str = "nvme") -> PciDevice:
    return device(address, vendor="1b36", device="0010", class_code="010802", driver=driver, nvme_serial=serial)


def host(*devices: PciDevice) -> dict[Sbdf, PciDevice]:
    return {one.sbdf: one for one in devices}


def problems(catalogue: Any, devices: dict[Sbdf, PciDevice], *wanted: str, **more: Any) -> tuple[str, ...]:
    return resolve(parse_catalogue(catalogue), devices, wanted, **more).problems


def found(catalogue: Any, devices: dict[Sbdf, PciDevice], *wanted: str, **more: Any) -> dict[str, str]:
    resolution = resolve(parse_catalogue(catalogue), devices, wanted, **more)
    assert resolution.problems == ()
    return {name: str(sbdf) for name, sbdf in resolution.found.items()}


NICS = host(device("0000:01:00.0", serial=SERIAL), device("0000:02:00.0", serial="52-54-00-ff-ff-00-01-02"))


def test_a_serial_finds_its_device_wherever_it_sits() -> None:
    catalogue = {"uplink": {"vendor": "0x8086", "device": "10D3", "serial": SERIAL.upper()}}
    assert found(catalogue, NICS, "uplink") == {"uplink": "0000:01:00.0"}


def test_addresses_are_accepted_in_the_list_and_as_a_catalogue_entry() -> None:
    assert found({"a": "02:00.0"}, NICS, "a", "01:00.0") == {"a": "0000:02:00.0", "01:00.0": "0000:01:00.0"}


def test_a_class_may_be_a_beginning() -> None:
    devices = {**NICS, **host(nvme("0000:03:00.0", "NV1"))}
    for text in ("01", "0108", "010802", "0x0108"):
        assert found({"disk": {"class": text}}, devices, "disk") == {"disk": "0000:03:00.0"}


def test_several_that_fit_are_listed() -> None:
    (problem,) = problems({"nic": {"vendor": "8086"}}, NICS, "nic")
    assert "fits several" in problem
    assert "0000:01:00.0, 0000:02:00.0" in problem


def test_nothing_that_fits_is_said() -> None:
    (problem,) = problems({"nic": {"vendor": "15b3"}}, NICS, "nic")
    assert "No device of this host is 'nic' (vendor 15b3)" in problem


def test_another_device_at_the_declared_address_is_described_with_where_the_right_one_is() -> None:
    (problem,) = problems({"nic": {"address": "0000:02:00.0", "serial": SERIAL}}, NICS, "nic")
    assert "0000:02:00.0 holds 8086:10d3 (class 020000, serial 52-54-00-ff-ff-00-01-02)" in problem
    assert "is now at 0000:01:00.0" in problem


def test_an_empty_place_and_a_vanished_device_are_told_apart() -> None:
    (moved,) = problems({"nic": {"address": "0000:09:00.0", "serial": SERIAL}}, NICS, "nic")
    assert "there is no device at 0000:09:00.0" in moved
    (gone,) = problems({"nic": {"address": "0000:02:00.0", "vendor": "15b3"}}, NICS, "nic")
    assert "nowhere on this host" in gone
    (missing,) = problems({}, NICS, "0000:09:00.0")
    assert "The host has no PCI device 0000:09:00.0" in missing


def test_words_that_are_neither_name_nor_address_are_refused() -> None:
    (problem,) = problems({}, NICS, "uplnk")
    assert "'uplnk' is neither" in problem


def test_two_names_for_one_device_are_refused() -> None:
    (problem,) = problems({"a": {"serial": SERIAL}}, NICS, "a", "0000:01:00.0")
    assert "'a' and '0000:01:00.0' mean the same device" in problem
    assert problems({}, NICS, "01:00.0", "01:00.0")


def test_all_problems_are_told_at_once_and_the_rest_is_found() -> None:
    resolution = resolve({}, NICS, ["nonsense", "0000:01:00.0", "0000:09:00.0"])
    assert len(resolution.problems) == 2
    assert list(resolution.found) == ["0000:01:00.0"]


class TestWhatPcibackHides:
    disk: ClassVar[dict[str, str]] = {"class": "0108", "nvme_serial": "NV1"}

    def test_with_the_driver_the_serial_decides(self) -> None:
        devices = host(nvme("0000:03:00.0", "NV1"), nvme("0000:04:00.0", "NV2"))
        assert found({"disk": self.disk}, devices, "disk") == {"disk": "0000:03:00.0"}

    def test_a_readable_serial_beats_those_that_cannot_be_read(self) -> None:
        devices = host(nvme("0000:03:00.0", "NV1"), nvme("0000:04:00.0", None, "pciback"))
        assert found({"disk": self.disk}, devices, "disk") == {"disk": "0000:03:00.0"}

    def test_other_keys_decide_while_pciback_holds_it(self) -> None:
        devices = {**NICS, **host(nvme("0000:03:00.0", None, "pciback"))}
        assert found({"disk": self.disk}, devices, "disk") == {"disk": "0000:03:00.0"}
        catalogue = {"disk": {"address": "0000:03:00.0", "nvme_serial": "NV1"}}
        assert found(catalogue, devices, "disk") == {"disk": "0000:03:00.0"}

    def test_with_nothing_else_to_go_by_it_is_refused(self) -> None:
        devices = host(nvme("0000:03:00.0", None, "pciback"))
        (problem,) = problems({"disk": {"nvme_serial": "NV1"}}, devices, "disk")
        assert "cannot be read while pciback holds it" in problem

    def test_two_that_could_be_it_are_refused(self) -> None:
        devices = host(nvme("0000:03:00.0", None, "pciback"), nvme("0000:04:00.0", None, "pciback"))
        (problem,) = problems({"disk": self.disk}, devices, "disk")
        assert "could be 0000:03:00.0, 0000:04:00.0" in problem

    def test_what_was_remembered_decides(self) -> None:
        devices = host(nvme("0000:03:00.0", None, "pciback"), nvme("0000:04:00.0", None, "pciback"))
        remembered = {Sbdf.parse("0000:04:00.0"): Remembered(nvme_serial="NV1")}
        assert found({"disk": {"nvme_serial": "NV1"}}, devices, "disk", remembered=remembered) == {
            "disk": "0000:04:00.0"
        }

    def test_an_nvme_without_a_serial_under_its_own_driver_is_not_it(self) -> None:
        assert problems({"disk": self.disk}, host(nvme("0000:03:00.0", None)), "disk")

    def test_a_mac_works_the_same_way(self) -> None:
        interface = NetInterface("eth1", "52:54:00:00:01:01", is_up=False)
        nic = device("0000:01:00.0", net=(interface,))
        catalogue = {"nic": {"vendor": "8086", "mac": "52-54-00-00-01-01"}}
        assert found(catalogue, host(nic), "nic") == {"nic": "0000:01:00.0"}
        taken = replace(nic, driver="pciback", net=())
        assert found(catalogue, host(taken), "nic") == {"nic": "0000:01:00.0"}
        assert problems({"nic": {"mac": "52:54:00:00:01:01"}}, host(taken), "nic")
        assert problems({"nic": {"vendor": "8086", "mac": "52:54:00:00:01:02"}}, host(nic), "nic")
        remembered = {nic.sbdf: Remembered(macs=("52:54:00:00:01:02",))}
        assert problems(catalogue, host(taken), "nic", remembered=remembered)


@pytest.mark.parametrize(
    ("catalogue", "words"),
    [
        ([], "must be a mapping"),
        ({1: "0000:01:00.0"}, "named 1"),
        ({"": "0000:01:00.0"}, "non-empty"),
        ({"0000:01:00.0": {"vendor": "8086"}}, "is an address"),
        ({"a": {}}, "must be an address or a mapping"),
        ({"a": ["0000:01:00.0"]}, "must be an address or a mapping"),
        ({"a": "eth0"}, "not a PCI address"),
        ({"a": {"vendor": 8086}}, "put it in quotes"),
        ({"a": {"vendor": None}}, "put it in quotes"),
        ({"a": {"vendor": "86"}}, "vendor must be 4 hexadecimal digits"),
        ({"a": {"device": "10dg"}}, "device must be 4 hexadecimal digits"),
        ({"a": {"class": "010"}}, "class must be 2 or 4 or 6"),
        ({"a": {"serial": "NV1"}}, "serial must be eight bytes"),
        ({"a": {"mac": "52:54:00"}}, "mac must be six bytes"),
        ({"a": {"nvme_serial": " "}}, "nvme_serial must be text"),
        ({"a": {"venodr": "8086"}}, "'venodr' is not a key"),
    ],
)
def test_a_faulty_catalogue_is_refused_in_words(catalogue: Any, words: str) -> None:
    with pytest.raises(IdentityError, match=words):
        parse_catalogue(catalogue)


def test_every_fault_of_a_catalogue_is_told() -> None:
    with pytest.raises(IdentityError) as caught:
        parse_catalogue({"a": {"vendor": 1, "colour": "red"}, "b": 2})
    assert len(caught.value.problems) == 3


vendors = st.sampled_from(["8086", "15b3"])
classes = st.sampled_from(["020000", "010802"])
serials = st.sampled_from([None, SERIAL, "00-00-00-00-00-00-00-01"])
addresses = st.builds(Sbdf, st.just(0), st.integers(0, 3), st.just(0), st.integers(0, 1))
hosts = st.dictionaries(addresses, st.tuples(vendors, classes, serials), max_size=6)


@given(
    hosts,
    st.fixed_dictionaries({"vendor": vendors}, optional={"class": classes, "serial": serials.filter(bool)}),
    addresses,
)
def test_what_is_found_is_what_was_declared_and_the_only_one(
    facts: dict[Sbdf, tuple[str, str, str | None]], declared: dict[str, str], _address: Sbdf
) -> None:
    devices = {
        sbdf: device(str(sbdf), vendor=vendor, class_code=code, serial=serial)
        for sbdf, (vendor, code, serial) in facts.items()
    }
    fitting = [
        sbdf
        for sbdf, (vendor, code, serial) in facts.items()
        if vendor == declared["vendor"]
        and declared.get("class", code) == code
        and declared.get("serial", serial) == serial
    ]
    resolution = resolve(parse_catalogue({"x": declared}), devices, ["x"])
    assert dict(resolution.found) == ({"x": fitting[0]} if len(fitting) == 1 else {})
    assert bool(resolution.problems) == (len(fitting) != 1)
    assert resolve({}, devices, [str(sbdf) for sbdf in devices]).problems == ()
