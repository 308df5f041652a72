# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives tests a host that is not that of the others: one for HVM guests, one whose kernel has pciback built in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xenlab import Host


@pytest.fixture(scope="session")
def hvm_host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host as `lab boot --hvm` makes it. With --lab-host, that one must be so."""
    with Host.borrowed(request.config.getoption("--lab-host"), "hvm", hvm=True) as running:
        yield running


@pytest.fixture(scope="session")
def built_in_host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host as `lab boot --pciback-built-in` makes it. With --lab-host, that one must be so."""
    with Host.borrowed(request.config.getoption("--lab-host"), "built-in", pciback_built_in=True) as running:
        yield running
