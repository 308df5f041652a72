# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which function of the host a declaration means, and when it must be refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import builders
from hypothesis import given
from hypothesis import strategies as st
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.model.device import NetInterface, PciDevice
from ansible_collections.xen.pci.plugins.module_utils.plan.names import Lookup, Resolution, resolve
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import parse_catalog
from ansible_collections.xen.pci.plugins.module_utils.values.identity import Remembered
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import Refusal

SERIAL = "52-54-00-ff-ff-00-01-01"


def device(address: str, **facts: Any) -> PciDevice:
    return builders.device(address, **{"driver": "e1000e", **facts})


def nvme(address: str, serial: str | None, driver: str = "nvme") -> PciDevice:
    return device(address, vendor="1b36", device="0010", class_code="010802", driver=driver, nvme_serial=serial)


def host(*devices: PciDevice) -> dict[Sbdf, PciDevice]:
    return {one.sbdf: one for one in devices}


def resolved(catalog: Any, devices: dict[Sbdf, PciDevice], *wanted: str, **more: Any) -> Resolution:
    return resolve(parse_catalog(catalog), Lookup(devices, **more), wanted)


def refusals(catalog: Any, devices: dict[Sbdf, PciDevice], *wanted: str, **more: Any) -> tuple[Refusal, ...]:
    return resolved(catalog, devices, *wanted, **more).refusals


def refused(catalog: Any, devices: dict[Sbdf, PciDevice], *wanted: str, **more: Any) -> list[tuple[str, str]]:
    return codes(refusals(catalog, devices, *wanted, **more))


def found(catalog: Any, devices: dict[Sbdf, PciDevice], *wanted: str, **more: Any) -> dict[str, str]:
    resolution = resolved(catalog, devices, *wanted, **more)
    assert resolution.refusals == ()
    return {name: str(sbdf) for name, sbdf in resolution.found.items()}


NICS = host(device("0000:01:00.0", serial=SERIAL), device("0000:02:00.0", serial="52-54-00-ff-ff-00-01-02"))


def test_a_serial_finds_its_device_wherever_it_sits() -> None:
    catalog = {"uplink": {"vendor": "0x8086", "device": "10D3", "serial": SERIAL.upper()}}
    assert found(catalog, NICS, "uplink") == {"uplink": "0000:01:00.0"}


def test_addresses_are_accepted_in_the_list_and_as_a_catalog_entry() -> None:
    assert found({"a": "02:00.0"}, NICS, "a", "01:00.0") == {"a": "0000:02:00.0", "01:00.0": "0000:01:00.0"}


def test_a_class_may_be_a_beginning() -> None:
    devices = {**NICS, **host(nvme("0000:03:00.0", "NV1"))}
    for text in ("01", "0108", "010802", "0x0108"):
        assert found({"disk": {"class": text}}, devices, "disk") == {"disk": "0000:03:00.0"}


def test_several_that_fit_are_listed() -> None:
    (refusal,) = refusals({"nic": {"vendor": "8086"}}, NICS, "nic")
    assert codes([refusal]) == [("ambiguous", "nic")]
    assert "0000:01:00.0, 0000:02:00.0" in str(refusal)


def test_nothing_that_fits_is_refused_with_what_was_declared() -> None:
    (refusal,) = refusals({"nic": {"vendor": "15b3"}}, NICS, "nic")
    assert codes([refusal]) == [("absent", "nic")]
    assert "vendor 15b3" in str(refusal)


def test_another_device_at_the_declared_address_is_described_with_where_the_right_one_is() -> None:
    devices = {**NICS, **host(device("0000:03:00.0", vendor="15b3"))}
    (refusal,) = refusals({"nic": {"address": "0000:02:00.0", "vendor": "15b3"}}, devices, "nic")
    assert codes([refusal]) == [("absent", "nic")]
    assert "8086:10d3 (class 020000, serial 52-54-00-ff-ff-00-01-02)" in str(refusal)
    assert "0000:02:00.0" in str(refusal) and "0000:03:00.0" in str(refusal)


