# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the host's console stands on which PCI function."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

from ..values.address import Sbdf
from .device_files import list_names, read_text
from .kernel_paths import pci_function_of


def consoles(sysfs_root: Path) -> dict[Sbdf, list[str]]:
    """Framebuffers, and terminals that the kernel writes to, by the function they stand on."""
    found: dict[Sbdf, list[str]] = defaultdict(list)
    terminals = (read_text(sysfs_root / "class" / "tty" / "console" / "active") or "").split()
    candidates = [("graphics", name, "framebuffer") for name in sorted(list_names(sysfs_root / "class" / "graphics"))]
    for group, name, what in candidates + [("tty", name, "console") for name in terminals]:
        if re.fullmatch(r"(fb|tty)\w+", name):
            function = pci_function_of(os.path.realpath(sysfs_root / "class" / group / name / "device"))
            if function is not None:
                found[function].append(f"{what} {name}")
    return dict(found)
