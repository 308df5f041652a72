# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module says about itself (check mode, diff, platform, idempotence), worded once.

Use: C(xen.pci.attributes) for the descriptions, then state C(support) of C(check_mode), C(diff_mode) and C(idempotent)
in the module; C(xen.pci.attributes.info_module) for modules that change nothing;
C(xen.pci.attributes.actiongroup_declare) for those with the options catalog and timeout,
C(xen.pci.attributes.actiongroup_pci) for the others.
"""

from __future__ import annotations


class ModuleDocFragment:
    """The fragments; ansible-doc finds them by the names of the class attributes."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode). It returns what it would do, and changes nothing.
  diff_mode:
    description: Returns what was before and is after, or in check mode would be, when in diff mode.
  idempotent:
    description: A second run with the same arguments changes nothing, unless something else has changed in between.
  platform:
    description: Where the module runs.
    support: full
    platforms: posix
    details:
      - The target is a Linux dom0 of Xen, the domain that manages the host and owns its PCI devices.
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This module changes nothing.
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
  idempotent:
    support: full
    details:
      - This module changes nothing.
"""

    ACTIONGROUP_PCI = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/xen.pci.pci) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - xen.pci.pci
"""

    ACTIONGROUP_DECLARE = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/xen.pci.declare) in C(module_defaults) to set O(catalog) and O(timeout) once for all modules that
        have them. C(group/xen.pci.pci) has the other modules, too, which do not take these options.
    support: full
    membership:
      - xen.pci.declare
      - xen.pci.pci
"""
