# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong in the lab, as exceptions whose text is for people."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked; the text says why and what to do."""


class CommandFailed(LabError):
    """A command inside the lab ended with an exit status other than 0, and the caller wanted 0."""
