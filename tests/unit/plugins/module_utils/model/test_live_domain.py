# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The UUIDs of domains in what Xen says of them, wherever they are there, and labels that are those of others."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.model.live_domain import Label, LiveDomain, is_refuted, uuids

FIRST, SECOND, THIRD = (uuid.uuid5(uuid.NAMESPACE_DNS, name) for name in ("one", "two", "three"))


def domain(domid: int, identity: uuid.UUID, before: bytes = b"") -> LiveDomain:
    return LiveDomain(domid, record=before + identity.bytes + (b"\0" * 20 if before else b""))


@given(st.lists(st.uuids(), min_size=2, max_size=4, unique=True), st.binary(max_size=40))
def test_one_right_label_tells_the_uuids_of_all(identities: list[uuid.UUID], before: bytes) -> None:
    found = {domid: domain(domid, one, before) for domid, one in enumerate(identities, 1)}
    labels = {1: Label("a", str(identities[0])), 2: Label("b", "garbage")}
    expected = {domid: str(one) if one.int else "" for domid, one in enumerate(identities, 1)}
    if identities[0].int and found[1].record.find(identities[0].bytes) == len(before):
        assert uuids(found, labels) == expected


def test_without_a_right_label_they_are_known_only_if_xen_says_nothing_else() -> None:
    assert uuids({3: domain(3, FIRST)}, {}) == {3: str(FIRST)}
    assert uuids({3: domain(3, FIRST, b"head")}, {}) == {3: ""}
    assert uuids({3: domain(3, FIRST, b"head")}, {3: Label("a", str(SECOND))}) == {3: ""}


def test_a_label_of_another_domain_is_refuted() -> None:
    for before in (b"", b"head"):
        assert is_refuted(domain(3, FIRST, before), Label("a", str(SECOND)))
        assert not is_refuted(domain(3, FIRST, before), Label("a", str(FIRST).upper()))


@pytest.mark.parametrize(
    "written", ["", "garbage", str(uuid.UUID(int=0)), str(FIRST)[:-1], "5f 1c", "\ud800", "x" * 4096]
)
def test_what_is_no_uuid_refutes_nothing(written: str) -> None:
    found = domain(3, FIRST)
    assert not is_refuted(found, Label("a", written))
    assert uuids({3: found}, {3: Label("a", written)}) == {3: str(FIRST)}
