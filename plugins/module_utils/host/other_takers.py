# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find files of others that may give devices to pciback while the host boots: units, rules of udev, start scripts."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from pathlib import Path

from ..values.address import AddressError, Sbdf
from .kernel_files import read_text

_PLACES = (
    "etc/rc.local",
    "etc/rc.d/rc.local",
    "etc/rc.d/boot.local",
    "etc/init.d/boot.local",
    "etc/local.d/*.start",
    "etc/systemd/system/*.service",
    "etc/systemd/system/*.service.d/*.conf",
    "etc/udev/rules.d/*.rules",
    "etc/initramfs-tools/scripts/*/*",
    "etc/initcpio/hooks/*",
    "etc/dracut.conf.d/*.conf",
)
#: What gives a device to pciback, by xl or by hand.
_GIVES = ("pci-assignable-add", "pciback")
_ADDRESS = re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7](?![\w.])", re.ASCII)


def other_takers(root: Path, ours: Collection[str]) -> dict[Sbdf, str]:
    """Return the devices that such a file names, with the file; `ours` are the files of this collection."""
    found: dict[Sbdf, str] = {}
    for place in _PLACES:
        for path in sorted(root.glob(place)):
            name = str(path.relative_to(root))
            lines = [] if name in ours else (read_text(path) or "").splitlines()
            text = "\n".join(line for line in lines if not line.lstrip().startswith(("#", ";")))
            if any(word in text for word in _GIVES):
                for address in _ADDRESS.findall(text):
                    with contextlib.suppress(AddressError):
                        found.setdefault(Sbdf.parse(address), f"/{name}")
    return found
