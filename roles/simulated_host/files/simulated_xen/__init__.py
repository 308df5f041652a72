# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated Xen host: the interfaces of a dom0, offered by one unprivileged Python process.

What each package stands for: ``store`` is xenstored, ``kernel`` is Linux (pciback in dom0, pcifront in
the guests), ``host`` is the machine and its sysfs, ``hypervisor`` is Xen, ``domains`` are the guests,
``tools`` is what the toolstack would bring (``xl``), ``interpreter`` is what goes on ``PYTHONPATH``.
"""
