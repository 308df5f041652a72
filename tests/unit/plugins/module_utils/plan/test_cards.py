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
from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import Acs, PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.device_model import DeviceModel, Plugged, qemu_name
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain, DomainKind
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.plan.assignment import complete_plan, read_wanted
from ansible_collections.xen.pci.plugins.module_utils.plan.cards import companions
from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import checked_catalog, resolve_names
from ansible_collections.xen.pci.plugins.module_utils.plan.declaration import Declaration, resolve_declaration
from ansible_collections.xen.pci.plugins.module_utils.plan.declaration import complete_plan as domains_plan
from ansible_collections.xen.pci.plugins.module_utils.values.address import GuestAddress, Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.declared_domain import read_domain

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
        (sentence,) = suggestions
        assert f"gpu ({GPU[0]}, display) with pciback; sound ({GPU[1]}, audio), {GPU[2]} (USB)" in sentence


# ---- one card, several owners


def pciback_has(*functions: str) -> Host:
    held = {Sbdf.parse(at): replace(HOST.devices[Sbdf.parse(at)], driver="pciback") for at in functions}
    return replace(HOST, devices={**HOST.devices, **held}, boot=BootFacts(PcibackKind.MODULE))


def guest(domid: int, name: str, *devices: str) -> Domain:
    nodes = {"state": "4", "num_devs": str(len(devices))}
    for number, at in enumerate(devices):
        nodes |= {f"dev-{number}": at, f"state-{number}": "3", f"vdev-{number}": f"0000:00:0{number}.00"}
    connection = PciConnection.from_nodes(domid, nodes, "4") if devices else None
    return Domain(domid, name, kind=DomainKind.PV, own_connection=connection, uses_iommu=True)


def card_warnings(on: Host, domains: dict[str, Any], catalog: Any = None) -> list[str]:
    declaration = Declaration(
        tuple(read_domain(name, value) for name, value in domains.items()), checked_catalog(catalog or {})
    )
    plan = domains_plan(on, resolve_declaration(on, declaration), [])
    assert plan.refusals == ()
    return [text for text in plan.plan.doubts if " card" in text]


A, B = ({"devices": [at]} for at in GPU[:2])
FILE = "/etc/xen/web02.cfg"
POOLS = {
    "screens": {"class": "03", "vendor": "8086", "count": 1},
    "sounds": {"class": "0403", "vendor": "8086", "count": 1},
}
WEB = (guest(1, "web01"), guest(2, "web02"))
WAYS: dict[str, tuple[tuple[Domain, ...], dict[str, Any], Any]] = {
    "two domains in one task": (WEB, {"web01": A, "web02": B}, None),
    "one now": ((guest(1, "web01"), guest(2, "web02", GPU[1])), {"web01": A}, None),
    "the other one later": ((guest(1, "web01", GPU[0]), guest(2, "web02")), {"web02": B}, None),
    "one and pciback": (WEB, {"web01": A}, None),
    "parts of pools": (
        WEB,
        {"web01": {"devices": [{"from": "screens"}]}, "web02": {"devices": [{"from": "sounds"}]}},
        POOLS,
    ),
    "pools": (WEB, {"web01": {"devices": ["screens"]}, "web02": {"devices": ["sounds"]}}, POOLS),
    "one is taken away": ((guest(1, "web01", *GPU[:2]),), {"web01": {**B, "state": "absent"}}, None),
    "one is left out": ((guest(1, "web01", *GPU[:2]),), {"web01": {**A, "exclusive": True}}, None),
    "one moves": (
        (guest(1, "web01", *GPU[:2]), guest(2, "web02")),
        {"web01": {**A, "exclusive": True}, "web02": B},
        None,
    ),
    "the file of a domain that does not run": (WEB[:1], {"web01": A, "web02": {**B, "config": FILE}}, None),
    "a domain that must be created again": (
        (guest(1, "web01"), replace(guest(2, "web02"), uses_iommu=False)),
        {"web01": A, "web02": {**B, "config": FILE}},
        None,
    ),
}


@pytest.mark.parametrize("hvm", [False, True], ids=["pv", "hvm"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_way_to_split_a_graphics_card_is_warned_about_once(way: Any, hvm: bool) -> None:
    domains, declared, catalog = way
    if hvm:
        domains = tuple(replace(one, kind=DomainKind.HVM, device_model=model_of(one)) for one in domains)
    on = replace(pciback_has(*GPU), domains={one.domid: one for one in domains}, config_files={FILE: "name='web02'\n"})
    (warning,) = card_warnings(on, declared, catalog)
    assert "the same graphics card" in warning and GPU[0] in warning and GPU[1] in warning and "web0" in warning


def model_of(domain: Domain) -> DeviceModel:
    place = Plugged(GuestAddress(0, 0, 4, 0), enabled=True)
    return DeviceModel({qemu_name(sbdf): place for sbdf in domain.devices}, free_slots=8)


def test_what_is_split_already_or_not_at_all_is_not_warned_about() -> None:
    on = replace(pciback_has(*GPU), domains={1: guest(1, "web01", GPU[0]), 2: guest(2, "web02", GPU[1])})
    assert card_warnings(on, {"web01": A, "web02": B}) == []
    whole = replace(on, domains={1: guest(1, "web01")})
    assert card_warnings(whole, {"web01": {"devices": list(GPU)}}) == []
    with_reason = {"gpu": {"address": GPU[0], "waive": {"acs": "its driver needs no sound"}}}
    assert card_warnings(whole, {"web01": {"devices": ["gpu"]}}, with_reason) == []


def test_functions_of_any_card_without_acs_are_warned_about_once() -> None:
    """Cards that are split alike share one sentence."""
    ports = (*PORTS, "0000:08:00.0", "0000:08:00.1")
    facts = {"port_type": 0, "acs": Acs.ABSENT, "driver": "pciback", "reset_methods": ("flr",)}
    found = [device(at, path=f"0000:00/0{at[6]}.0/00.{at[-1]}", **facts) for at in ports]
    on = replace(host(found, drivers=frozenset({"pciback"})), domains={one.domid: one for one in WEB})
    split = {"web01": {"devices": [ports[0], ports[2]]}, "web02": {"devices": [ports[1], ports[3]]}}
    (warning,) = card_warnings(on, split)
    assert "the same cards" in warning and "ACS" in warning
    assert f"{ports[0]}, {ports[2]} with web01; {ports[1]}, {ports[3]} with web02" in warning
    assert card_warnings(on, {"web01": {"devices": [ports[0]]}}) == [], "pciback reaches nothing"


def test_a_function_that_goes_back_to_the_host_splits_the_card() -> None:
    wanted = read_wanted([GPU[1]], checked_catalog({}), present=False)
    on = replace(pciback_has(*GPU), driver_paths={Sbdf.parse(GPU[1]): "/sys/bus/pci/drivers/snd"})
    on = replace(on, drivers=frozenset({"pciback", "snd"}))
    plan = complete_plan(on, wanted, resolve_names({}, on, wanted.known_names))
    (warning,) = [text for text in plan.devices.warnings if "graphics card" in text]
    assert f"{GPU[1]} (audio) with the host" in warning
