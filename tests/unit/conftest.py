# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all unit tests share: how hypothesis searches."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Neither a slow machine nor a first slow example is a failure.
settings.register_profile("xen.pci", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xen.pci")
