# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection: whatever Ansible runs or copies is on a simulated host, with or without a module."""

from __future__ import annotations

DOCUMENTATION = r"""
name: simulated
short_description: Run tasks on a simulated Xen host
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Runs commands on a simulated host of the role P(xen.pci.simulated_host#role), which is on the control node.
  - They have the programs of the simulated host only, also those that run without a module, as by
    M(ansible.builtin.raw) and M(ansible.builtin.script). M(ansible.builtin.fetch) gets files of the simulated host.
options:
  directory:
    description: Directory of the simulated host.
    type: path
    required: true
    vars:
      - name: simulated_host_directory
  become_success_timeout:
    description: Seconds to wait for become to succeed, as with P(ansible.builtin.local#connection).
    type: int
    default: 10
    vars:
      - name: ansible_local_become_success_timeout
  become_strip_preamble:
    description: Whether to leave out what become prints itself, as with P(ansible.builtin.local#connection).
    type: bool
    default: true
    vars:
      - name: ansible_local_become_strip_preamble
extends_documentation_fragment:
  - connection_pipelining
notes:
  - Set C(ansible_python_interpreter) to C(bin/ansible-python) in the directory. The README of the role has an example.
"""

import os
import runpy
import shlex

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.local import Connection as LocalConnection


class Connection(LocalConnection):
    """As a local connection, but in the host's shell and with its files."""

    transport = "xen.pci.simulated"

    def exec_command(self, cmd, in_data=None, sudoable=True):  # type: ignore[no-untyped-def]
        """Run a command in the shell that has the host's variables."""
        shell = shlex.quote(self._own("bin/ansible-sh"))
        return super().exec_command(f"{shell} -c {shlex.quote(cmd)}", in_data, sudoable)

    def put_file(self, in_path, out_path):  # type: ignore[no-untyped-def]
        """Copy a file to the host, or to where Ansible keeps temporary files."""
        return super().put_file(in_path, self._moved(out_path))

    def fetch_file(self, in_path, out_path):  # type: ignore[no-untyped-def]
        """Copy a file of the host."""
        return super().fetch_file(self._moved(in_path), out_path)

    def _own(self, path: str) -> str:
        place = os.path.join(self.get_option("directory"), path)
        if not os.path.exists(place):
            where = self.get_option("directory")
            raise AnsibleConnectionFailure(
                f"No simulated host is in {where}; start one with the role xen.pci.simulated_host."
            )
        return place

    def _moved(self, path: str) -> str:
        """Where a path is on the host: its own Python knows."""
        return str(runpy.run_path(self._own("python/simulated_paths.py"))["moved"](path))
