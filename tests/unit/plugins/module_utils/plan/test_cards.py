# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All functions of a card by one name, and those of a graphics card that are not declared beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import device, host

from ansible_collections.xen.pci.plugins.module_utils.model.boot_facts import BootFacts, PcibackKind
from ansible_collections.xen.pci.plugins.module_utils.model.device import PciDevice
from ansible_collections.xen.pci.plugins.module_utils.plan.assignment import complete_plan, read_wanted
from ansible_collections.xen.pci.plugins.module_utils.plan.cards import companions
from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import checked_catalog, resolve_names
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

#: A graphics card with four functions, a card with a switch of its own, a network card with two ports.
GPU = ("0000:01:00.0", "0000:01:00.1", "0000:01:00.2", "0000:01:00.3")
SWITCHED = ("0000:05:00.0", "0000:05:00.1")
PORTS = ("0000:07:00.0", "0000:07:00.1")
CLASSES = ("030000", "040300", "0c0330", "0c8000")


def _devices() -> list[PciDevice]:
    found = [
        device(at, "snd", class_code=code, slot="4", path=f"0000:00/01.0/00.{function}")
        for function, (at, code) in enumerate(zip(GPU, CLASSES, strict=True))
    ]
    found.append(device("0000:03:00.0", class_code="060400", slot="6", path="0000:00/02.0/00.0"))
    found.append(device("0000:04:00.0", class_code="060400", path="0000:00/02.0/00.0/00.0"))
    found += [
        device(at, class_code=code, vendor="1002", path=f"0000:00/02.0/00.0/00.0/00.{function}")
        for function, (at, code) in enumerate(zip(SWITCHED, CLASSES[:2], strict=True))
    ]
    found += [device(at, path=f"0000:00/03.0/00.{function}") for function, at in enumerate(PORTS)]
    found.append(device("0000:07:10.0", path="0000:00/03.0/00.0/vf0", physfn=Sbdf.parse(PORTS[0]), vf_index=0))
    return found


HOST = host(_devices(), drivers=frozenset({"pciback"}))


def found(entry: Any, name: str = "card") -> Any:
    catalog = checked_catalog({name: entry})
    assert not catalog.refusals, catalog.refusals
    resolution = resolve_names(catalog.entries, HOST, [name])
    return [refusal.code for refusal in resolution.refusals] or [str(sbdf) for sbdf in resolution.expand([name])]


@pytest.mark.parametrize(
    ("entry", "functions"),
    [
        ({"slot": "4", "functions": "all"}, GPU),
        ({"address": GPU[1], "functions": "all"}, GPU),
        ({"class": "0403", "slot": "4", "functions": "all"}, GPU),
        ({"address": GPU[0], "slot": "4", "functions": "all"}, GPU),
        ({"slot": "6", "functions": "all"}, SWITCHED),
        ({"vendor": "1002", "class": "03", "functions": "all"}, SWITCHED),
        ({"address": PORTS[0], "functions": "all"}, PORTS),
        ({"slot": "4"}, ["ambiguous"]),
        ({"class": "03", "functions": "all"}, ["ambiguous"]),
        ({"slot": "9", "functions": "all"}, ["absent"]),
    ],
)
def test_a_name_means_all_functions_of_the_card(entry: dict[str, Any], functions: Any) -> None:
    assert found(entry) == list(functions)


@pytest.mark.parametrize("key", ["function", "vf", "count", "select"])
def test_what_means_one_function_or_a_pool_contradicts_it(key: str) -> None:
    value = {"select": "[]"}.get(key, 1)
    catalog = checked_catalog({"card": {"pf": "x", "slot": "4", "functions": "all", key: value}})
    assert {refusal.code for refusal in catalog.refusals} == {"catalog-contradiction"}


def test_the_advice_names_the_way() -> None:
    catalog = checked_catalog({"card": {"slot": "4"}, "star": {"address": "01:00.*"}})
    (refusal,) = resolve_names(catalog.entries, HOST, ["card"]).refusals
    assert "functions: all" in refusal.advice
    assert "functions: all" in catalog.refusals[0].advice
    assert "functions: all" in resolve_names({}, HOST, ["0000:01:00.*"]).refusals[0].advice


def test_two_names_for_one_function_are_refused() -> None:
    catalog = checked_catalog({"card": {"slot": "4", "functions": "all"}, "sound": {"address": GPU[1]}})
    (refusal,) = resolve_names(catalog.entries, HOST, ["card", "sound"]).refusals
    assert (refusal.code, refusal.subject) == ("same-device", GPU[1])


def test_companions_are_those_of_a_graphics_card_only() -> None:
    devices = HOST.devices
    assert companions(devices, Sbdf.parse(GPU[0])) == {
        Sbdf.parse(GPU[1]): "audio",
        Sbdf.parse(GPU[2]): "USB",
        Sbdf.parse(GPU[3]): "serial bus",
    }
    assert companions(devices, Sbdf.parse(SWITCHED[1])) == {Sbdf.parse(SWITCHED[0]): "display"}
    assert companions(devices, Sbdf.parse(PORTS[0])) == {}


@pytest.mark.parametrize(
    ("devices", "suggested"),
    [(["gpu"], True), (["gpu", "sound", *GPU[2:]], False), (["whole"], False), (["quiet"], False)],
)
def test_companions_that_are_not_declared_are_suggested_by_name(devices: list[str], suggested: bool) -> None:
    entries = {
        "gpu": {"address": GPU[0]},
        "sound": {"address": GPU[1]},
        "whole": {"slot": "4", "functions": "all"},
        "quiet": {"address": GPU[0], "waive": {"acs": "the guest needs no sound"}},
    }
    wanted = read_wanted(devices, checked_catalog({name: entries[name] for name in {*devices, "sound"} & set(entries)}))
    wanted_host = replace(HOST, boot=BootFacts(PcibackKind.MODULE))
    names = resolve_names(wanted.catalog.entries, wanted_host, wanted.known_names)
    warnings = complete_plan(wanted_host, wanted, names).devices.warnings
    suggestions = [warning for warning in warnings if "graphics card" in warning]
    assert bool(suggestions) is suggested, warnings
    if suggested:
        assert f"sound ({GPU[1]}, audio), {GPU[2]} (USB)" in suggestions[0]
