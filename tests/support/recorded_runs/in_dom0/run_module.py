# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module domain_devices in dom0, as Ansible would; its arguments are the first word, as JSON."""

from __future__ import annotations

import sys

from ansible.module_utils import basic

from ansible_collections.xen.pci.plugins.modules import domain_devices

# What ansible-core's own wrapper sets before it runs a module (executor/module_common.py).
basic._ANSIBLE_ARGS = b'{"ANSIBLE_MODULE_ARGS": %s}' % sys.argv[1].encode()
basic._ANSIBLE_PROFILE = "legacy"
domain_devices.main()
