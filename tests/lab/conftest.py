# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives tests a running host: one for the whole session, or the one named by --lab-host."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import scenario_table
from guest_lifecycle import assignable_parts

from xenlab import Host

pytest_terminal_summary = scenario_table.pytest_terminal_summary


#: Files go to hosts one by one, so those that take longest come first: none is left for one host alone at the end.
#: test_lab is about a host that has just booted.
FIRST = (
    "test_repair_on_xen",
    "test_lab",
    "test_proof",
    "test_main_job",
    "test_reboot",
    "test_role_host_on_xen",
    "test_races",
    "test_guest_life",
    "test_virtual_functions_on_xen",
    "test_with_xl",
    "test_connection_through_a_tunnel",
    "test_refusals",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lab-host", metavar="NAME", help="use this running host of the lab, and leave it running")
    parser.addoption("--record", action="store_true", help="keep the traces of plays, for tests without a lab")


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A running host; its devices are with dom0's drivers when the session starts."""
    with Host.borrowed(request.config.getoption("--lab-host"), "pytest") as running:
        yield running


@pytest.fixture
def assignable(host: Host) -> Iterator[Host]:
    """The host while the devices that guest g2 lives with are assignable, see guest_lifecycle.py."""
    with assignable_parts(host):
        yield host


@pytest.fixture
def happened(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Puts the test into the table of scenarios; call it with what was seen."""
    record_property("scenario", request.node.name.removeprefix("test_").replace("_", " "))
    return lambda text: record_property("happened", text[:150])
