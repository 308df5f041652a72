# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module says about itself (check mode, diff, platform, idempotence), worded once.

Use: C(xen.pci.attributes) for the descriptions, then state C(support) of C(check_mode), C(diff_mode) and C(idempotent)
in the module; C(xen.pci.attributes.info_module) for modules that only look;
C(xen.pci.attributes.actiongroup_pci) for all that belong to the action group.
"""

from __future__ import annotations


class ModuleDocFragment:
    """The fragments; ansible-doc finds them by the names of the class attributes."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode), then tells what it would do and touches nothing.
  diff_mode:
    description: Will return what is before and after, or would be, when in diff mode.
  idempotent:
    description: When run again with the same arguments and nothing else has changed in between, it changes nothing.
  platform:
    description: Where the module runs.
    support: full
    platforms: posix
    details:
      - The target is a Linux dom0 of Xen, that is the control domain which owns the PCI devices.
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This module only looks.
  diff_mode:
    support: N/A
    details:
      - This module only looks.
  idempotent:
    support: full
    details:
      - This module only looks.
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
