# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libxl's stored configuration: what xl 4.17 wrote on a real host, and what we make of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.model.stored_config import Creation, amended, configured
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

#: After `xl create` with passthrough="enabled" and e820_host=1, without devices.
CREATED = """{
    "c_info": {
        "type": "pv",
        "name": "g2",
        "domid": 4294967295,
        "uuid": "773e2eca-e534-4bdc-aeeb-558289b9f91d",
        "run_hotplug_scripts": "True",
        "passthrough": "enabled"
    },
    "b_info": {
        "max_vcpus": 1,
        "avail_vcpus": [
            0
        ],
        "max_memkb": 163840,
        "target_memkb": 163840,
        "video_memkb": 0,
        "sched_params": {

        },
        "claim_mode": "True",
        "kernel": "/boot/lab/vmlinux",
        "type.pv": {
            "e820_host": "True"
        },
        "arch_arm": {

        },
        "arch_x86": {
            "msr_relaxed": "False"
        }
    },
    "on_reboot": "restart",
    "on_crash": "preserve",
    "on_soft_reset": "soft_reset"
}
"""
#: What `xl pci-attach g2 0000:01:00.0` and `xl pci-attach g2 0000:00:08.1,permissive=1` added to it.
NIC, TWIN = Sbdf(0, 1, 0, 0), Sbdf(0, 0, 8, 1)
BY_XL_NIC = {"bus": 1, "vfunc_mask": 1, "rdm_policy": "strict"}
BY_XL_TWIN = {"func": 1, "dev": 8, "vfunc_mask": 1, "permissive": True, "rdm_policy": "strict"}
FAR = Sbdf(0x12, 0x80, 0x1F, 7)


def with_devices(*entries: Any) -> dict[str, Any]:
    return {**json.loads(CREATED), "pcidevs": list(entries)}


def test_an_added_device_stands_there_as_xl_writes_it_to_the_order_of_its_fields() -> None:
    config = amended(json.loads(CREATED), [NIC])
    assert json.dumps(config["pcidevs"]) == json.dumps([BY_XL_NIC])
    assert {key: value for key, value in config.items() if key != "pcidevs"} == json.loads(CREATED)
    entry = amended({}, [FAR])["pcidevs"][0]
    assert list(entry.items()) == [
        ("func", 7), ("dev", 0x1F), ("bus", 0x80), ("domain", 0x12), ("vfunc_mask", 1), ("rdm_policy", "strict")
    ]  # fmt: skip


def test_devices_of_xl_are_read_and_keep_their_options() -> None:
    config = with_devices(BY_XL_NIC, BY_XL_TWIN)
    assert configured(config) == (NIC, TWIN)
    assert amended(config, [TWIN, FAR])["pcidevs"][:2] == [BY_XL_NIC, BY_XL_TWIN]
    assert amended(config, remove=[NIC]) == with_devices(BY_XL_TWIN)


def test_without_devices_there_is_no_list_as_libxl_has_it() -> None:
    assert amended(with_devices(BY_XL_NIC), remove=[NIC]) == json.loads(CREATED)
    assert amended(json.loads(CREATED), remove=[NIC]) == json.loads(CREATED)


def test_what_is_not_understood_stays() -> None:
    strange, impossible = {"bdf": {"bus": 1}, "bus": "one"}, {"bus": 300, "dev": -1}
    config = with_devices(strange, "text", impossible, BY_XL_NIC)
    assert configured(config) == (NIC,)
    assert amended(config, [FAR], [NIC])["pcidevs"][:3] == [strange, "text", impossible]
    assert amended({"pcidevs": "text"}, remove=[NIC]) == {"pcidevs": "text"}


ADDRESSES = st.builds(Sbdf, st.integers(0, 2), st.integers(0, 2), st.integers(0, 31), st.integers(0, 7))
GROUPS = st.lists(ADDRESSES, max_size=6)


@given(GROUPS, GROUPS, GROUPS)
def test_exactly_what_was_asked_for_changes(had: list[Sbdf], add: list[Sbdf], remove: list[Sbdf]) -> None:
    before = amended(json.loads(CREATED), had)
    after = configured(amended(before, add, remove))
    assert len(after) == len(set(after))
    assert set(after) == (set(had) - set(remove)) | set(add)


@given(GROUPS, GROUPS)
def test_an_addition_taken_back_leaves_no_trace(had: list[Sbdf], add: list[Sbdf]) -> None:
    before = amended(json.loads(CREATED), had)
    assert amended(amended(before, add), remove=set(add) - set(had)) == before


# ---- what it was created with


def test_a_creation_is_read_from_what_xl_wrote() -> None:
    assert Creation.of(json.loads(CREATED)) == Creation("enabled", True, 160, 160)
    assert not Creation.of(json.loads(CREATED)).on_demand


@pytest.mark.parametrize(("text", "value"), [("True", True), ("False", False), ("<default>", False), (7, None)])
def test_libxls_booleans_are_texts(text: Any, value: bool | None) -> None:
    assert Creation.of({"b_info": {"type.pv": {"e820_host": text}}}).e820_host is value


def test_what_xl_leaves_out_has_its_default() -> None:
    config = {"c_info": {"type": "pv"}, "b_info": {"type.pv": {}, "target_memkb": 131072, "max_memkb": 262144}}
    assert Creation.of(config) == Creation("default", False, 128, 256)
    assert Creation.of(config).on_demand
    assert Creation.of({"c_info": {}, "b_info": {"type.hvm": {}}}).e820_host is None


@pytest.mark.parametrize(
    "config",
    [{}, {"c_info": [], "b_info": None}, {"c_info": {"passthrough": 3}, "b_info": {"type.pv": [], "max_memkb": "1"}}],
)
def test_what_cannot_be_understood_says_nothing(config: Any) -> None:
    assert Creation.of(config) == Creation()
