# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module needs on the Xen host, worded once.

Use: C(xen.pci.host) in all modules; C(xen.pci.host.pools) in those that choose the devices of pools.
"""

from __future__ import annotations


class ModuleDocFragment:
    """The fragments; ansible-doc finds them by the names of the class attributes."""

    DOCUMENTATION = r"""
options: {}
requirements:
  - Python 3.9 or later on the Xen host
  - pyxs on the Xen host (Debian's package is C(python3-pyxs); the role C(xen.pci.host) installs it)
  - Xen's Python binding C(xen.lowlevel.xc), or the library C(libxenctrl) of the running Xen, on the Xen host
notes:
  - Runs in dom0, as root. Use C(become) if Ansible logs in as another user.
  - For hosts and domains that C(xl) manages. What libvirt, Qubes or XAPI manages is shown, and a change of it is
    refused with the tool to use (code C(manager)).
"""

    POOLS = r"""
options: {}
requirements:
  - jmespath on the Xen host (Debian's package is C(python3-jmespath)), if the catalog has pools with V(select)
"""
