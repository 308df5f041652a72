# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options are the same in all forms in which Xen's tools write them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.model.stored_config import amended, configured_options
from ansible_collections.xen.pci.plugins.module_utils.model.xl_file import options_of, updated
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.device_options import DEFAULTS, DeviceOptions

NIC, OTHER = Sbdf(0, 1, 0, 0), Sbdf(0, 2, 0, 0)
FLAGS = st.none() | st.booleans()
OPTIONS = st.builds(
    DeviceOptions, FLAGS, st.sampled_from([None, "strict", "relaxed"]), FLAGS, FLAGS, st.none() | st.integers(1, 0x1F)
)


@given(OPTIONS)
def test_xenstore_says_what_was_written(options: DeviceOptions) -> None:
    vdevfn = "" if options.vslot is None else f"{options.vslot << 3:x}"
    assert DeviceOptions.from_nodes(options.as_node(), vdevfn) == options.over(DEFAULTS)


@given(OPTIONS, OPTIONS)
def test_the_stored_configuration_says_what_was_written(first: DeviceOptions, then: DeviceOptions) -> None:
    config = amended({}, [NIC, OTHER], options={NIC: first})
    assert configured_options(config) == {NIC: first.over(DEFAULTS), OTHER: DEFAULTS}
    again = amended(config, [NIC], options={NIC: then})
    assert configured_options(again)[NIC] == then.over(first.over(DEFAULTS))
    assert amended(again, [NIC]) == again


@given(OPTIONS, OPTIONS)
def test_a_file_says_what_was_written(first: DeviceOptions, then: DeviceOptions) -> None:
    text = updated('name = "w"\ntype = "hvm"\n', "w", [NIC, OTHER], options={NIC: first})
    assert options_of(text)[NIC].over(DEFAULTS) == first.over(DEFAULTS)
    again = updated(text, "w", [NIC], options={NIC: then})
    assert options_of(again)[NIC].over(DEFAULTS) == then.over(first.over(DEFAULTS))
    assert updated(again, "w", [NIC], options={NIC: then}) == again
    assert options_of(again)[OTHER] == DeviceOptions()


@given(OPTIONS)
def test_xl_is_given_what_is_not_its_default(options: DeviceOptions) -> None:
    first, *words = options.as_spec(NIC).split(",")
    slot = {"vslot": first.partition("@")[2]}
    assert first.partition("@")[0] == str(NIC)
    read = DeviceOptions.from_words({**slot, **dict(word.split("=") for word in words)})
    assert read.over(DEFAULTS) == options.over(DEFAULTS)


@given(OPTIONS, OPTIONS)
def test_what_differs_is_what_is_declared_otherwise(declared: DeviceOptions, now: DeviceOptions) -> None:
    assert (declared.differences(now) == []) == (declared.over(now.over(DEFAULTS)) == now.over(DEFAULTS))


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("'01:00.0,rdm_policy=relaxed'", DeviceOptions(rdm_policy="relaxed", msitranslate=True)),
        ("'01:00.0@1a,msitranslate=0'", DeviceOptions(msitranslate=False, vslot=0x1A)),
        ("'bdf=01:00.0,vslot=8,permissive=1,permissive=0'", DeviceOptions(False, None, True, None, 8)),
        ("'01:00.0,power_mgmt=2'", DeviceOptions(msitranslate=True, power_mgmt=True)),
    ],
)
def test_what_xl_reads(line: str, options: DeviceOptions) -> None:
    text = f'name = "w"\ntype = "hvm"\npci_msitranslate = 1\npci = [ {line} ]\n'
    assert options_of(text) == {NIC: options}
    other = replace(options, rdm_policy="strict", msitranslate=False, vslot=3)
    assert options_of(updated(text, "w", [NIC], options={NIC: other}))[NIC].over(DEFAULTS) == other.over(DEFAULTS)


@pytest.mark.parametrize("entry", [{"vdevfn": "x"}, {"permissive": "True"}, {"rdm_policy": 5}, {"msitranslate": 1}])
def test_an_entry_that_libxl_did_not_write_has_no_options(entry: dict[str, Any]) -> None:
    assert DeviceOptions.from_entry(entry).over(DEFAULTS) == DEFAULTS
