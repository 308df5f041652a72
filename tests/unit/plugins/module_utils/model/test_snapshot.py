# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host travels as a document: nothing is lost, nothing is read that is not understood."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from builders import connection, device, domain, host
from host_strategies import hosts
from hypothesis import given

from ansible_collections.xen.pci.plugins.module_utils.model.device import Acs
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.snapshot import SCHEMA, SnapshotError, from_json, to_json
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.errors import XenPciError

A, B = Sbdf(0, 3, 0, 0), Sbdf(0, 0x10, 0, 1)
HOST = host(
    [device(A, acs=Acs.ON, pciback_slots=None)],
    [domain(number, f"g{number}") for number in (2, 10)],
    orphaned_connections={3: connection(3, A)},
)


def travelled(observed: Host) -> Any:
    """Its document as it arrives."""
    return json.loads(json.dumps(to_json(observed), ensure_ascii=False).encode())


@given(hosts())
def test_nothing_is_lost_on_the_way(observed: Host) -> None:
    document = travelled(observed)
    assert from_json(document) == observed
    assert to_json(from_json(document)) == document, "what equality does not look at is there, too"


@given(hosts())
def test_order_does_not_depend_on_who_carried_it(observed: Host) -> None:
    """A tool that sorts the keys of objects sorts them as text."""
    carried = from_json(json.loads(json.dumps(to_json(observed), sort_keys=True)))
    assert list(carried.devices) == sorted(observed.devices)
    assert list(carried.domains) == sorted(observed.domains)
    assert json.dumps(to_json(carried)) == json.dumps(to_json(observed))


def test_the_document_says_what_a_person_would() -> None:
    document = travelled(HOST)
    assert document["schema"] == SCHEMA
    assert list(document["host"]["domains"]) == ["2", "10"]
    device = document["host"]["devices"]["0000:03:00.0"]
    assert (device["sbdf"], device["acs"], device["pciback_slots"]) == ("0000:03:00.0", "on", None)
    entry = document["host"]["orphaned_connections"]["3"]["entries"][0]
    assert (entry["state"], entry["guest_address"]) == ("exported", "0000:00:00.00")


def places(value: Any, way: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The ways to all places inside."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, one in pairs:
        yield (*way, step)
        yield from places(one, (*way, step))


@pytest.mark.parametrize("strange", [1.5, {"no": 1.5}])
def test_what_is_not_of_its_type_is_named_with_its_place(strange: Any) -> None:
    for way in places(travelled(HOST)["host"]):
        document = travelled(HOST)
        inside = document["host"]
        for step in way[:-1]:
            inside = inside[step]
        inside[way[-1]] = strange
        with pytest.raises(SnapshotError) as caught:
            from_json(document)
        where = ".".join(["host", *map(str, way)])
        assert caught.value.where.replace("[", ".").replace("]", "").startswith(where)


@pytest.mark.parametrize(
    ("way", "value", "problem"),
    [
        (("devices", "0000:03:00.0", "sbdf"), "03:00.0", "devices[0000:03:00.0].sbdf: '03:00.0' is not an address"),
        (("devices", "0000:03:00.0", "sbdf"), "x", "devices[0000:03:00.0].sbdf: 'x' is not an address"),
        (("devices", "0000:03:00.0", "irq"), True, "devices[0000:03:00.0].irq: True is not a whole number"),
        (("devices", "0000:03:00.0", "vendor"), "base64:?", ".vendor: 'base64:?' is not text in base64"),
        (("devices", "0000:03:00.0", "acs"), "perhaps", ".acs: 'perhaps' is not one of on, off, absent, unknown"),
        (("devices", "0000:03:00.0", "new"), 1, "devices[0000:03:00.0]: new is unknown"),
        (("devices", "3:0.0"), {}, "devices[3:0.0]: '3:0.0' is not an address"),
        (("domains", "02"), {}, "domains[02]: '02' is not a whole number"),
        (("kernel",), [6], "kernel: [6] is not a list of the right length"),
        (("drivers",), ["e1000e", "e1000e"], "drivers: ['e1000e', 'e1000e'] is not a list without repetitions"),
    ],
)
def test_what_cannot_be_meant_is_refused(way: tuple[str, ...], value: Any, problem: str) -> None:
    document = travelled(HOST)
    place = document["host"]
    for step in way[:-1]:
        place = place[step]
    place[way[-1]] = value
    with pytest.raises(SnapshotError) as caught:
        from_json(document)
    assert problem in str(caught.value)


def test_a_missing_field_is_refused() -> None:
    document = travelled(HOST)
    del document["host"]["domains"]["10"]["uuid"]
    with pytest.raises(SnapshotError, match=r"host\.domains\[10\]: uuid is missing"):
        from_json(document)


@pytest.mark.parametrize("schema", [None, 0, SCHEMA + 1, True, "1"])
def test_a_schema_that_is_not_known_is_refused(schema: object) -> None:
    with pytest.raises(SnapshotError, match=f"its schema is {schema!r}, and this version of xen.pci reads"):
        from_json({**travelled(HOST), "schema": schema})


@pytest.mark.parametrize("document", [None, [], "text", {}, {"schema": SCHEMA}, {**to_json(HOST), "more": 1}])
def test_what_is_no_snapshot_at_all_is_refused(document: object) -> None:
    with pytest.raises(XenPciError, match="the snapshot cannot be read: "):
        from_json(document)


def test_an_endless_document_is_refused() -> None:
    document = travelled(HOST)
    domain = document["host"]["domains"]["2"]
    domain["stub"] = domain
    with pytest.raises(SnapshotError, match="nested too deeply"):
        from_json(document)