def test_an_empty_place_and_a_vanished_device_are_told_apart() -> None:
    (moved,) = refusals({"nic": {"address": "0000:09:00.0", "vendor": "8086"}}, NICS, "nic")
    assert codes([moved]) == [("absent", "nic")]
    assert "0000:09:00.0" in str(moved) and "0000:01:00.0, 0000:02:00.0" in str(moved)
    (gone,) = refusals({"nic": {"address": "0000:02:00.0", "vendor": "15b3"}}, NICS, "nic")
    assert codes([gone]) == [("absent", "nic")]
    assert "8086:10d3" in str(gone) and "0000:01:00.0" not in str(gone)
    assert refused({}, NICS, "0000:09:00.0") == [("absent", "0000:09:00.0")]


def test_words_that_are_neither_name_nor_address_are_refused() -> None:
    (refusal,) = refusals({"uplink": {"serial": SERIAL}}, NICS, "uplnk")
    assert codes([refusal]) == [("unknown-device", "uplnk")]
    assert "Did you mean 'uplink'?" in str(refusal)


def test_two_names_for_one_device_are_refused() -> None:
    (refusal,) = refusals({"a": {"serial": SERIAL}}, NICS, "a", "0000:01:00.0")
    assert codes([refusal]) == [("same-device", "0000:01:00.0")]
    assert "'a'" in str(refusal) and "'0000:01:00.0'" in str(refusal)
    assert refused({}, NICS, "01:00.0", "01:00.0") == [("same-device", "0000:01:00.0")]


def test_all_refusals_come_at_once_and_the_rest_is_found() -> None:
    resolution = resolved({}, NICS, "nonsense", "0000:01:00.0", "0000:09:00.0")
    assert codes(resolution.refusals) == [("unknown-device", "nonsense"), ("absent", "0000:09:00.0")]
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
        catalog = {"disk": {"address": "0000:03:00.0", "nvme_serial": "NV1"}}
        assert found(catalog, devices, "disk") == {"disk": "0000:03:00.0"}

    def test_with_nothing_else_to_go_by_it_is_refused(self) -> None:
        devices = host(nvme("0000:03:00.0", None, "pciback"))
        (refusal,) = refusals({"disk": {"nvme_serial": "NV1"}}, devices, "disk")
        assert codes([refusal]) == [("unreadable-identity", "disk")]
        assert "0000:03:00.0" in str(refusal) and "pciback" in str(refusal)

    def test_two_that_could_be_it_are_refused(self) -> None:
        devices = host(nvme("0000:03:00.0", None, "pciback"), nvme("0000:04:00.0", None, "pciback"))
        (refusal,) = refusals({"disk": self.disk}, devices, "disk")
        assert codes([refusal]) == [("unreadable-identity", "disk")]
        assert "0000:03:00.0, 0000:04:00.0" in str(refusal)

    def test_what_was_remembered_decides(self) -> None:
        devices = host(nvme("0000:03:00.0", None, "pciback"), nvme("0000:04:00.0", None, "pciback"))
        remembered = {Sbdf.parse("0000:04:00.0"): Remembered(nvme_serial="NV1")}
        assert found({"disk": {"nvme_serial": "NV1"}}, devices, "disk", remembered=remembered) == {
            "disk": "0000:04:00.0"
        }

    def test_an_nvme_without_a_serial_under_its_own_driver_is_not_it(self) -> None:
        assert refused({"disk": self.disk}, host(nvme("0000:03:00.0", None)), "disk") == [("absent", "disk")]

    def test_a_mac_works_the_same_way(self) -> None:
        interface = NetInterface("eth1", "52:54:00:00:01:01", is_up=False)
        nic = device("0000:01:00.0", net=(interface,))
        catalog = {"nic": {"vendor": "8086", "mac": "52-54-00-00-01-01"}}
        assert found(catalog, host(nic), "nic") == {"nic": "0000:01:00.0"}
        taken = replace(nic, driver="pciback", net=())
        assert found(catalog, host(taken), "nic") == {"nic": "0000:01:00.0"}
        by_mac = {"nic": {"mac": "52:54:00:00:01:01"}}
        assert refused(by_mac, host(taken), "nic") == [("unreadable-identity", "nic")]
        assert refused({"nic": {"vendor": "8086", "mac": "52:54:00:00:01:02"}}, host(nic), "nic") == [("absent", "nic")]
        remembered = {nic.sbdf: Remembered(macs=("52:54:00:00:01:02",))}
        assert refused(catalog, host(taken), "nic", remembered=remembered) == [("absent", "nic")]


