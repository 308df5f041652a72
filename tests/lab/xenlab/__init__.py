# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Xen host inside QEMU, for tests and for trying things by hand.

host = Host.boot("name")
host.run("xl list")
host.guest("g1").run("lspci")
host.stop()
"""

from __future__ import annotations

from xenlab.errors import CommandFailed, LabError
from xenlab.guests import Guest
from xenlab.host import Host
from xenlab.logs import Line, Log
from xenlab.ssh import Result

__all__ = ["CommandFailed", "Guest", "Host", "LabError", "Line", "Log", "Result"]
