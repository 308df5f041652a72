# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which domain a name or a UUID means, and that nothing is guessed where it may be another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_lookup import declared_twice, find_domain
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import Refusal

U1, U2, U3 = (f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "abc")
NAMES, UUIDS = ("web", "Web", "db", U1, ""), (U1, U2, U3, "")


def host(*domains: Domain, dying: frozenset[int] = frozenset()) -> Host:
    return Host({}, {domain.domid: domain for domain in domains}, dying=dying)


def code(found: Domain | Refusal) -> str | int:
    return found.code if isinstance(found, Refusal) else found.domid


@pytest.mark.parametrize(
    ("name", "uuid", "found"),
    [
        ("web", "", 1),
        ("web", U1, 1),
        ("anything", U1, 1),
        (U1.upper(), "", 1),
        ("web", U2, "other-domain"),
        ("web", "ffffffff-ffff-ffff-ffff-ffffffffffff", "other-domain"),
        ("none", "ffffffff-ffff-ffff-ffff-ffffffffffff", "unknown-domain"),
        ("WEB", "", "unknown-domain"),
        ("7", "", "not-a-name"),
        ("99", "", "unknown-domain"),
        ("Domain-0", "", "not-a-name"),
        ("twin", "", "ambiguous-domain"),
        ("twin", "dddddddd-dddd-dddd-dddd-dddddddddddd", 4),
        ("moved", "", "ambiguous-domain"),
        ("lost", "", "lost-name"),
        (U3, "", "ambiguous-domain"),
        ("x", "eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee", "ambiguous-domain"),
    ],
)
def test_each_way_to_name_a_domain(name: str, uuid: str, found: str | int) -> None:
    twins = [Domain(4, "twin", "dddddddd-dddd-dddd-dddd-dddddddddddd"), Domain(5, "twin")]
    incoming = [Domain(6 + n, f"m{n}", "eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee") for n in (0, 1)]
    named_like_a_uuid = [Domain(10, U3), Domain(11, "other", U3)]
    renamed = [Domain(12, "moved", U2), Domain(13, "", stored_name="moved"), Domain(14, "", stored_name="lost")]
    on = host(Domain(1, "web", U1), *twins, *incoming, *named_like_a_uuid, *renamed)
    assert code(find_domain(on, name, uuid)) == found


def test_a_refusal_tells_what_there_is() -> None:
    on = host(Domain(1, "web", U1), Domain(4, "", U2), dying=frozenset({9}))
    text = str(find_domain(on, "wbe"))
    assert (
        "running: web" in text
        and "domain 4 with UUID" in text
        and "dying: 9" in text
        and "did you mean" in text.lower()
    )


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(UUIDS)), max_size=4),
    st.sampled_from(NAMES),
    st.sampled_from(UUIDS),
)
def test_a_domain_that_is_found_is_the_only_one_that_may_be_meant(
    there: list[tuple[str, str]], name: str, uuid: str
) -> None:
    on = host(*(Domain(domid, *one) for domid, one in enumerate(there, 1)))
    found = find_domain(on, name, uuid)
    fits = [
        domain
        for domain in on.domains.values()
        if (domain.uuid == uuid if uuid else name in (domain.name, domain.uuid))
    ]
    if isinstance(found, Domain) and name:
        assert [found] == fits
    elif len(fits) == 1 and not uuid and name:
        assert isinstance(found, Domain)


def test_one_domain_is_declared_once() -> None:
    on = host(Domain(1, "web", U1), Domain(2, "db", U2))
    (refused,) = declared_twice(on, [("web", ""), ("db", ""), ("cache", U1), (U1, "")])
    assert (
        (refused.code, refused.subject) == ("same-domain", "web") and "cache" in refused.reason and U1 in refused.reason
    )
    assert declared_twice(on, [("web", ""), ("db", U2)]) == []


def test_a_name_that_yaml_may_have_made_a_number_of_is_advised_to_be_quoted() -> None:
    """0123 without quotes is 83, and comes as text, since keys are text."""
    named, other = find_domain(host(), "83"), find_domain(host(), "db")
    assert isinstance(named, Refusal) and "quotes" in named.advice
    assert isinstance(other, Refusal) and "quotes" not in other.advice