class TestMoves:
    catalog: ClassVar[dict[str, Any]] = {"nic": {"address": "0000:02:00.0", "serial": SERIAL}}

    def test_an_address_beside_a_serial_is_the_last_known_place(self) -> None:
        resolution = resolved(self.catalog, NICS, "nic")
        assert resolution.refusals == ()
        assert dict(resolution.found) == {"nic": Sbdf.parse("0000:01:00.0")}
        assert [str(move) for move in resolution.moved] == ["nic moved 0000:02:00.0 → 0000:01:00.0"]

    def test_a_device_at_its_place_has_not_moved(self) -> None:
        assert resolved({"nic": {"address": "0000:01:00.0", "serial": SERIAL}}, NICS, "nic").moved == ()

    def test_an_address_beside_what_others_are_too_must_hold(self) -> None:
        catalog = {"nic": {"address": "0000:09:00.0", "vendor": "8086", "class": "02"}}
        assert refused(catalog, NICS, "nic") == [("absent", "nic")]

    def test_the_place_where_this_boot_saw_the_name_is_a_last_place_too(self) -> None:
        chosen_as = {Sbdf.parse("0000:02:00.0"): "nic"}
        (move,) = resolved({"nic": {"serial": SERIAL}}, NICS, "nic", chosen_as=chosen_as).moved
        assert str(move) == "nic moved 0000:02:00.0 → 0000:01:00.0"

    def test_what_cannot_be_read_is_not_taken_for_it_at_another_place(self) -> None:
        devices = host(nvme("0000:03:00.0", "NV2"), nvme("0000:04:00.0", None, "pciback"))
        catalog = {"disk": {"address": "0000:03:00.0", "class": "0108", "nvme_serial": "NV1"}}
        (refusal,) = refusals(catalog, devices, "disk")
        assert codes([refusal]) == [("unreadable-identity", "disk")]
        assert "0000:04:00.0" in str(refusal)
        assert found(catalog, host(nvme("0000:03:00.0", None, "pciback")), "disk") == {"disk": "0000:03:00.0"}
        certain = host(nvme("0000:03:00.0", None, "pciback"), nvme("0000:04:00.0", "NV1"))
        assert found(catalog, certain, "disk") == {"disk": "0000:04:00.0"}

    def test_two_at_other_places_are_refused(self) -> None:
        twins = host(device("0000:01:00.0", serial=SERIAL), device("0000:03:00.0", serial=SERIAL))
        (refusal,) = refusals(self.catalog, twins, "nic")
        assert codes([refusal]) == [("ambiguous", "nic")]
        assert "0000:01:00.0, 0000:03:00.0" in str(refusal)


