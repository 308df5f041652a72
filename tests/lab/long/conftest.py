# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives the tests of HVM guests a host on which these can run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xenlab import Host


@pytest.fixture(scope="session")
def hvm_host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host as `lab boot --hvm` makes it: not that of the other tests. With --lab-host, that one must be so."""
    with Host.borrowed(request.config.getoption("--lab-host"), "hvm", hvm=True) as running:
        yield running
