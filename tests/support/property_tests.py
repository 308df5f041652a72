# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How hypothesis searches, for a conftest.py that imports pytest_configure from here.

The examples follow from the test's source, so that a run fails because of a change and not by luck; with
--hypothesis-seed=N they are others.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings


def pytest_configure(config: pytest.Config) -> None:
    """Load the profile. Neither a slow machine nor a first slow example is a failure."""
    settings.register_profile(
        "xen.pci",
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=config.getoption("hypothesis_seed") is None,
    )
    settings.load_profile("xen.pci")