def test_slot_path_and_label_find_a_device() -> None:
    devices = host(
        device("0000:03:00.0", slot="3", path="0000:00/1c.2/00.0"),
        device("0000:03:00.1", slot="3", path="0000:00/1c.2/00.1", label="Onboard LAN 2"),
    )
    catalog = {
        "a": {"slot": "3", "function": 0},
        "b": {"path": "0000:00/1C.2/00.1"},
        "c": {"label": "Onboard LAN 2"},
        "d": {"slot": "3"},
    }
    assert found(catalog, devices, "a", "b") == {"a": "0000:03:00.0", "b": "0000:03:00.1"}
    assert found(catalog, devices, "c") == {"c": "0000:03:00.1"}
    (refusal,) = refusals(catalog, devices, "d")
    assert codes([refusal]) == [("ambiguous", "d")]
    assert "0000:03:00.0, 0000:03:00.1" in str(refusal)


class TestVirtualFunctions:
    PF, VF0, VF1 = (Sbdf.parse(text) for text in ("0000:03:00.0", "0000:03:10.0", "0000:03:10.1"))
    catalog: ClassVar[dict[str, Any]] = {
        "uplink": {"address": "0000:02:00.0", "serial": SERIAL},
        "vf": {"pf": "uplink", "vf": 1},
    }

    def devices(self) -> dict[Sbdf, PciDevice]:
        virtual = [device(str(vf), physfn=self.PF, vf_index=i) for i, vf in enumerate((self.VF0, self.VF1))]
        return host(device(str(self.PF), serial=SERIAL, virtfns=(self.VF0, self.VF1)), *virtual)

    def test_they_are_found_by_number_wherever_their_physical_function_is(self) -> None:
        assert found(self.catalog, self.devices(), "vf") == {"vf": "0000:03:10.1"}
        assert found({"vf": {"pf": "03:00.0", "vf": "0"}}, self.devices(), "vf") == {"vf": "0000:03:10.0"}

    def test_one_that_is_not_there_is_missing(self) -> None:
        assert refused({"vf": {"pf": "03:00.0", "vf": 7}}, self.devices(), "vf") == [("absent", "vf")]
        (refusal,) = refusals(self.catalog, NICS | host(device("0000:01:00.0")), "vf")
        assert codes([refusal]) == [("absent", "vf")]
        assert "'uplink'" in str(refusal), "what is missing is its physical function"

    def test_a_circle_of_names_is_refused(self) -> None:
        catalog = {"a": {"pf": "b", "vf": 0}, "b": {"pf": "a", "vf": 0}}
        assert refused(catalog, self.devices(), "a") == [("own-pf", "a")]


class TestWhatMayBeAbsent:
    gone: ClassVar[dict[str, Any]] = {"serial": "00-00-00-00-00-00-00-07", "required": False}

    def test_it_is_named_and_not_refused(self) -> None:
        resolution = resolved({"card": self.gone}, NICS, "card", "0000:01:00.0")
        assert (resolution.refusals, resolution.missing) == ((), ("card",))
        assert list(resolution.expand(["card", "0000:01:00.0"]).values()) == ["0000:01:00.0"]

    def test_so_are_virtual_functions_of_an_absent_card(self) -> None:
        catalog = {"card": self.gone, "vf": {"pf": "card", "vf": 0, "required": False}}
        assert resolved(catalog, NICS, "vf").missing == ("vf",)

    def test_what_is_ambiguous_is_refused_all_the_same(self) -> None:
        assert refused({"nic": {"vendor": "8086", "required": False}}, NICS, "nic") == [("ambiguous", "nic")]

    def test_another_device_at_its_place_is_not_it(self) -> None:
        catalog = {"nic": {"address": "0000:01:00.0", "vendor": "15b3", "required": False}}
        assert resolved(catalog, NICS, "nic").missing == ("nic",)


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
    resolution = resolved({"x": declared}, devices, "x")
    assert dict(resolution.found) == ({"x": fitting[0]} if len(fitting) == 1 else {})
    expected = [] if len(fitting) == 1 else [("ambiguous" if fitting else "absent", "x")]
    assert codes(resolution.refusals) == expected
    assert refused({}, devices, *(str(sbdf) for sbdf in devices)) == []
