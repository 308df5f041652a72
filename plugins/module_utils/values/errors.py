# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of all exceptions that this collection raises on purpose."""

from __future__ import annotations


class XenPciError(Exception):
    """An error that is shown to the user; its text is a sentence without the full stop."""

    #: Whether the host may not be as it was before.
    changed = False


class HostError(XenPciError):
    """The host cannot be read or changed: xenstore, sysfs, Xen, a toolstack or a file refused it."""
