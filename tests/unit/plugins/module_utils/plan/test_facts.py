# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts that users see leave out nothing that was observed: each field of the model shows in them."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from builders import assignable, connection, domain, host
from host_strategies import USUAL, values_of
from hypothesis import Phase, find, settings

from ansible_collections.xen.pci.plugins.module_utils.model.boot_facts import BootFacts, PcibackKind
from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.notes import Note
from ansible_collections.xen.pci.plugins.module_utils.plan.device_facts import all_facts
from ansible_collections.xen.pci.plugins.module_utils.plan.host_facts import domain_facts, host_facts

A = USUAL[0]
DEVICE, CONNECTION, DOMAIN = assignable(A), connection(3, A), domain(3, "web01", A)
BOOT = BootFacts(PcibackKind.MODULE)
HOST = host([DEVICE], [DOMAIN], boot=BOOT)
#: What is read only for those who ask for it, or is said again by another field.
UNSEEN = {
    Host: {"groups", "functions", "config_files", "unreadable_files", "usual_files"},
    BootFacts: {"modules"},
    PciConnection: {"domid", "nodes"},
    Note: {"product", "quarantined"},
}
FIRST_FOUND = settings(phases=[Phase.generate], max_examples=300, database=None)


def facts_of(observed: Host) -> object:
    return (
        all_facts(observed),
        [domain_facts(one, observed.xen) for one in observed.domains.values()],
        host_facts(observed),
    )


def hosts_with(kind: type, place: Callable[[Any], Host], known: Any) -> list[Any]:
    """For each field of a class: its name, its type, and the host that has a value there."""
    hints = typing.get_type_hints(kind)
    return [
        pytest.param(hints[one.name], lambda value, name=one.name: place(replace(known, **{name: value})), id=one.name)
        for one in fields(kind)
        if one.name not in UNSEEN.get(kind, ())
    ]


def seen(hint: Any, host_with: Callable[[Any], Host]) -> None:
    """Raises NoSuchExample if no two values can be told apart by the facts."""
    first = find(values_of(hint), lambda _value: True, settings=FIRST_FOUND)
    usual = facts_of(host_with(first))
    find(values_of(hint), lambda value: facts_of(host_with(value)) != usual, settings=FIRST_FOUND)


@pytest.mark.parametrize(
    ("hint", "host_with"), hosts_with(PciDevice, lambda one: replace(HOST, devices={one.sbdf: one}), DEVICE)
)
def test_each_field_of_a_device_shows(hint: Any, host_with: Callable[[Any], Host]) -> None:
    seen(hint, host_with)


@pytest.mark.parametrize(
    ("hint", "host_with"), hosts_with(Domain, lambda one: replace(HOST, domains={one.domid: one}), DOMAIN)
)
def test_each_field_of_a_domain_shows(hint: Any, host_with: Callable[[Any], Host]) -> None:
    seen(hint, host_with)


@pytest.mark.parametrize(
    ("hint", "host_with"),
    hosts_with(PciConnection, lambda one: replace(HOST, domains={3: replace(DOMAIN, own_connection=one)}), CONNECTION)
    + hosts_with(PciConnection, lambda one: replace(HOST, orphaned_connections={4: one}), CONNECTION),
)
def test_each_field_of_a_connection_shows(hint: Any, host_with: Callable[[Any], Host]) -> None:
    seen(hint, host_with)


@pytest.mark.parametrize(("hint", "host_with"), hosts_with(Note, lambda one: replace(HOST, notes={A: one}), Note()))
def test_each_field_of_a_note_shows(hint: Any, host_with: Callable[[Any], Host]) -> None:
    seen(hint, host_with)


@pytest.mark.parametrize(("hint", "host_with"), hosts_with(BootFacts, lambda one: replace(HOST, boot=one), BOOT))
def test_each_field_of_the_next_boot_shows(hint: Any, host_with: Callable[[Any], Host]) -> None:
    seen(hint, host_with)


@pytest.mark.parametrize(("hint", "host_with"), hosts_with(Host, lambda one: one, HOST))
def test_each_field_of_a_host_shows(hint: Any, host_with: Callable[[Any], Host]) -> None:
    seen(hint, host_with)
