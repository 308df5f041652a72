# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all unit tests share: how hypothesis searches."""

from __future__ import annotations

import property_tests

pytest_configure = property_tests.pytest_configure
