# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option C(fingerprint), which all modules with a plan have."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment; ansible-doc finds it by the name of the class attribute."""

    DOCUMENTATION = r"""
options:
  fingerprint:
    description:
      - The approved plan. It is the fingerprint that a run in check mode has returned with the same declaration.
      - If the plan is another one by now, nothing is done, and the task is refused. What counts are the steps, the
        declaration, and which devices and domains are meant. Other changes of the host do not matter.
      - A host on which nothing is left to do is as approved.
      - A fingerprint is good for the version of this collection that has returned it.
    type: str
"""
